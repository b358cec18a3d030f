"""The command `serve`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from inversionview.cli.opened import open_for
from inversionview.cli.options import settings_options
from inversionview.cli.waiting import importing
from inversionview.errors import UserError
from inversionview.progress import doing
from inversionview.studies.settings import ModelSettings

if TYPE_CHECKING:
    from inversionview.studies.study import Study


@click.command()
@click.argument("studies", metavar="STUDY...", nargs=-1, required=True)
@settings_options(ModelSettings)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen: any other lets others in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: one that is free.")
@click.option("--allow-host", "allowed_hosts", multiple=True, metavar="NAME[:PORT]",
              help="Another name by which browsers may open it; may be given again.")  # fmt: skip
@click.option("--samples", type=click.IntRange(1), default=10_000, show_default=True, help="Most draws of a reading.")
@click.option("--seconds", type=click.FloatRange(1), default=300, show_default=True, help="Longest run of a question.")
@click.option("--open", "open_page", is_flag=True, help="Open it in a browser.")
def serve(of: ModelSettings, *, studies: tuple[str, ...], samples: int, seconds: float, **settings: Any) -> None:
    """Open the viewer: ask and compare in a browser.

    Starts a local server and prints its address; nothing is fetched from the net, and nobody but this machine is
    answered unless --host says otherwise.

    STUDY is a bundled name, a folder or user/name on the hub, or with --model a domain such as ioi; several may
    be given.
    """
    for package in ("fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise UserError(f"the viewer needs {package}: pip install fastapi uvicorn")
    if twice := next((name for i, name in enumerate(studies) if name in studies[:i]), None):
        raise UserError(f"the study {twice} is there twice: name each once")
    with importing():
        from inversionview.web.serve import serve as run
        from inversionview.web.settings import Limits

    def opening(name: str) -> Study:
        with doing(f"opening {name}"):
            return open_for(name, of)

    limits = Limits(samples=samples, seconds=seconds)
    run(lambda: list(map(opening, studies)), limits=limits, say=lambda line: click.echo(line), **settings)
