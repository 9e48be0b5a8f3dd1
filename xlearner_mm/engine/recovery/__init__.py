"""Resuming, ranks that fail, signals, and replay of a step."""
