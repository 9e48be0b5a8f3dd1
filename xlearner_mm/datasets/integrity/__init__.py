"""Checks of images against their annotations and files."""
