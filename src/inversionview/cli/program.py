"""The program: its commands, and how a run of one ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from inversionview import __version__
from inversionview.cli.bank import bank
from inversionview.cli.causal import causal
from inversionview.cli.demo import demo
from inversionview.cli.evaluate import evaluate, validate
from inversionview.cli.exit import ERROR, INTERRUPTED, OK, USER_ERROR, fail
from inversionview.cli.explain import explain
from inversionview.cli.heads import heads
from inversionview.cli.hypotheses import test
from inversionview.cli.map import map_
from inversionview.cli.patch import patch
from inversionview.cli.read import read
from inversionview.cli.serve import serve
from inversionview.cli.studies import studies
from inversionview.cli.train import train, train_probed
from inversionview.cli.waiting import telling
from inversionview.errors import UserError

TRACEBACK = "INVERSIONVIEW_TRACEBACK"


def main(args: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code: 0 done, 2 a mistake of the user's, 130 interrupted, 1 otherwise.

    What went wrong is one line on standard error.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # ε in a terminal that cannot show it must not end a run
    try:
        with telling():
            code = cli.main(args=None if args is None else list(args), prog_name="inversionview", standalone_mode=False)
        return code if isinstance(code, int) else OK
    except UserError as error:
        return fail(str(error), USER_ERROR)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "inversionview"
        return fail(f"{error.format_message().rstrip('.')} (see `{command} --help`)", USER_ERROR)
    except click.ClickException as error:
        return fail(error.format_message(), USER_ERROR)
    except (click.Abort, KeyboardInterrupt):
        return fail("interrupted", INTERRUPTED)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        return fail(f"{type(error).__name__}: {error} (set {TRACEBACK}=1 to see where)", ERROR)


_HELP = ["-h", "--help"]


class _Commands(click.Group):
    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        # Not left to the group's context: a command run by itself first would keep a `--help` without `-h`.
        cmd.context_settings.setdefault("help_option_names", _HELP)
        super().add_command(cmd, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command {args[0]!r}; the commands are: {', '.join(self.commands)}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order a newcomer meets them


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": _HELP, "max_content_width": 100},
)
@click.version_option(__version__, prog_name="inversionview")
@click.pass_context
def cli(context: click.Context) -> None:
    """Read what an activation inside a language model encodes: the inputs that the model cannot tell apart there."""
    # Before transformers is imported: its bars and advice are not about what was asked.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (
    demo, studies, read, explain, bank, map_, heads, test, patch, causal, serve,
    train, train_probed, evaluate, validate,
):  # fmt: skip
    cli.add_command(command)
