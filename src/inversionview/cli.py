"""The command line. What takes long to import is imported inside the commands, so that `--help` is instant."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inversionview import __version__
from inversionview.cli_causal import patch
from inversionview.cli_exit import ERROR, INTERRUPTED, OK, USER_ERROR, fail
from inversionview.cli_serve import serve
from inversionview.cli_train import train, train_probed
from inversionview.cli_use import causal
from inversionview.errors import UserError
from inversionview.studies.examples import DEMO

if TYPE_CHECKING:
    from inversionview.results.preimage import Preimage

TRACEBACK = "INVERSIONVIEW_TRACEBACK"


def main(args: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code: 0 done, 2 a mistake of the user's, 130 interrupted, 1 otherwise.

    What went wrong is one line on standard error.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # ε in a terminal that cannot show it must not end a run
    try:
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


def _options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(path_type=Path)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
_seed = click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same result.")
_epsilon = click.option(
    "--epsilon", help="Largest distance of a member: 0.1, null:0.01 or causal:0.05.  [default: the study's]"
)
_metric = click.option("--metric", type=click.Choice(["euclidean", "cosine"]), help="Distance.  [default: the study's]")


@cli.command()
@click.argument("study", type=click.Choice([*DEMO, "all"]), default="all")
@click.option("--html", type=_FILE, default="inversionview-report.html", show_default=True, help="The report to write.")
def demo(study: str, html: Path) -> None:
    """Read some activations of the bundled models, without training.

    Without STUDY, all of them are read.
    """
    from inversionview.studies.description import bundled_studies
    from inversionview.studies.study import load_study

    found, names = [], [name for name in DEMO if name in bundled_studies()] if study == "all" else [study]
    for name in names:
        opened, (text, places) = load_study(name), DEMO[name]
        found += opened.preimage([opened.query(text, at, site) for site, at in places])
    _write_html(found, html, " and ".join(f"{DEMO[name][0]}, {name}" for name in names))
    _show(found)
    click.echo(f"\nThe same in a browser: {html}\n\nNext:")
    for advice, about in _NEXT:
        click.echo(f"  inversionview {advice:82}{about}")


_NEXT = (
    ("serve addition counting", "the viewer: ask and compare in a browser"),
    ("read addition 615+861=1476 --at A1 --site x1.post", "another place of the same input"),
    ("read addition 615+861=1476 --at = --site a0.3 --exact", "every member, and how many there are"),
    ("map addition 615+861=1476", "what each site knows, in bits"),
    ("patch addition --target A1 --at = --sites a0.0,a0.2 --contrast change:F1,S1", "what the model uses"),
    ('causal counting "vvzccvczvvvzvcvc|v:8" --at : --site m1', "is it encoded, and is it used?"),
    ("map ioi-small", "what each site of a small language model knows"),
    ("evaluate addition", "how far to trust this decoder"),
    ("train addition --model FOLDER --out FOLDER", "a model of your own"),
)


@cli.command()
def studies() -> None:
    """List the bundled studies, and the recipes to train from."""
    from rich.console import Console

    from inversionview.report.terminal import render_table
    from inversionview.studies.description import bundled_studies, read_description
    from inversionview.studies.recipes import DECODER_RECIPES, GIVEN, PROBED_RECIPES

    rows = []
    for name, folder in bundled_studies().items():
        study = read_description(folder)
        about = f"task {study.task}, {len(study.sites)} sites: {', '.join(study.sites)}"
        rows.append({"name": name, "what": "bundled study", "about": about})
    rows += [
        {"name": name, "what": "recipe", "about": f"a decoder: inversionview train {given} --out FOLDER"}
        for name in DECODER_RECIPES
        for given in [f"{name} {GIVEN[name]}" if name in GIVEN else name]
    ]
    rows += [
        {"name": name, "what": "recipe", "about": f"a probed model: inversionview train-probed {name} --out FOLDER"}
        for name in PROBED_RECIPES
    ]
    render_table(rows, Console())


@cli.command()
@click.argument("study")
@click.argument("input_", metavar="INPUT")
@click.option("--at", help="Position to read: a role such as '=', or an index.  [default: the last eligible one]")
@click.option("--site", required=True, help="Activation site, such as a0.1 or x1.post.")
@_epsilon
@_metric
@click.option("--position-rule", type=click.Choice(["same", "any"]), default="same", show_default=True,
              help="Match only the position that plays the same role, or the best one.")  # fmt: skip
@click.option("-n", "n", type=int, default=1000, show_default=True,
              help="Candidates to draw; with --exact, members to show.")  # fmt: skip
@_seed
@click.option("--temperatures", default="1", show_default=True, help="Of the decoder, separated by commas.")
@click.option("--noise", default="0", show_default=True, help="Levels of noise on the activation, by commas.")
@click.option("--prior-share", type=float, default=0.1, show_default=True, help="Share of draws from the prior.")
@click.option("--also", default="", metavar="LIST", help="Draw from retrieval, edits, given, cosine or varied as well.")
@click.option("--exact", is_flag=True, help="Run all inputs of the domain, and miss none.")
@click.option("--index", type=_FOLDER, help="With --exact: keep activations in this folder, for later queries.")
@click.option("--given", metavar="NAME", help="With --exact: of the inputs that share something, such as counts.")
@click.option("--columns", metavar="LIST", help="Features to show beside each, by commas.  [default: the task's]")
@_json_option
@click.option("--html", type=_FILE, help="Write the reading as a self-contained HTML file.")
def read(
    study: str, input_: str, at: str | None, site: str, n: int, exact: bool, index: Path | None, given: str | None,
    columns: str | None, as_json: bool, html: Path | None, temperatures: str, noise: str, prior_share: float, also: str,
    **settings: Any,
) -> None:  # fmt: skip
    """Read one activation: the inputs that look the same there.

    Shows inputs that the model cannot tell apart from INPUT at one position and site, each verified; with --exact all
    of them.

    STUDY is a bundled name or a folder; INPUT is typed without begin and end tokens.
    """
    from inversionview.studies.study import load_study

    opened = load_study(study)
    query = opened.query(input_, at, site)
    if n < 1:
        raise UserError(f"-n must be at least 1, not {n}")
    if exact:
        found = opened.exact_preimage(query, curve=True, index=index, given=given, **settings)
    elif index is not None or given is not None:
        raise UserError(f"--{'given' if index is None else 'index'} is for --exact: give both, or neither")
    else:
        found = opened.preimage(
            query,
            n,
            temperatures=_numbers(temperatures, "--temperatures"),
            noise=_numbers(noise, "--noise"),
            prior_share=prior_share,
            also=_names(also) or (),
            colors=bool(html) or not as_json,
            **settings,
        )
    if columns is not None:
        found = opened.with_columns(found, _names(columns))
    if html:
        _write_html([found], html, f"{query.input} at {query.role}, {query.site}", n)
        click.echo(f"wrote {html}", err=True)
    if as_json:
        _print_json(found.to_dict(n if exact else None))
    else:
        _show([found], n)


@cli.command("map")
@click.argument("study")
@click.argument("input_", metavar="[INPUT]", required=False)
@_epsilon
@_metric
@click.option("--queries", type=int, default=100, show_default=True, help="Random inputs a cell, without INPUT.")
@click.option("--where", metavar="COND", help="Only inputs that meet a condition over features: 'C1 == \"no\"'.")
@click.option("--sites", help="Sites to map, separated by commas.  [default: the study's]")
@click.option("--draws", type=int, default=200_000, show_default=True,
              help="Where the inputs cannot be enumerated: inputs drawn from the prior.")  # fmt: skip
@click.option("--draws-given", type=int, default=1000, show_default=True,
              help="And, a query and condition, from the prior given what they share.")  # fmt: skip
@click.option("--model", metavar="PATH_OR_ID", help="Map another model of the same task; it needs no decoder.")
@click.option("--convention", type=click.Choice(["raw", "tl"]), help="With --model.  [default: the study's]")
@_seed
@_json_option
@click.option("--html", type=_FILE, help="Write the map as a self-contained HTML file.")
def map_(
    study: str, input_: str | None, sites: str | None, model: str | None, convention: str | None, as_json: bool,
    html: Path | None, **settings: Any,
) -> None:  # fmt: skip
    """Show what each site knows at each position, in bits.

    Every site at every named position: how many bits its activation gives about each feature of the task, as the mean
    over random inputs or for one INPUT. Exact where the inputs can be enumerated, else estimated from draws.
    """
    from rich.console import Console

    from inversionview.files import write_atomic
    from inversionview.report.map_html import render_map_html
    from inversionview.report.map_terminal import render_map_terminal
    from inversionview.studies.study import load_study

    opened = load_study(study)
    if model is not None:
        opened = opened.with_model(model, convention=convention)
    elif convention is not None:
        raise UserError("--convention is for another model: give --model too")
    found = opened.map(input_, sites=_names(sites), **settings)
    if html:
        write_atomic(html, render_map_html(found, title=f"What {opened.name} knows"))
        click.echo(f"wrote {html}", err=True)
    if as_json:
        _print_json(found)  # type: ignore[arg-type]
    else:
        render_map_terminal(found, Console())


@cli.command("test")
@click.argument("study")
@click.argument("input_", metavar="INPUT")
@click.argument("hypothesis")
@click.option("--at", help="Position to read: a role such as '=', or an index.  [default: the last eligible one]")
@click.option("--sites", required=True, help="Activation sites, separated by commas; p-values are corrected for them.")
@click.option("--exact/--sampled", default=None, help="Count all inputs, or draw some.  [default: exact if it can be]")
@click.option("--random-queries", type=int, default=99, show_default=True, help="Inputs to compare with.")
@click.option("--epsilon", type=float, help="Largest distance of a member.  [default: the study's]")
@_metric
@click.option("-n", "n", type=int, default=1000, show_default=True, help="Candidates to draw, with --sampled.")
@_seed
@_json_option
def test(study: str, input_: str, hypothesis: str, at: str | None, sites: str, as_json: bool, **settings: Any) -> None:
    """Test a hypothesis about what an activation says.

    HYPOTHESIS is the name of a feature, such as F1 (the members share the query's value), or an expression over
    features, such as "F1 + S1 == 14". Shows how consistent it is over the preimage, and by chance.
    """
    from rich.console import Console

    from inversionview.report.terminal_tables import render_hypotheses_terminal
    from inversionview.studies.study import load_study

    opened = load_study(study)
    queries = [opened.query(input_, at, site) for site in _names(sites) or []]
    tests = [found.to_dict() for found in opened.test(queries, hypothesis, **settings)]
    if as_json:
        _print_json({"schema": 1, "study": opened.name, "input": input_, "tests": tests})
    else:
        render_hypotheses_terminal(tests, Console())  # type: ignore[arg-type]


cli.add_command(patch)
cli.add_command(causal)
cli.add_command(serve)


cli.add_command(train)
cli.add_command(train_probed)


@cli.command()
@click.argument("study")
@click.option("-n", "n", type=int, default=2000, show_default=True, help="Held-out queries a site.")
@click.option("--cells", type=int, default=13, show_default=True, help="Random queries for completeness; 0 for none.")
@_seed
@_json_option
def evaluate(study: str, n: int, cells: int, seed: int, as_json: bool) -> None:
    """Measure a decoder, beside its floor, and its probed model.

    The in-ε rate is how often one sample at temperature 1 is a member of the preimage it was drawn for; the floor is
    how often a random input of the domain is. Completeness is how much of an exact preimage 1,000 samples are expected
    to reach.
    """
    from rich.console import Console

    from inversionview.report.terminal import render_evaluation_terminal
    from inversionview.studies.study import load_study

    found = load_study(study).evaluate(n, cells=cells, seed=seed)
    if as_json:
        _print_json(found)
    else:
        render_evaluation_terminal(found, Console())  # type: ignore[arg-type]


@cli.command()
@click.argument("study")
@click.option("--cells", type=int, default=208, show_default=True, help="Random queries to check.")
@click.option("-n", "n", type=int, default=10_000, show_default=True, help="Candidates to draw for each.")
@click.option("--temperatures", default="1,2", show_default=True, help="Of the decoder, separated by commas.")
@click.option("--prior-share", type=float, default=0.4, show_default=True, help="Share of draws from the prior.")
@_seed
@click.option("--keep", type=_FOLDER, help="Folder that holds each finished cell, so that a killed run goes on.")
@click.option("--part", type=(int, int), metavar="K OF", help="Only the K-th of so many shares, from 0; needs --keep.")
@_json_option
def validate(
    study: str, cells: int, n: int, temperatures: str, prior_share: float, seed: int, keep: Path | None,
    part: tuple[int, int] | None, as_json: bool,
) -> None:  # fmt: skip
    """Check the estimates against exact preimages.

    For random queries: how often each estimator's 95% interval holds what enumeration of the domain says, and how wide
    it is. Takes some seconds a query.
    """
    from rich.console import Console
    from rich.progress import Progress

    from inversionview.report.terminal_tables import render_validation_terminal
    from inversionview.studies.study import load_study

    if part is not None and (keep is None or not 0 <= part[0] < part[1]):
        raise UserError("--part takes K and OF, with K from 0 to OF - 1, and --keep for the folder that is shared")
    opened = load_study(study)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("cells", total=cells)
        found = opened.validate(
            cells,
            n,
            temperatures=_numbers(temperatures, "--temperatures"),
            prior_share=prior_share,
            seed=seed,
            keep=keep,
            part=part,
            progress=lambda done: bar.update(task, completed=done),
        )
    if as_json:
        _print_json(found)
    else:
        render_validation_terminal(found, Console())  # type: ignore[arg-type]


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UserError(f"{option} takes numbers separated by commas, such as 0.5,1,2, not {text!r}") from error


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _show(found: Sequence[Preimage], n: int | None = None) -> None:
    from rich.console import Console

    from inversionview.report.terminal import render_terminal

    console = Console()
    for i, preimage in enumerate(found):
        if i:
            console.print()
        render_terminal(preimage.to_reading(n), console)


def _write_html(found: Sequence[Preimage], path: Path, title: str, n: int | None = None) -> None:
    from inversionview.files import write_atomic
    from inversionview.report.html import render_html

    write_atomic(path, render_html([preimage.to_reading(n) for preimage in found], title=title))


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
