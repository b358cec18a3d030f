"""The modules of `static` as one script: for a report, which is one file, a notebook's widget, and the viewer.

There is nothing to build beforehand: each module becomes a function that is called once, in the order in which they
need each other, and its imports become what these functions returned. So that a few lines can do this, a module says
`import { a, b } from "./name.js";` and `export function`, `export class` or `export const`, and nothing else.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import PurePosixPath

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w/-]+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function\*?|class|const) (\w+)", re.MULTILINE)
_COMMENT = re.compile(r"^\s*(?:/\*\*.*?\*/\n|// [^\n]*\n)", re.MULTILINE | re.DOTALL)


@functools.cache
def script(entry: str) -> str:
    """Return the module `entry` of `static` with all it needs, as the body of one script or module.

    What `entry` exports is in the variable `_entry`, such as `_widget`.
    """
    return joined(entry, lambda name: _text(f"{name}.js"))


def joined(entry: str, read: Callable[[str], str]) -> str:
    """Return the same of modules elsewhere, of which `read` gives the text by their paths, such as `report/dom`."""
    texts: dict[str, str] = {}
    _visit(entry, read, texts)
    return "\n".join(_wrapped(name, text) for name, text in texts.items())


def styles() -> str:
    """Return the colours and the styles of what the modules draw."""
    return colours() + layout()


def colours(*, levels: bool = True) -> str:
    """Return the colours of both themes, which `colors.theme_css` makes; of tokens and maps only with `levels`."""
    css = _text("theme.css")
    return css if levels else re.sub(r"--[mph]\d:#\w+;", "", css.partition("\n")[0])


def layout() -> str:
    """Return the styles alone."""
    return tight(_text("view.css"))


def tight(css: str) -> str:
    """Return a style sheet without its comments and indents."""
    return re.sub(r"\n\s*", "\n", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)).strip()


def module(entry: str) -> str:
    """Return `entry` as an ES module of one file, whose default export is what the entry exports."""
    return f"{script(entry)}\nexport default {_variable(entry)};\n"


def _visit(name: str, read: Callable[[str], str], texts: dict[str, str]) -> None:
    """Add a module to `texts`, after all that it imports."""
    if name in texts:
        return
    text = read(name)
    for match in _IMPORT.finditer(text):
        _visit(_beside(name, match[2]), read, texts)
    texts[name] = text


def _beside(name: str, imported: str) -> str:
    """Return the path of what a module imports as `./imported`."""
    return str(PurePosixPath(name).parent / imported)


def _wrapped(name: str, text: str) -> str:
    names = [match[2] for match in _EXPORT.finditer(text)]

    def taken(match: re.Match[str]) -> str:
        wanted = re.sub(r" as ", ": ", match[1].rstrip().rstrip(","))
        return f"const {{{wanted}}} = {_variable(_beside(name, match[2]))};"

    body = _IMPORT.sub(taken, text)
    body = _EXPORT.sub(r"\1 \2", _COMMENT.sub("", body))
    if stray := re.search(r"^(import|export)\b.*", body, re.MULTILINE):
        raise ValueError(f"{name}.js: {stray[0]}: bundle.py knows only plain imports and exports by name")
    return f"const {_variable(name)} = (() => {{\n{body.strip()}\nreturn {{ {', '.join(names)} }};\n}})();"


def _variable(name: str) -> str:
    return "_" + re.sub(r"[/-]", "_", name)


def _text(name: str) -> str:
    return files("inversionview.report").joinpath("static", name).read_text(encoding="utf-8")
