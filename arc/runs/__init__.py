"""Runs from their plan to their results."""
