"""Rows, tables and figures of what was measured, and the slides' tables."""
