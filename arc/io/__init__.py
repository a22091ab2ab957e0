"""Plain containers, and files that are replaced as a whole."""
