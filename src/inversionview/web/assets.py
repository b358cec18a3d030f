"""The files of the page, in a table that is made when the server starts: no path of a request leads to a file."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
INDEX = "index.html"
_FOLDERS = {"": "web/static", "report/": "report/static"}


class Asset(NamedTuple):
    """A file as it is sent."""

    body: bytes
    type: str
    etag: str


def make_table() -> dict[str, Asset]:
    """All files of the page, by what follows `/static/` in their address."""
    table = {}
    for prefix, folder in _FOLDERS.items():
        root = Path(str(files("inversionview"))) / folder
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.is_file() and path.suffix in TYPES:
                body = path.read_bytes()
                etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
                table[prefix + path.relative_to(root).as_posix()] = Asset(body, TYPES[path.suffix], etag)
    return table
