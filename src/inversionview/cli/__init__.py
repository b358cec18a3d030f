"""The command line, one file a command. What takes long to import is imported inside them: `--help` is instant."""

from inversionview.cli.program import cli as cli
from inversionview.cli.program import main as main

__all__ = ["cli", "main"]
