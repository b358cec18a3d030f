"""Style sheets as lists of rules, with nested ones written out."""

from __future__ import annotations

import re


def rules(css: str, outer: str = "") -> list[tuple[str, str]]:
    """Every selector with its declarations; of a list of selectors each one, and of at-rules what is in them."""
    found: list[tuple[str, str]] = []
    for head, body in _blocks(re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)):
        if head.startswith("@"):
            found += rules(body, outer)
            declared = _declarations(body)
            found += [(outer, declared)] if declared and outer else []
            continue
        for selector in _parts(head):
            whole = _nested(outer, selector)
            found += [(whole, _declarations(body)), *rules(body, whole)]
    return found


def _nested(outer: str, selector: str) -> str:
    if "&" in selector:
        return selector.replace("&", outer)
    return f"{outer} {selector}".strip()


def _blocks(css: str) -> list[tuple[str, str]]:
    """Each rule of this depth: what stands before its braces, and what is in them."""
    found, depth, start, head = [], 0, 0, ""
    for i, character in enumerate(css):
        if character == "{":
            if depth == 0:
                head, start = css[start:i].rpartition(";")[2].strip(), i + 1
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                found.append((head, css[start:i]))
                start = i + 1
    assert depth == 0
    return found


def _declarations(body: str) -> str:
    """What a rule declares itself, without the rules in it."""
    own = re.sub(r"[^{};]*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}", "", body)
    return own.strip()


def _parts(head: str) -> list[str]:
    """The selectors of a list; commas in brackets part none."""
    return [part.strip() for part in re.split(r",(?![^()\[\]]*[)\]])", head)]
