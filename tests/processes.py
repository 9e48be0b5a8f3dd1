"""Waiting for other processes: for a condition, never for a time."""

import os
import time


def until(condition):
    """Wait until ``condition()`` holds; what never comes is ended by the limit of every test."""
    while not condition():
        time.sleep(0.01)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
