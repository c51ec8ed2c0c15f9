"""Experiments: thin scripts over the library, and one file per configuration in `configs`."""
