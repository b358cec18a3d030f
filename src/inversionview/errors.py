"""The one error that is the user's to mend."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in what was asked for.

    Its text is one line: what is wrong, and what would be right. The command line prints it and exits with code 2.
    `instead` is what may be put in the place of what was given, where there is one such thing.
    """

    def __init__(self, message: str, *, instead: str = "") -> None:
        super().__init__(message)
        self.instead = instead


def one_line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())[:300]
