"""The routes, one blueprint per file."""
