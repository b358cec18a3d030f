"""Makes the page on explanations from what `research/explanations_study.py` measured; every number is from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

from inversionview.reading.explanation.evidence import FEWEST_MEMBERS
from inversionview.reading.explanation.scores import LEAST_DETECTION
from inversionview.results.explanation import ABOUT, CONSISTENCY, DETECTION, GENERATION, OTHERS
from inversionview.studies.verbs.explain_scores import MOST_FIT
from research import markdown
from research.documents import Document, load
from research.paths import RESULTS

NAME = "study-explanations"
CLOSE, CHANCE = 0.9, 0.5
"""Of the best detection that is possible, from which on a rule is close to it; and what words that say nothing get."""
OF_CELLS, OF_SILENT = 0.9, 0.95
"""Of cells that are close to the best, and of intervals that hold the exact value; and of activations that say nothing
and are said to. These were set before anything was measured."""
WORST = 5
"""Explanations that are listed, the furthest from the best first."""
SLACK = 1e-6
"""Numbers are kept in six digits."""
NOT_MEASURED = "Not measured."
TRUTHS = {"truth-addition": "addition", "truth-ioi": "ioi-small", "truth-counting": "counting"}
SITES = {
    "sites-addition": "addition", "sites-ioi-small": "ioi-small", "sites-facts-small": "facts-small",
    "sites-counting": "counting", "sites-smollm2-ioi": "SmolLM2-135M on IOI",
}  # fmt: skip


class Cell(NamedTuple):
    """One activation that has members enough."""

    place: str
    data: Document

    @property
    def expression(self) -> str | None:
        """Of its explanation; None where it says nothing."""
        expression: str | None = self.data["explained"]["expression"]
        return expression

    @property
    def detection(self) -> float:
        """Of the rule that was found, whether it is said or not; chance where there is none."""
        return value_of(self.data["explained"], DETECTION, CHANCE)

    @property
    def best(self) -> Mapping[str, Any]:
        """The rule of best detection that is known, with it."""
        own = {"detection": self.detection, "expression": self.expression or "the one that was found, and not said"}
        others = [self.data[name] for name in ("best", "combined") if name in self.data]
        return max([own, *others], key=lambda rule: float(rule["detection"]))

    @property
    def members(self) -> int:
        """How many there are: all, where they were counted, of which up to some 2,000 are looked at for a rule."""
        counted = self.data["explained"]["scores"].get(CONSISTENCY, {}).get("n")
        return int(self.data["members"] if counted is None else counted)

    @property
    def reached(self) -> float:
        """Detection, as a share of the best."""
        return self.detection / float(self.best["detection"])

    @property
    def reached_above(self) -> float:
        """The same of what is above chance; 1 where nothing is."""
        possible = float(self.best["detection"]) - CHANCE
        return max(0.0, self.detection - CHANCE) / possible if possible > SLACK else 1.0


def value_of(told: Document, name: str, otherwise: float) -> float:
    """A score of an explanation."""
    value = told["scores"].get(name, {}).get("value")
    return otherwise if value is None else float(value)


def page(document: Document | None = None) -> str:
    """The page as Markdown, for what was measured."""
    if document is None:
        document = load(NAME) if (RESULTS / f"{NAME}.json").is_file() else {}
    return markdown.page(
        "explanations",
        scores=_scores(),
        fewest=FEWEST_MEMBERS,
        least=LEAST_DETECTION,
        most_fit=f"{MOST_FIT:.0%}",
        truth=_truths(document),
        places=_sections(TRUTHS, document, _places),
        worst=_sections(TRUTHS, document, _worst),
        sites=_sections(SITES, document, _sites),
        missing=_missing(document),
    )


def _scores() -> str:
    rows = [(name.replace("_", " "), what) for name, what in ABOUT.items()]
    return markdown.table(("score", "the share of"), rows)


def cells_of(part: Document) -> list[Cell]:
    """Those with members enough to be scored, and other inputs."""
    return [
        Cell(f"`{group['site']}` at {group['at']}", cell)
        for group in part["groups"]
        for cell in group["cells"]
        if "best" in cell
    ]


def _sections(names: Mapping[str, str], document: Document, text: Callable[[Document], str]) -> str:
    """A section each, and plainly none where a part was not measured."""
    return markdown.joined(
        f"### {title}\n\n{text(document[part]) if part in document else NOT_MEASURED}" for part, title in names.items()
    )


# Truth


def _truths(document: Document) -> str:
    return markdown.joined(
        f"### Beside the truth: {title}\n\n{_truth(document[part]) if part in document else NOT_MEASURED}"
        for part, title in TRUTHS.items()
    )


def _truth(part: Document) -> str:
    cells = cells_of(part)
    rows = [*_closeness(cells), *_combined(cells), *_intervals(cells), _by_chance(cells)]
    table = markdown.table(("what", "cells", "target", "measured", "verdict"), rows)
    return markdown.joined([_drawn(part, cells), table, _missed(cells)])


def _drawn(part: Document, cells: Sequence[Cell]) -> str:
    every = [cell for group in part["groups"] for cell in group["cells"]]
    few = sum(cell["members"] < FEWEST_MEMBERS for cell in every)
    silent = sum(cell.expression is None for cell in cells)
    places = f"{len(part['groups'])} of {part['pairs']} pairs of a site and a position"
    among = f" Among the inputs {part['given']}, as there are too many in all." if "given" in part else ""
    return markdown.filled(
        f"{places}, {part['inputs']} random inputs each, ε = {part['epsilon']:g}: {len(every)} activations. "
        f"{few} have fewer than {FEWEST_MEMBERS} members and get no explanation; {len(every) - few - len(cells)} have "
        f"all inputs as members. Of the other {len(cells)}, {silent} are said to say nothing.{among}"
    )


def _row(what: str, hits: Sequence[bool], target: float | None = None) -> tuple[object, ...]:
    if not hits:
        return what, 0, "–" if target is None else f"{target:.0%}", "not measured", "–"
    share = sum(hits) / len(hits)
    verdict = "–" if target is None else "met" if share >= target else "**missed**"
    return what, len(hits), "–" if target is None else f"{target:.0%}", f"{share:.0%}", verdict


def _closeness(cells: Sequence[Cell]) -> Iterator[tuple[object, ...]]:
    said = [cell for cell in cells if cell.expression is not None]
    for which, some in (("", cells), (", of those that say something", said)):
        yield _row(
            f"detection at least {CLOSE:g} of the best known{which}", [c.reached >= CLOSE for c in some], OF_CELLS
        )
        above = [c.reached_above >= CLOSE for c in some]
        yield _row(f"what is above chance at least {CLOSE:g} of that of the best known{which}", above)


def _combined(cells: Sequence[Cell]) -> Iterator[tuple[object, ...]]:
    some = [cell for cell in cells if "combined" in cell.data]
    close = [cell.detection >= CLOSE * float(cell.data["combined"]["detection"]) for cell in some]
    yield _row(f"detection at least {CLOSE:g} of the best of all combinations of literals", close, OF_CELLS)
    wide = [float(c.data["best"]["detection"]) >= float(c.data["combined"]["detection"]) - SLACK for c in some]
    yield _row("the wider search finds what is at least as good as the best combination", wide)


class Interval(NamedTuple):
    """That of a score from draws, beside the exact one."""

    cell: Cell
    score: str
    ends: Sequence[float]
    exact: float

    @property
    def holds(self) -> bool:
        """Whether the exact score is in it."""
        return self.ends[0] - SLACK <= self.exact <= self.ends[1] + SLACK


def intervals_of(cells: Sequence[Cell]) -> Iterator[Interval]:
    """Those of explanations that say something."""
    for cell in cells:
        sampled = cell.data.get("sampled", {})
        for name, exact in sampled.get("exact", {}).items():
            ends = sampled["scores"][name]["interval"]
            if exact is not None and ends is not None:
                yield Interval(cell, name, ends, exact)


def _intervals(cells: Sequence[Cell]) -> Iterator[tuple[object, ...]]:
    for name in (DETECTION, GENERATION, CONSISTENCY):
        held = [interval.holds for interval in intervals_of(cells) if interval.score == name]
        yield _row(f"from draws: 95% intervals of {name} that hold the exact score", held, OF_CELLS)


def _missed(cells: Sequence[Cell]) -> str:
    """The intervals that do not."""
    rows = [
        (one.cell.place, _cell(one.cell.data["input"]), _expression(one.cell.data["sampled"]["expression"]), one.score,
         f"{one.ends[0]:.3f} to {one.ends[1]:.3f}", f"{one.exact:.3f}")
        for one in intervals_of(cells)
        if not one.holds
    ]  # fmt: skip
    columns = ("interval that misses, at", "input", "words from draws", "score", "95% interval", "exact")
    return markdown.table(columns, rows) if rows else ""


def _by_chance(cells: Sequence[Cell]) -> tuple[object, ...]:
    silent = [cell.data["dealt"]["expression"] is None for cell in cells if "dealt" in cell.data]
    return _row("members dealt out by chance: said to say nothing", silent, OF_SILENT)


def _places(part: Document) -> str:
    by_place: dict[str, list[Cell]] = {}
    for cell in cells_of(part):
        by_place.setdefault(cell.place, []).append(cell)
    rows = []
    for group in part["groups"]:
        name = f"`{group['site']}` at {group['at']}"
        rows.append((name, *_place(by_place.get(name, []))))
    columns = ("place", "with members enough", "say something", "median of members", "detection", "best known",
               "generation", "floor", "an explanation")  # fmt: skip
    return markdown.table(columns, rows)


def _place(cells: Sequence[Cell]) -> tuple[object, ...]:
    said = [cell for cell in cells if cell.expression is not None]
    if not cells:
        return 0, 0, *["–"] * 6
    members = f"{median(cell.members for cell in cells):,.0f}"
    if not said:
        return len(cells), 0, members, *["–"] * 5
    explained = [cell.data["explained"] for cell in said]
    floors = [one["scores"][GENERATION]["floor"] for one in explained]
    return (
        len(cells), len(said), members, f"{fmean(cell.detection for cell in said):.3f}",
        f"{fmean(float(cell.best['detection']) for cell in said):.3f}",
        f"{fmean(value_of(one, GENERATION, 0.0) for one in explained):.3f}", f"{fmean(floors):.3f}",
        _expression(said[0].expression or ""),
    )  # fmt: skip


def _worst(part: Document) -> str:
    cells = sorted(cells_of(part), key=lambda cell: cell.reached_above)
    rows = [
        (cell.place, _cell(cell.data["input"]), f"{cell.members:,}", _said(cell), f"{cell.detection:.3f}",
         _expression(cell.best["expression"]), f"{float(cell.best['detection']):.3f}")
        for cell in cells[:WORST]
    ]  # fmt: skip
    columns = ("place", "input", "members", "found", "detection", "best known", "its detection")
    return markdown.table(columns, rows)


def _said(cell: Cell) -> str:
    if cell.expression is not None:
        return _expression(cell.expression)
    return _cell(f"nothing: {cell.data['explained']['says_nothing']}")


def _expression(text: str) -> str:
    return f"`{_cell(text)}`" if text else "none"


def _cell(text: str) -> str:
    """Text as it may stand in a table."""
    return text.replace("`", "").replace("|", "\\|")


# Sites


def _sites(part: Document) -> str:
    short = "" if len(part["sites"]) == part["of"] else f"; {len(part['sites'])} of {part['of']} sites were measured"
    epsilon = part["epsilon"] if isinstance(part["epsilon"], str) else f"{part['epsilon']:g}"
    introduction = markdown.filled(
        f"At `{part['at']}`, ε = `{epsilon}`, {part['queries']} random inputs a site, {part['written']} inputs written "
        f"for each explanation{short}."
    )
    rows = []
    for one in part["sites"]:
        example = next((told["example"] for told in one["told"] if told["about"]), "–")
        scores = (_score(one["scores"].get(name)) for name in (GENERATION, OTHERS, DETECTION, CONSISTENCY))
        said = max((score["n"] for score in one["scores"].values()), default=0)
        used = _used(one.get("used"))
        rows.append((f"`{one['site']}`", _cell(one["words"]), _cell(example), said, *scores, used))
    columns = ("site", "in words", "an explanation", "say something", "generation", "generation, other activations",
               "detection", "consistency", "used")  # fmt: skip
    return markdown.joined([introduction, markdown.table(columns, rows)])


def _score(score: Document | None) -> str:
    if score is None or score["value"] is None:
        return "–"
    low, high = score["interval"]
    floor = "" if score["floor"] is None else f", floor {score['floor']:.2f}"
    return f"{score['value']:.2f} ({low:.2f} to {high:.2f}){floor}"


def _used(score: Document | None) -> str:
    if score is None:
        return "not tried"
    return "not known" if score["value"] is None else f"{_score(score)}, of {score['n']}"


def _missing(document: Document) -> str:
    """Say what there is no number of."""
    lines = [
        "Truth of counting over its whole domain, which cannot be listed.",
        "Explanations from a bank beside the truth: the intervals above are of draws from decoder and prior.",
        "Other heads of SmolLM2-135M than the 26 of `benchmarks/chosen_sites.json`.",
        "The truth at an ε other than that of each study.",
    ]
    for part, title in {**TRUTHS, **SITES}.items():
        what = "truth" if part in TRUTHS else "sites"
        wanted = document.get(part, {}).get("pairs" if part in TRUTHS else "of")
        measured = len(document.get(part, {}).get("groups" if part in TRUTHS else "sites", ()))
        if not measured:
            lines.append(f"The {what} of {title}.")
        elif measured < wanted:
            lines.append(f"The {what} of {title}, in {wanted - measured} of {wanted} places.")
    return markdown.listed(lines)
