"""Markdown: a page is a template with its prose, `templates/NAME.md`, and what was measured, put into it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from research.paths import ROOT

TEMPLATES = ROOT / "research" / "templates"
WIDTH = 120
_BLOCK = re.compile(r"\{(\w+)\}")
_NO_PROSE = ("#", "|", "-", "`")
"""How lines begin that are not wrapped: headings, tables, lists and code."""


def page(template: str, **parts: object) -> str:
    """The template of this name with each `{part}` put in.

    A part that is a paragraph of its own is put in as it is, and leaves nothing where it is empty; a paragraph that has
    parts within it is wrapped again.
    """
    text = (TEMPLATES / f"{template}.md").read_text(encoding="utf-8").strip()
    paragraphs = [_paragraph(paragraph, parts) for paragraph in text.split("\n\n")]
    return joined(paragraphs)


def _paragraph(text: str, parts: dict[str, object]) -> str:
    if block := _BLOCK.fullmatch(text):
        return str(parts[block[1]])
    with_parts = text.format_map(parts)
    return filled(with_parts) if with_parts != text and not text.startswith(_NO_PROSE) else with_parts


def joined(blocks: Iterable[str]) -> str:
    """These blocks one under the other, without those that are empty."""
    return "\n\n".join(text for block in blocks if (text := block.strip("\n"))) + "\n"


def filled(text: str) -> str:
    """A paragraph in lines of `WIDTH` characters."""
    return textwrap.fill(" ".join(text.split()), WIDTH)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; columns may lack a name."""
    lines = ["|" + "".join(f" {name} |" if name else " |" for name in columns), "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def listed(items: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {item}" for item in items)


def code(lines: Iterable[str], language: str = "text") -> str:
    """Lines as they are."""
    return "\n".join([f"```{language}", *lines, "```"])
