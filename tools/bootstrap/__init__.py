"""The parts of `tools/setup_env.py`. Standard library only, and readable by Python 3.6."""
