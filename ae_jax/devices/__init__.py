"""Devices: their names, memory and mesh, the host they belong to, and compiler options."""
