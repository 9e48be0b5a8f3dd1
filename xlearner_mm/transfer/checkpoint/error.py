"""What is raised about checkpoints."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file, what was found and what was expected."""
