"""The table of samples, as HTML: one row a sample, one column a token, or the text around the position read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from inversionview.report import colors
from inversionview.report.html_page import change_class, escaped
from inversionview.report.reading import (
    Groups,
    Reading,
    Row,
    bar_scale,
    format_distance,
    group,
    shares,
    visible,
)

OPEN = 24
"""Members to be seen before "show all" is pressed."""
TOKEN_BUDGET = 30_000
"""Tokens of samples in one reading; members beyond it are only counted, or a notebook would grow by many megabytes."""
GRID_WIDTH = 100
"""Characters of the widest table with a column for each token; longer inputs are shown around the position read."""
CONTEXT = (52, 26)
"""Characters before and after that position."""


def draw_table(reading: Reading, limit: int, near: int) -> str:
    """Return the table with at most `limit` members, `near` near misses, and a few candidates outside the domain."""
    groups = group(reading)
    longest = max((len(sample["tokens"]) for sample in reading["samples"]), default=1)
    near = max(near, 0)
    limit = max(0, min(limit, max(OPEN, TOKEN_BUDGET // longest - near)))
    shown = Groups(groups.members[:limit], groups.near[:near], groups.outside[: near // 4])
    return _Table(reading, groups, shown).draw()


class _Table:
    """The table of one reading; a class only because all its rows share the same layout."""

    def __init__(self, reading: Reading, groups: Groups, shown: Groups) -> None:
        self.reading, self.groups, self.shown = reading, groups, shown
        self.epsilon = reading["epsilon"]
        rows = [*shown.members, *shown.near, *shown.outside]
        self.scale = bar_scale(self.epsilon, rows)
        token_rows = [reading["query"]["tokens"], *(row.sample["tokens"] for row in rows)]
        self.columns = max(len(tokens) for tokens in token_rows)
        widths = (max(len(visible(t[i])) for t in token_rows if i < len(t)) + 1 for i in range(self.columns))
        self.grid = self.columns <= GRID_WIDTH and sum(widths) <= GRID_WIDTH
        self.token_cells = self.columns if self.grid else 3
        self.features = reading.get("features", [])
        self.counted = not reading["exact"]
        self.scored = any(row.sample["log_prob"] is not None for row in rows)
        self.cells = 2 + self.token_cells + len(self.features) + self.counted + self.scored + (not self.grid)

    def draw(self) -> str:
        layout = "grid" if self.grid else "context"
        mark = f"{100 * self.epsilon / self.scale:.4g}%"
        members = self._rows(self.shown.members[:OPEN])
        rest = self._rows(self.shown.members[OPEN:])
        near = self._rows(self.shown.near, "miss")
        return (
            f'<table class="{layout}" style="--epsilon:{mark}"><thead>{self._header()}</thead>'
            f"<tbody>{self._query()}{members}</tbody>{self._rest(rest)}"
            f"<tbody>{self._divider()}{near}{self._not_shown()}{self._outside()}</tbody></table>"
        )

    def _header(self) -> str:
        query = self.reading["query"]
        label = f'title="read here: position {query["position"]}"'
        cells = ['<th scope="col">distance</th><th class="axis"><span><i>ε</i></span></th>']
        if self.grid:
            cells += [
                f'<th class="at" {label}>▾</th>' if i == query["position"] else "<th></th>" for i in range(self.columns)
            ]
        else:
            cells += ["<th></th>", f'<th class="at" {label}>▾</th>', "<th></th>"]
        cells += [f'<th scope="col" class="f">{escaped(feature["name"])}</th>' for feature in self.features]
        if self.counted:
            cells.append('<th scope="col" class="n" title="how many times it was drawn">drawn</th>')
        if self.scored:
            title = "log-probability under the decoder at temperature 1, in nats"
            cells.append(f'<th scope="col" class="n" title="{title}">log q</th>')
        return f"<tr>{''.join(cells)}{'' if self.grid else '<th></th>'}</tr>"

    def _query(self) -> str:
        query = self.reading["query"]
        features = "".join(f'<td class="f">{escaped(feature.get("query", ""))}</td>' for feature in self.features)
        blanks = "<td></td>" * (self.counted + self.scored)
        line = _Line(query["tokens"], query["position"], None, None)
        row = f'<tr class="query"><th scope="row" colspan="2">query</th>{self._tokens(line)}{features}{blanks}'
        if not self.grid:
            return f"{row}{self._opener()}</tr>{self._full(line)}"
        return f"{row}</tr>{self._shared()}"

    def _shared(self) -> str:
        cells = agreement_cells(self.reading, self.groups.members)
        if not cells:
            return ""
        return f'<tr class="shared"><th scope="row" colspan="2">same in members</th>{cells}</tr>'

    def _rows(self, rows: Iterable[Row], kind: str = "member") -> str:
        return "".join(self._row(row, kind) for row in rows)

    def _row(self, row: Row, kind: str) -> str:
        sample = row.sample
        line = _Line(sample["tokens"], sample["position"], sample["colors"], sample["token_distances"])
        features = "".join(f'<td class="f">{escaped(value)}</td>' for value in row.features)
        counted = f'<td class="x">{sample["count"]:,}</td>' if self.counted else ""
        scored = "" if not self.scored else f'<td class="x">{_number(sample["log_prob"])}</td>'
        opener = "" if self.grid else self._opener()
        full = "" if self.grid else self._full(line)
        return (
            f'<tr class="sample {kind}"><td class="n">{format_distance(sample["distance"], self.epsilon)}</td>'
            f"{self._bar(sample['distance'])}{self._tokens(line)}{features}{counted}{scored}{opener}</tr>{full}"
        )

    def _bar(self, distance: float | None) -> str:
        if distance is None:
            return '<td class="b"><span></span></td>'
        far = ' class="far"' if distance > self.scale else ""
        width = 100 * min(1.0, distance / self.scale)
        return f'<td class="b"><span><i{far} style="width:{width:.4g}%"></i></span></td>'

    def _tokens(self, line: _Line) -> str:
        count, position = len(line.tokens), line.position
        if self.grid:
            missing = self.columns - count
            cells = "".join(line.draw(i, "td") for i in range(count))
            return cells + (f'<td colspan="{missing}"></td>' if missing else "")
        start, stop = line.window()
        before = ("…" if start > 0 else "") + "".join(line.draw(i, "span") for i in range(start, position))
        match = line.draw(position, "span") if position >= 0 else ""
        after = "".join(line.draw(i, "span") for i in range(position + 1, stop)) + ("…" if stop < count else "")
        return (
            f'<td class="left"><div><span>{before}</span></div></td><td class="match">{match}</td>'
            f'<td class="right"><div><span>{after}</span></div></td>'
        )

    def _opener(self) -> str:
        return '<td class="x"><label><input type="checkbox" class="open">whole</label></td>'

    def _full(self, line: _Line) -> str:
        # a line can only break where the text had a space, and visible() has made that a dot
        breaks = ("<wbr>" if token[:1].isspace() else "" for token in line.tokens)
        spans = "".join(gap + line.draw(i, "span", hint=False) for i, gap in enumerate(breaks))
        whole = self._wide(f'<div tabindex="0">{spans}</div>')
        return f'<tr class="full">{whole}</tr>'

    def _rest(self, rows: str) -> str:
        count = len(self.shown.members) - OPEN
        if count <= 0:
            return ""
        words = f"show {count:,} more {'member' if count == 1 else 'members'}"
        label = f'<label><input type="checkbox" class="all">{words}</label>'
        return f'<tbody><tr class="note">{self._wide(label)}</tr></tbody><tbody class="rest">{rows}</tbody>'

    def _divider(self) -> str:
        hidden = self.reading["counts"]["inside"] - len(self.shown.members)
        words = "members above" if self.reading["counts"]["inside"] else "no member was found"
        words += f" ({hidden:,} more not shown)" if hidden > 0 else ""
        words += ", near misses below" if self.shown.near else ""
        label = f"<span>ε = {self.epsilon:g} <small>{words}</small></span>"
        return f'<tr class="divider">{self._wide(label)}</tr>'

    def _not_shown(self) -> str:
        hidden = self.reading["counts"]["in_domain"] - self.reading["counts"]["inside"] - len(self.shown.near)
        if hidden <= 0:
            return ""
        return f'<tr class="note">{self._wide(f"{hidden:,} more outside ε are not shown.")}</tr>'

    def _outside(self) -> str:
        if not self.shown.outside:
            return ""
        counts = self.reading["counts"]
        words = f"{counts['distinct'] - counts['in_domain']:,} candidates; never members, however near"
        head = self._wide(f"Not in the domain<small>{words}</small>")
        return f'<tr class="head">{head}</tr>' + self._rows(self.shown.outside, "miss")

    def _wide(self, content: str) -> str:
        return f'<td colspan="{self.cells}">{content}</td>'


class _Line(NamedTuple):
    """The tokens of one input, and what is known of each."""

    tokens: list[str]
    position: int
    changes: list[float] | None
    distances: list[float | None] | None

    def draw(self, i: int, tag: str, *, hint: bool = True) -> str:
        """Return token `i` as an element, with its numbers to be read by hovering where `hint`."""
        shown = escaped(visible(self.tokens[i]))
        change = self.changes[i] if self.changes else 0.0
        names = ("t", change_class(colors.level(change)), "at" if i == self.position else "")
        title = f' title="{shown}: {", ".join(facts)}"' if hint and (facts := self._facts(i)) else ""
        inner = f"<b>{shown}</b>" if i == self.position else shown
        return f'<{tag} class="{" ".join(filter(None, names))}"{title}>{inner}</{tag}>'

    def _facts(self, i: int) -> list[str]:
        facts = [f"change {self.changes[i]:+.2f}"] if self.changes else []
        distance = self.distances[i] if self.distances else None
        return facts if distance is None else [*facts, f"distance here {distance:.3g}"]

    def window(self) -> tuple[int, int]:
        """Return the first and last index (exclusive) of the tokens that fit around the position read."""
        start, room = self.position, CONTEXT[0]
        while start > 0 and room >= len(visible(self.tokens[start - 1])):
            start -= 1
            room -= len(visible(self.tokens[start]))
        stop, room = self.position + 1, CONTEXT[1]
        while stop < len(self.tokens) and room >= len(visible(self.tokens[stop])):
            room -= len(visible(self.tokens[stop]))
            stop += 1
        return start, stop


def agreement_cells(reading: Reading, members: Sequence[Row]) -> str:
    """Return a cell for each token of the query with a bar as high as the share of members that have it there."""
    whole = f"all {reading['counts']['inside']:,} members"
    of = whole if "shares" in reading else f"{len(members):,} members listed"
    cells = []
    for token, share in zip(reading["query"]["tokens"], shares(reading, members), strict=False):
        title = escaped(f"{share:.0%} of {of} have {visible(token)} here")
        bar = f'<div class="base"><i style="height:{100 * share:.4g}%"></i></div>'
        cells.append(f'<td class="s" title="{title}">{bar}</td>')
    return "".join(cells)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}".replace("-", "−")
