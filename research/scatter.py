"""Draws `scatter.svg`: for two activations, how far each input of the domain is and how probable the decoder finds it.

`python -m research.scatter` scores all 810,000 sums twice, which takes long, and writes the histogram to
`scatter.json` and the figure; `--redraw` makes the figure of the histogram that is there. A histogram stands for the
paper's scatter (InversionView, arXiv 2405.17653), since most of so many points would hide each other.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float

from inversionview.files import read_json, write_atomic, write_json
from inversionview.report.colors import DARK, LIGHT, Theme, mix
from research.paths import DOCS, RESULTS

if TYPE_CHECKING:
    from inversionview.decoder.model import Decoder
    from inversionview.probed.model import ProbedModel
    from inversionview.results.preimage import Query
    from inversionview.tasks.base import Task

INPUT, AT, SITES, EPSILON = "615+861=1476", "=", ("a0.3", "x0.post"), 0.1
BLIND = 1e-3
"""A member is in a blind spot where q is less than this share of uniform over the preimage."""
PER_EPSILON, ROWS = 8, 100
"""Columns up to ε, so that each is all inside or all outside; rows of the histogram."""
LEVELS = (1, 10, 100, 1000, 10_000)
"""A colour stands for counts from its level up to the next."""
STRENGTH = (0.35, 0.7, 1.0, 1.35, 1.7)
"""Of each level's colour: 1 is the theme's own, 2 would be its ink."""

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, GAP = 980, 520, 76, 20, 82, 92, 60


class Cell(TypedDict):
    """One activation."""

    title: str
    members: int
    domain: int
    rank_correlation: float
    """Spearman, of nearness and log q over the domain."""
    rank_correlation_members: float
    blind: float
    """Share of members in a blind spot."""
    q_members: float
    """Probability that a sample of the decoder is a member."""
    q_domain: float
    distance: list[float]
    """Edges of the histogram, first and last."""
    log_q: list[float]
    counts: list[str]
    """One row of the histogram each, the least probable first; counts from the nearest column on."""


def main(args: Sequence[str] | None = None) -> int:
    """Measure or read the histograms, print their numbers, draw them."""
    parser = argparse.ArgumentParser(prog="research.scatter", description=__doc__)
    parser.add_argument("--redraw", action="store_true", help="draw the histogram in scatter.json again")
    parser.add_argument("--keep", type=Path, help="folder for all distances and probabilities; used if they are there")
    options = parser.parse_args(args)
    if not options.redraw:
        about = {"schema": 1, "study": "addition", "epsilon": EPSILON, "metric": "euclidean", "position_rule": "same"}
        write_json(RESULTS / "scatter.json", about | {"cells": measure(options.keep)})
    cells = read_json(RESULTS / "scatter.json", "histogram")["cells"]
    print("\n".join(map(line, cells)))
    write_atomic(DOCS / "scatter.svg", draw(cells))
    return 0


def measure(keep: Path | None = None) -> list[Cell]:
    """The histogram of each cell; `keep`: a folder for what it was made of."""
    from inversionview.studies.parts import needed_decoder
    from inversionview.studies.study import load_study

    study = load_study("addition", device="cpu")
    cells: list[Cell] = []
    for site in SITES:
        query = study.query(INPUT, AT, site)
        path = keep / f"{site}.npy" if keep else None
        if path and path.exists():
            both = np.load(path)
        else:
            both = everywhere(study.probed, study.task, needed_decoder(study.parts), query)
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, both)
        cells.append(histogram(f"{site} at {query.role} of {query.input}", *both))
        print(line(cells[-1]), file=sys.stderr, flush=True)
    return cells


def everywhere(probed: ProbedModel, task: Task, decoder: Decoder, query: Query) -> Float[np.ndarray, "two input"]:
    """Distance and log q at temperature 1 of every input of the domain, in the order of `Task.enumerate`."""
    from inversionview.decoder.scoring import score
    from inversionview.preimage.exact import exact_distances
    from inversionview.preimage.sampled import query_activations

    z = query_activations(probed, task, [query])[0]
    index = decoder.config.sites.index(query.site)
    log_q = [score(decoder, rows, z, index)[0].double().sum(dim=1).numpy() for rows in task.enumerate()]
    return np.stack(
        [
            exact_distances(probed, task, [query])[0].astype(np.float64),
            np.concatenate(log_q),
        ]
    )


def histogram(title: str, distance: Float[np.ndarray, " input"], log_q: Float[np.ndarray, " input"]) -> Cell:
    """Count inputs by distance and log q, and say how well these agree. Every input must have a distance."""
    from scipy.stats import spearmanr

    inside = distance <= EPSILON
    width = EPSILON / PER_EPSILON
    # As float32 distances round, one that is ε exactly must fall on the same side here as it does in `inside`.
    column = np.where(
        inside, np.minimum(distance // width, PER_EPSILON - 1), np.maximum(distance // width, PER_EPSILON)
    )
    columns = max(PER_EPSILON, int(column.max())) + 1
    members = int(inside.sum())
    bottom, top = math.floor(log_q.min()), math.ceil(max(log_q.max(), 1 - math.log(members)))
    row = np.clip((log_q - bottom) / max(top - bottom, 1) * ROWS, 0, ROWS - 1).astype(int)
    counts = np.zeros((ROWS, columns), dtype=int)
    np.add.at(counts, (row, column.astype(int)), 1)
    return {
        "title": title,
        "members": members,
        "domain": len(distance),
        "rank_correlation": float(spearmanr(-distance, log_q).statistic),
        "rank_correlation_members": float(spearmanr(-distance[inside], log_q[inside]).statistic),
        "blind": float((log_q[inside] < math.log(BLIND / members)).mean()),
        "q_members": float(np.exp(log_q[inside]).sum()),
        "q_domain": float(np.exp(log_q).sum()),
        "distance": [0.0, columns * width],
        "log_q": [bottom, top],
        "counts": [" ".join(map(str, each)) for each in counts.tolist()],
    }


def line(cell: Cell) -> str:
    """The numbers of a cell, in words."""
    return (
        f"{cell['title']}: {cell['members']:,} of {cell['domain']:,} inputs inside ε = {EPSILON:g}; rank correlation "
        f"of nearness and log q {cell['rank_correlation']:.3f} ({cell['rank_correlation_members']:.3f} among members); "
        f"{cell['blind']:.2%} of members have less than {BLIND:g} of uniform q; a sample is a member with probability "
        f"{cell['q_members']:.3f}, in the domain with {cell['q_domain']:.3f}"
    )


def draw(cells: Sequence[Cell]) -> str:
    """The figure as SVG, on its own background, light or dark as the reader's system is."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img">',
        "<title>Distance from the query activation against log q, for all inputs of the domain</title>",
        f"<style>{_css(LIGHT)}@media (prefers-color-scheme:dark){{{_css(DARK)}}}</style>",
        f'<rect class="surface" width="{WIDTH}" height="{HEIGHT}"/>',
    ]
    wide = (WIDTH - LEFT - RIGHT - GAP * (len(cells) - 1)) / len(cells)
    for i, each in enumerate(cells):
        parts += _panel(each, Frame(LEFT + i * (wide + GAP), TOP, wide, HEIGHT - TOP - BOTTOM))
    middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
    parts.append(_text(16, middle, "log q(x | z), nats", "middle", f' transform="rotate(-90 16 {middle:g})"'))
    return "\n".join([*parts, *_legend(), "</svg>", ""])


