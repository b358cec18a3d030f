"""What the HTML that we draw holds, read by the standard library's parser."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from typing import Any

from inversionview.report.page import DATA

VOID = {"meta", "input", "wbr", "br"}


def held(source: str) -> list[dict[str, Any]]:
    """The documents that a page holds as data."""
    found = re.findall(rf'<script type="{DATA}" class="document">([\w+/=]*)</script>', source)
    return [json.loads(zlib.decompress(base64.b64decode(data))) for data in found]


class Page(HTMLParser):
    """The elements with their attributes, and the rows of tables as lists of cells; fails where tags do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[dict]] = []
        self.open_tables: list[list[dict]] = []
        self.texts: list[str] = []
        self.captions: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
            self.open_tables.append(self.tables[-1])
        if tag == "caption":
            self.captions.append("")
        if tag == "tr":
            self.open_tables[-1].append({"class": dict(attributes).get("class") or "", "cells": []})
        if tag in ("td", "th"):
            self.open_tables[-1][-1]["cells"].append({"text": "", **dict(attributes)})
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.open_tables.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)
        if "caption" in self.open:
            self.captions[-1] += data
        if "td" in self.open or "th" in self.open:
            self.open_tables[-1][-1]["cells"][-1]["text"] += data

    @property
    def text(self) -> str:
        """All text that is shown, in one line."""
        return " ".join("".join(f"{text} " for text in self.texts).split())

    def rows(self, kind: str) -> list[list[dict]]:
        """The cells of all rows of a kind, whatever table they are in."""
        return [row["cells"] for table in self.tables for row in table if kind in row["class"].split()]

    def captioned(self, start: str) -> list[list[str]]:
        """The one table whose caption begins so, without its header: texts of its cells."""
        [table] = [
            table for table, caption in zip(self.tables, self.captions, strict=True) if caption.startswith(start)
        ]
        return [[cell["text"] for cell in row["cells"]] for row in table[1:]]
