"""Kernels: forms of products, convolutions and recurrences that are fast on every device, and
log-densities."""
