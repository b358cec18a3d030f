"""A server on this machine that speaks OpenAI's protocol and gives the answers of a script, good and bad ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


@dataclass(frozen=True)
class Scripted:
    """One answer."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False
    """Whether it comes only when the server goes."""
    cut: bool = False
    """Whether the connection ends in the middle of the body."""


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    """By names in lower case."""
    body: Any

    @property
    def prompt(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])


class ScriptedServer(ThreadingHTTPServer):
    """Gives the answers in turn, the last one ever after; `models` answers the list of models, 404 without it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Scripted] = []
        self.models: Scripted | None = None
        self.requests: list[Request] = []
        """All but those for the list of models."""
        self.released = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up waiting is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Request(self.path, headers, json.loads(body)))
        script = self.server.script
        self.give(script.pop(0) if len(script) > 1 else script[0])

    def do_GET(self) -> None:
        self.give(self.server.models or failed(404, "not found"))

    def give(self, answer: Scripted) -> None:
        if answer.slow:
            self.server.released.wait(10)
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if answer.cut else answer.body)

    def log_message(self, *_: Any) -> None:
        """Not among the output of the tests."""


def said(
    text: Any, *, prompt_tokens: int = 7, completion_tokens: int = 3, finish: str = "stop", **how: Any
) -> Scripted:
    """A good answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return document({"object": "chat.completion", "choices": [choice], "usage": usage}, **how)


def failed(status: int, message: str, **how: Any) -> Scripted:
    """An error, with what else it says about itself."""
    headers = how.pop("headers", {})
    return document({"error": {"message": message, **how}}, status=status, headers=headers)


def listed(*models: str) -> Scripted:
    """A list of models."""
    return document({"object": "list", "data": [{"id": model, "object": "model"} for model in models]})


def document(content: Any, **how: Any) -> Scripted:
    """Any JSON."""
    return Scripted(json.dumps(content).encode(), **how)


@contextmanager
def serving() -> Iterator[ScriptedServer]:
    """A server for as long as the block lasts."""
    server = ScriptedServer()
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
