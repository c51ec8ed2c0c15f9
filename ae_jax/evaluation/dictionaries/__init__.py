"""Measures of dictionaries of sparse latents."""
