"""How a command ends: its exit code, and for a mistake one line on standard error."""

from __future__ import annotations

import click

OK, ERROR, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


def fail(message: str, code: int) -> int:
    """Print the message as one line, and give the code."""
    click.echo("inversionview: " + " ".join(message.split()), err=True)
    return code
