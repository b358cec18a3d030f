"""Run the server until it is interrupted."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress

import uvicorn

from inversionview.errors import UserError
from inversionview.studies.study import Study
from inversionview.web.app import make_app
from inversionview.web.jobs import Jobs
from inversionview.web.opened import named
from inversionview.web.security import is_loopback
from inversionview.web.settings import Limits, Settings


def serve(
    opening: Callable[[], Sequence[Study]],
    *,
    host: str,
    port: int,
    allowed_hosts: Sequence[str],
    limits: Limits,
    open_page: bool,
    say: Callable[[str], None],
) -> None:
    """Open the studies, listen, and answer until Ctrl-C. `say` is told the address.

    Raises `UserError` when a study is not there, or nobody may listen at this host and port.
    """
    listening = listen(host, port)  # first: it is known at once, and loading takes seconds
    try:
        port = listening.getsockname()[1]
        settings = Settings(host, port, tuple(allowed_hosts), limits, ahead=True)
        app = make_app(named(opening()), settings)
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=1, server_header=False, proxy_headers=False
        )
        server = _Server(config)
        server.when_ready = lambda: _ready(address, host, open_page, say)
        server.jobs = app.state.jobs
        with suppress(KeyboardInterrupt):  # which is how a server is ended, and is raised again when all is closed
            server.run(sockets=[listening])
    finally:
        listening.close()


class _Server(uvicorn.Server):
    """Says when it listens, and ends work at once when it is to end, rather than when everybody has left."""

    when_ready: Callable[[], None]
    jobs: Jobs

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.when_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.jobs.stop()
        await super().shutdown(sockets=sockets)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes one that is free. Raises `UserError` that says why it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"cannot listen at {host!r}: {error.strerror or error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        raise UserError(f"cannot listen at {host}, port {port}: {_why(error)}; give another with --port") from error
    return listening


def _why(error: OSError | OverflowError) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else "there is no such port"


def _ready(address: str, host: str, open_page: bool, say: Callable[[str], None]) -> None:
    say(f"The viewer is at {address} (Ctrl-C ends it)")
    if not is_loopback(host):
        say("Whoever reaches this port can ask: there are no passwords. Other names for it are given by --allow-host.")
    if open_page:
        webbrowser.open(address)
