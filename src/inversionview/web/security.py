"""Who is answered: requests of the server's own page, and of programs on this machine; nothing of another site.

A page of another site can make a browser send requests here: to a name that it has pointed at this machine (DNS
rebinding: the `Host` is then that name), or across sites (the `Origin` is then its own, or `Sec-Fetch-Site` says so).
Both are refused, before anything is read. What a page can send without asking first is never JSON, so only JSON is
taken. Source: the OWASP cheat sheets on CSRF and on HTTP headers.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from inversionview.web.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",  # a picture of a reading is drawn on a canvas from an SVG that the page made
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every answer."""
_METHODS = ("GET", "HEAD", "POST")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class RefusedError(Exception):
    """A request that is not answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Guard:
    """Middleware that lets through what may be answered, and puts the headers on every answer."""

    def __init__(self, app: App, settings: Settings) -> None:
        self.app = app
        self.hosts = allowed_hosts(settings)
        self.body_bytes = settings.limits.body_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # a websocket is closed unanswered

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in own]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            headers = _single(scope["headers"])
            self._check(scope, headers)
            body = await self._body(receive, headers) if scope["method"] == "POST" else None
        except RefusedError as refused:
            await _refuse(guarded, refused)
            return
        await self.app(scope, receive if body is None else _replayed(body, receive), guarded)

    def _check(self, scope: Message, headers: dict[str, str]) -> None:
        if scope["method"] not in _METHODS:
            raise RefusedError(405, f"this server takes {', '.join(_METHODS)}, not {scope['method'][:20]}")
        host = headers.get("host", "")
        if host.lower() not in self.hosts:
            raise RefusedError(403, f"{_shown(host)} is not this server: open {self._names()}, or give --allow-host")
        origin = headers.get("origin")
        if origin is not None and not self._own(origin):
            raise RefusedError(403, f"requests of pages of {_shown(origin)} are not answered here")
        opens = scope["method"] != "POST" and headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opens:
            raise RefusedError(403, "requests of pages of another site are not answered here")

    def _own(self, origin: str) -> bool:
        scheme, _, rest = origin.lower().partition("://")
        return scheme in ("http", "https") and rest in self.hosts

    def _names(self) -> str:
        return " or ".join(f"http://{host}" for host in sorted(self.hosts)[:3])

    async def _body(self, receive: Receive, headers: dict[str, str]) -> bytes:
        """All of it, which is stopped when it gets too long, whatever its header says."""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "questions are JSON: send them with content-type application/json")
        if not headers.get("content-length", "0").isdecimal() or int(headers.get("content-length", "0")) > 2**40:
            raise RefusedError(400, "content-length is not a number of bytes")
        too_large = RefusedError(413, f"a question may have {self.body_bytes:,} bytes, and this one has more")
        if int(headers.get("content-length", "0")) > self.body_bytes:
            raise too_large
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusedError(400, "the question broke off")
            body += message.get("body", b"")
            if len(body) > self.body_bytes:
                raise too_large
            if not message.get("more_body", False):
                return bytes(body)


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """What `Host` may say, ports included: the server's own names, and those it was given."""
    names = _LOOPBACK if _is_here(settings.host) else (settings.host,)
    own = [f"{_bracketed(name)}:{settings.port}" for name in names]
    given = [_with_port(name, settings.port) for name in settings.allowed_hosts]
    hosts = [host.lower() for host in (*own, *given)]
    # A browser leaves out the port that goes with http, or with https where something before the server speaks it.
    short = [host.removesuffix(port) for host in hosts for port in (":80", ":443") if host.endswith(port)]
    return frozenset([*hosts, *short])


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_here(host: str) -> bool:
    """Whether it is opened by the names of this machine: `0.0.0.0` listens everywhere, and is no name."""
    return is_loopback(host) or host in ("0.0.0.0", "::")


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _with_port(name: str, port: int) -> str:
    """`name`, `name:port`, `[::1]`, `[::1]:port` or `::1`, with a port in any case."""
    if name.startswith("["):
        return name if name.rpartition("]")[2].startswith(":") else f"{name}:{port}"
    if name.count(":") == 1:
        return name
    return f"{_bracketed(name)}:{port}"


def _single(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by their names; those that decide who is answered may not come twice."""
    by_name: dict[str, str] = {}
    for raw, value in headers:
        name = raw.decode("latin-1").lower()
        if name in by_name and name in ("host", "origin", "content-type", "content-length", "sec-fetch-site"):
            raise RefusedError(400, f"the header {name} is there twice")
        by_name[name] = value.decode("latin-1")
    return by_name


def _shown(text: str) -> str:
    return repr(text[:80]) if text else "without a Host header"


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, then what comes: the client's going away."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


async def _refuse(send: Send, refused: RefusedError) -> None:
    body = json.dumps({"error": refused.message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),  # the rest of its body is not waited for
    ]
    if refused.status == 405:
        headers.append((b"allow", ", ".join(_METHODS).encode()))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
