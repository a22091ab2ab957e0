"""Two neural agents learn to talk about ARC-AGI grids."""

__version__ = "0.1.0"
