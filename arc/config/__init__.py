"""The typed configuration, and what is built from it. Imports nothing, for a fast ``--help``."""