def _css(theme: Theme) -> str:
    """The classes: `i0` to `i4` for counts inside, `o0` to `o4` for those outside."""
    rules = [
        f".surface{{fill:{theme.surface}}}",
        f"text{{fill:{theme.muted};font:12px system-ui,sans-serif;paint-order:stroke;stroke:{theme.surface};"
        "stroke-width:3px}",
        f".title{{fill:{theme.ink};font-size:14px}}",
        f".axis{{stroke:{theme.line};fill:none}}.mark{{stroke:{theme.ink};fill:none}}",
    ]
    for letter, end in (("i", theme.lowered), ("o", theme.raised)):
        for k, s in enumerate(STRENGTH):
            color = mix(theme.surface, end, s) if s <= 1 else mix(end, theme.ink, s - 1)
            rules.append(f".{letter}{k}{{fill:{color}}}")
    return "".join(rules)


class Frame(NamedTuple):
    """Where a panel is, in pixels."""

    left: float
    top: float
    width: float
    height: float


def _panel(cell: Cell, at: Frame) -> list[str]:
    far, (bottom, top) = cell["distance"][1], cell["log_q"]
    right, below = at.left + at.width, at.top + at.height

    def x(distance: float) -> float:
        return round(at.left + at.width * distance / far, 1)

    def y(log_q: float) -> float:
        return round(below - at.height * (log_q - bottom) / (top - bottom), 1)

    uniform = -math.log(cell["members"])
    lines = {uniform: "uniform over the members", uniform + math.log(BLIND): f"{BLIND:g} of it: blind spots below"}
    parts = [
        _text(at.left, at.top - 48, cell["title"], "start", ' class="title"'),
        _text(at.left, at.top - 29, f"{cell['members']:,} inside ε, {cell['domain'] - cell['members']:,} outside"),
        _text(
            at.left,
            at.top - 12,
            f"rank correlation {cell['rank_correlation']:.2f}; {cell['blind']:.1%} of members in blind spots",
        ),
        *_tiles(cell, at),
        f'<path class="axis" d="M{at.left:g} {at.top}V{below:g}H{right:g}"/>',
        f'<path class="mark" d="M{x(EPSILON)} {at.top}V{below:g}"/>',
        _text(x(EPSILON) + 4, below - 6, f"ε = {EPSILON:g}"),
        _text(at.left + at.width / 2, below + 36, "distance from the query activation", "middle"),
    ]
    for log_q, name in lines.items():
        parts.append(f'<path class="mark" stroke-dasharray="2 4" d="M{at.left:g} {y(log_q)}H{right:g}"/>')
        parts.append(_text(right, y(log_q) - 5, name, "end"))
    parts += [_text(x(tick), below + 17, f"{tick:g}", "middle") for tick in _ticks(0, far)]
    parts += [_text(at.left - 6, y(tick) + 4, f"{tick:g}".replace("-", "−"), "end") for tick in _ticks(bottom, top)]
    return parts


