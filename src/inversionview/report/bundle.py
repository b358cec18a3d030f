"""The modules of `static` as one script: for a report, which is one file, and for a notebook's widget.

There is nothing to build beforehand: each module becomes a function that is called once, in the order in which they
need each other, and its imports become what these functions returned. So that a few lines can do this, a module says
`import { a, b } from "./name.js";` and `export function`, `export class` or `export const`, and nothing else.
"""

from __future__ import annotations

import functools
import re
from importlib.resources import files

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function\*?|class|const) (\w+)", re.MULTILINE)
_COMMENT = re.compile(r"^\s*(?:/\*\*.*?\*/\n|// [^\n]*\n)", re.MULTILINE | re.DOTALL)


@functools.cache
def script(entry: str) -> str:
    """Return the module `entry` of `static` with all it needs, as the body of one script or module.

    What `entry` exports is in the variable `_entry`, such as `_widget`.
    """
    order: list[str] = []
    _visit(entry, order)
    return "\n".join(_wrapped(name) for name in order)


def styles() -> str:
    """Return the colours and the styles of what the modules draw."""
    return colours() + layout()


def colours() -> str:
    """Return the colours of both themes, which `colors.theme_css` makes."""
    return _text("theme.css")


def layout() -> str:
    """Return the styles alone, for a page that has the colours."""
    return re.sub(r"\n\s*", "\n", re.sub(r"/\*.*?\*/", "", _text("view.css"), flags=re.DOTALL)).strip()


def module(entry: str) -> str:
    """Return `entry` as an ES module of one file, whose default export is what the entry exports."""
    return f"{script(entry)}\nexport default {_variable(entry)};\n"


def _visit(name: str, order: list[str]) -> None:
    if name in order:
        return
    for match in _IMPORT.finditer(_text(f"{name}.js")):
        _visit(match[2], order)
    order.append(name)


def _wrapped(name: str) -> str:
    text = _text(f"{name}.js")
    names = [match[2] for match in _EXPORT.finditer(text)]
    body = _IMPORT.sub(lambda match: f"const {{{match[1].rstrip().rstrip(',')}}} = {_variable(match[2])};", text)
    body = _EXPORT.sub(r"\1 \2", _COMMENT.sub("", body))
    if stray := re.search(r"^(import|export)\b.*", body, re.MULTILINE):
        raise ValueError(f"{name}.js: {stray[0]}: bundle.py knows only plain imports and exports by name")
    return f"const {_variable(name)} = (() => {{\n{body.strip()}\nreturn {{ {', '.join(names)} }};\n}})();"


def _variable(name: str) -> str:
    return "_" + name.replace("-", "_")


def _text(name: str) -> str:
    return files("inversionview.report").joinpath("static", name).read_text(encoding="utf-8")
