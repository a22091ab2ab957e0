"""Two neural networks learn to communicate about ARC-AGI grids."""

__version__ = "0.1.0"