def _tiles(cell: Cell, at: Frame) -> list[str]:
    """One path a colour, neighbours in a row drawn as one rectangle."""
    counts = [[int(count) for count in row.split()] for row in cell["counts"]]
    wide, high = at.width / len(counts[0]), at.height / len(counts)
    paths: dict[str, list[str]] = {}
    for r, row in enumerate(counts):
        colors = [_color(count, c < PER_EPSILON) for c, count in enumerate(row)]
        start = 0
        for color, run in groupby(colors):
            length = len(list(run))
            if color:
                left, top = at.left + start * wide, at.top + at.height - (r + 1) * high
                box = f"M{left:.1f} {top:.1f}h{length * wide:.1f}v{high:.1f}h{-length * wide:.1f}z"
                paths.setdefault(color, []).append(box)
            start += length
    return [
        f'<path class="{color}" shape-rendering="crispEdges" d="{"".join(boxes)}"/>'
        for color, boxes in sorted(paths.items())
    ]


def _color(count: int, inside: bool) -> str:
    """The class of a tile; none where there is no input."""
    return f"{'i' if inside else 'o'}{sum(count >= level for level in LEVELS) - 1}" if count else ""


def _legend() -> list[str]:
    top, parts = HEIGHT - 30, []
    for k, level in enumerate(LEVELS):
        left = LEFT + 130 + 74 * k
        parts.append(f'<rect class="i{k}" x="{left}" y="{top}" width="14" height="14"/>')
        parts.append(f'<rect class="o{k}" x="{left + 15}" y="{top}" width="14" height="14"/>')
        parts.append(_text(left + 34, top + 11, f"{level:,}" + ("+" if level == LEVELS[-1] else "")))
    parts.append(_text(LEFT, top + 11, "inputs a tile, at least"))
    parts.append(_text(LEFT + 524, top + 11, "orange inside ε, blue outside"))
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """About six round numbers between."""
    step = 10 ** math.floor(math.log10((high - low) / 5))
    step *= next(k for k in (1, 2, 5, 10) if (high - low) / (k * step) <= 7)
    return [round(k * step, 9) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


if __name__ == "__main__":
    raise SystemExit(main())
