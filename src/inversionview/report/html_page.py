"""The page that readings and maps are drawn on, and its styles. Nothing from the network."""

from __future__ import annotations

import base64
import functools
import hashlib
from html import escape
from importlib.resources import files

from inversionview.report import colors
from inversionview.report.reading import printable

_POLICY = "default-src 'none'; {script}style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_PAGE = (
    "body{margin:0}main{max-width:1120px;margin:0 auto;padding:32px 20px 48px}"
    "h1{margin:0 0 20px;font-size:24px;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}"
    "@media(max-width:640px){main{padding:18px 10px 32px}h1{font-size:20px;margin:0 4px 14px}}"
)


def draw_page(title: str, body: str, *layouts: str, script: str = "") -> str:
    """Return a whole page with the styles in the files `layouts`, and with one script that may run, or none."""
    allowed = f"script-src '{_digest(script)}'; " if script else ""
    runs = f"<script>{script}</script>\n" if script else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escaped(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY.format(script=allowed)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_PAGE}</style>\n<style>{stylesheet(*layouts)}</style>\n</head>\n"
        f'<body class="inversionview"><main><h1>{escaped(title)}</h1>{body}</main>\n{runs}</body>\n</html>\n'
    )


def _digest(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def draw_fragment(body: str, *layouts: str) -> str:
    """Return an element with its styles, for a notebook: they reach nothing outside it."""
    return f'<div class="inversionview"><style>{stylesheet(*layouts)}</style>{body}</div>'


def theme_css() -> str:
    """Return the colours of both themes and the classes of the scale: what `static/theme.css` holds.

    A page or an element may choose its theme with `data-theme`, whatever the system prefers.
    """
    light, dark = _declared(colors.LIGHT, "light"), _declared(colors.DARK, "dark")
    steps = "".join(f".{name}{{background-color:var(--{name})}}" for name in map(change_class, colors.LEVELS) if name)
    return (
        f".inversionview{light}@media (prefers-color-scheme:dark){{.inversionview{dark}}}"
        # a notebook has a theme of its own, whatever the system prefers
        f'[data-jp-theme-light="true"] .inversionview,.vscode-light .inversionview{light}'
        f'[data-jp-theme-light="false"] .inversionview,.vscode-dark .inversionview{dark}'
        f'.inversionview[data-theme="light"],[data-theme="light"] .inversionview{light}'
        f'.inversionview[data-theme="dark"],[data-theme="dark"] .inversionview{dark}\n'
        f".inversionview.inversionview.inversionview{{{steps}}}"
    )


@functools.cache
def stylesheet(*layouts: str) -> str:
    """Return the colours of both themes, then the layout: that of readings, then those in the files named."""
    folder = files("inversionview.report")
    layout = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in ("reading.css", *layouts))
    return theme_css() + layout


def change_class(step: int) -> str:
    """Return the CSS class of a level of the colour scale; none for no change."""
    return "" if step == 0 else f"{'p' if step > 0 else 'm'}{abs(step)}"


def escaped(text: str) -> str:
    """Escape text for HTML, as content or in a quoted attribute."""
    return escape(printable(text), quote=True)


def _declared(theme: colors.Theme, scheme: str) -> str:
    return f"{{color-scheme:{scheme};{_variables(theme)}}}"


def _variables(theme: colors.Theme) -> str:
    named = {name: color for name, color in theme._asdict().items() if name not in ("raised", "lowered")}
    scale = {change_class(step): colors.background(theme, step) for step in colors.LEVELS if step}
    return "".join(f"--{name}:{color};" for name, color in (named | scale).items())
