"""The one error a person sees."""


class SetupError(Exception):
    """Something the user has to change, and how.

    Args:
        problem: what is wrong, in one line.
        fix: what to do about it, a command where there is one.
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix
