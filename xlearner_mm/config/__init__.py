"""Configs: options of the command line, unknown settings, plain data, text."""
