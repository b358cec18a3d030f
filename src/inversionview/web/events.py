"""Server-sent events: what a question is answered with while it is worked on."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One event of an answer, encoded once for all who wait for it."""

    name: str
    """`queued`, `progress`, `partial`, `result` or `error`."""
    data: bytes
    """JSON, in one line."""

    def encode(self) -> bytes:
        """As it goes over the wire."""
        return b"event: " + self.name.encode() + b"\ndata: " + self.data + b"\n\n"


def event(name: str, document: Any) -> Event:
    """An event with a document as its data."""
    return Event(name, to_json(document))


def result(key: str, document: bytes, seconds: float, *, cached: bool) -> Event:
    """The last event of an answer, around a document that is JSON already."""
    about = to_json({"key": key, "seconds": round(seconds, 3), "cached": cached})
    return Event("result", about[:-1] + b',"document":' + document + b"}")


def to_json(document: Any) -> bytes:
    """JSON without spaces, in ASCII: so text that is no Unicode, such as half of a pair, is kept as well."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
