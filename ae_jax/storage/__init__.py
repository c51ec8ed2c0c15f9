"""What is kept on disk: run directories, checkpoints, exported models. Nothing read runs code."""
