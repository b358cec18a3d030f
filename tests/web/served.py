"""A server in a thread, as a browser meets it, and the events of its answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from inversionview.web.app import make_app
from inversionview.web.serve import listen
from inversionview.web.settings import Limits, Settings

TIMEOUT = 60


@contextmanager
def serving(*studies, limits: Limits | None = None, ahead: bool = False) -> Iterator[httpx.Client]:
    """A client of a server of these studies, on a free port of this machine; `client.app` is what it serves."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    app = make_app(studies, Settings("127.0.0.1", port, (), limits or Limits(), ahead))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", proxy_headers=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT, trust_env=False) as client:
            client.app = app
            yield client
    finally:
        server.should_exit = True
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def ask(client: httpx.Client, path: str, **body: Any) -> list[tuple[str, Any]]:
    """All events of an answer: names and data."""
    with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events(response))


def events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    """The events as they come."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
