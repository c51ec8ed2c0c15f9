"""Files on disk: run directories, checkpoints and exported models. Reading them runs no code."""
