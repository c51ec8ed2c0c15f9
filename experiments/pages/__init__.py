"""The Markdown pages: what is generated in them, and their pictures."""
