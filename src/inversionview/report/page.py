"""Documents as HTML: a page of its own, or a fragment for a notebook. Nothing from the network.

A page holds each document twice: as plain tables, for where no script runs, and as data, from which the modules of
`static` draw what answers. Data is JSON, deflated, because thousands of candidates repeat themselves. The one script is
named by its hash in the page's content security policy, so that nothing else runs.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from inversionview.report import bundle
from inversionview.report.plain import definitions, draw_plain, escaped
from inversionview.report.plain_reading import draw_reading

DATA = "application/zlib;base64"
"""Type of the data in a page."""
_POLICY = "default-src 'none'; script-src '{digest}'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render_page(documents: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """Return a whole page that shows packed documents one below the other; above several readings, an overview."""
    anchors = [f"reading-{i}" if len(documents) > 1 else "" for i in range(1, len(documents) + 1)]
    body = _overview(documents, anchors) if len(documents) > 1 else ""
    for document, anchor in zip(documents, anchors, strict=True):
        body += _drawn(document, anchor=anchor)
        body += f'<script type="{DATA}" class="document">{deflated(document)}</script>'
    script = f"{bundle.script('drawn')}\n_drawn.start();"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escaped(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY.format(digest=f"sha256-{digest}")}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{plain_styles()}</style>\n<style>{bundle.styles()}</style>\n</head>\n"
        f'<body class="inversionview page"><main><h1>{escaped(title)}</h1>{body}</main>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def deflated(document: Mapping[str, Any]) -> str:
    """Return a document as JSON, deflated (zlib) and in base64; `start` in `drawn.js` undoes it."""
    data = json.dumps(document, separators=(",", ":")).encode("ascii")
    return base64.b64encode(zlib.compress(data, level=9)).decode()


def render_fragment(document: Mapping[str, Any]) -> str:
    """Return a packed document as plain tables with their styles, for a notebook: they reach nothing outside it."""
    return _styled(_drawn(document))


def render_box(heading: str, rows: Mapping[str, str]) -> str:
    """Return a heading and rows of a name and its words as HTML for a notebook; rows without words are left out."""
    said = definitions([(name, words) for name, words in rows.items() if words])
    return _styled(f'<section class="inversionview plain-view box"><h2>{escaped(heading)}</h2>{said}</section>')


def _drawn(document: Mapping[str, Any], *, anchor: str = "") -> str:
    draw = draw_reading if document["kind"] == "reading" else draw_plain
    return draw(document, anchor=anchor)


def _styled(plain: str) -> str:
    return f"<div><style>{plain_styles()}</style>{plain}</div>"


@functools.cache
def plain_styles() -> str:
    """Return the styles of what is drawn without scripts, with the colours of both themes that it takes."""
    plain = files("inversionview.report").joinpath("plain.css").read_text(encoding="utf-8")
    return bundle.colours(levels=False) + bundle.tight(plain)


def _overview(readings: Sequence[Mapping[str, Any]], anchors: Sequence[str]) -> str:
    """The readings by their inputs, the sentence of each being the link to it."""
    body, of = "", None
    for reading, anchor in zip(readings, anchors, strict=True):
        words = reading["words"]
        name = f"{words['input']}, {reading['study']}"
        if name != of:
            body += f"{'' if of is None else '</ul>'}<h2>{escaped(name)}</h2><ul>"
            of = name
        body += f'<li><a href="#{anchor}">{escaped(words["answer"]["sentence"])}</a></li>'
    return f'<nav class="inversionview plain-view overview" aria-label="Readings">{body}</ul></nav>'
