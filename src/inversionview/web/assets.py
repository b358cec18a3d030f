"""The files of the page, in a table that is made when the server starts: no path of a request leads to a file.

Its modules are sent as one script and its styles as one sheet, since each request costs a way there and back, which is
long where the viewer is reached through a tunnel.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from inversionview.report import bundle

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
INDEX = "index.html"
_SCRIPT, _STYLES = "app.js", "app.css"
_SHEETS = ("report/theme.css", "report/view.css", _STYLES)
_FOLDERS = {"": "web/static", "report/": "report/static"}


class Asset(NamedTuple):
    """A file as it is sent."""

    body: bytes
    type: str
    etag: str


def make_table() -> dict[str, Asset]:
    """All files of the page, by what follows `/static/` in their address; script and styles with all they need."""
    table: dict[str, Asset] = {}
    for prefix, folder in _FOLDERS.items():
        root = Path(str(files("inversionview"))) / folder
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.is_file() and path.suffix in TYPES:
                name = prefix + path.relative_to(root).as_posix()
                table[name] = _asset(name, path.read_bytes())
    script = bundle.joined(_SCRIPT.removesuffix(".js"), lambda name: table[f"{name}.js"].body.decode())
    styles = b"\n".join(table[name].body for name in _SHEETS)
    return table | {_SCRIPT: _asset(_SCRIPT, script.encode()), _STYLES: _asset(_STYLES, styles)}


def _asset(name: str, body: bytes) -> Asset:
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    return Asset(body, TYPES[Path(name).suffix], etag)
