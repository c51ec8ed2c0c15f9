"""Questions to ask of a dictionary: one a file."""
