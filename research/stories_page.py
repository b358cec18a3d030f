"""Makes the page on a small story model from what `research/stories_study.py` measured.

Every number and verdict comes from a measurement; the rules by which heads are chosen, and the claims about them, stand
here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from inversionview.results.map import PARTLY
from research import markdown
from research.claims import MORE, Bits, Check, Claim, Measured, Test, Uses, is_more, judged, table
from research.documents import Document, in_bits, load, number, share, verdict_counts

NAME = "study-stories"
CHOSEN_AT, CHOSEN_SHARE = "8", 0.05
"""Position at which all heads are mapped, and the share of unrelated texts that are within ε there."""
READ_AT, READ_SHARE = "12", 0.02
"""The same of the readings of the chosen heads: another position, other texts, a finer ε."""
LEAST_OF = 0.3
"""Bits of entropy that a feature must have for a head to be chosen by it: a share of less is a matter of luck."""
ABOVE, CLEARLY, SITES = 0.15, 4.0, 0.8
"""A good decoder's mean rate is so far above its floor, and at this share of the sites so many standard errors."""
PREVIOUS, EARLIER, CURRENT = "the previous token", "something earlier", "the current token"
NEAR = ("token", "token-1", "token-2")
SOURCE = "this page"
SHOWN_SHARE = 0.2
"""Features of which a head gives less are left out of its table."""


class Before(NamedTuple):
    """A head gives more bits about the previous token than about the current one."""

    reading: Document

    def check(self, measured: Measured) -> Check:
        """Compare the mean difference, text by text, with `MORE` and with two standard errors."""
        site, bits, apart = self.reading["site"], self.reading["bits"], self.reading["apart"]
        if not bits:
            return Check(False, f"nothing measured in `{site}`")
        both = f"{in_bits(bits['token-1'])}, token {in_bits(bits['token'])}"
        words = f"token-1 in `{site}` at `{READ_AT}`: {both}, apart {number(apart['bits'], apart['se'])}"
        return Check(is_more(apart["bits"], apart["se"]), words)


def chosen(a_map: Document) -> dict[str, dict[str, str]]:
    """The heads that the rules choose from a map, by rule, each with the feature that it is chosen for."""
    cells = [cell for cell in a_map["cells"] if cell["bits"]]
    scores: dict[str, dict[tuple[str, str], float]] = {
        PREVIOUS: {
            (cell["site"], "token-1"): cell["bits"]["token-1"]["bits"]
            for cell in cells
            if is_more(cell["apart"]["bits"], cell["apart"]["se"])
        },
        EARLIER: {
            (cell["site"], name): share(bits)
            for cell in cells
            for name, bits in cell["bits"].items()
            if name not in (*NEAR, "length")
            and bits["of"] >= LEAST_OF
            and all(share(cell["bits"][near]) < PARTLY for near in NEAR)
        },
        CURRENT: {(cell["site"], "token"): share(cell["bits"]["token"]) for cell in cells},
    }
    heads: dict[str, dict[str, str]] = {}
    for rule, by_place in scores.items():
        taken = [head["site"] for head in heads.values()]
        free = {place: score for place, score in by_place.items() if place[0] not in taken}
        if free:
            site, feature = max(free, key=lambda place: free[place])
            heads[rule] = {"site": site, "feature": feature}
    return heads


def claims(data: Document) -> list[Claim]:
    """What the rules lead one to expect of the heads they chose, in other texts at another position."""
    heads = {rule: (one["site"], one["feature"]) for rule, one in data["readings"].items()}
    reads = {rule: Bits(site, READ_AT, feature, "reads") for rule, (site, feature) in heads.items()}
    expected: list[tuple[str, tuple[Test, ...], tuple[Test, ...]]] = []
    if PREVIOUS in heads:
        before = Before(data["readings"][PREVIOUS])
        expected.append(("A head carries the previous token, more than the current one", (reads[PREVIOUS], before), ()))
    if EARLIER in heads:
        not_near = (Bits(heads[EARLIER][0], READ_AT, name, "does not read") for name in NEAR)
        says = "A head carries something of the text before, and none of the nearest tokens"
        expected.append((says, (reads[EARLIER], *not_near), ()))
    if CURRENT in heads:
        expected.append(("A head carries the current token", (reads[CURRENT],), ()))
    if site := _best(data, "name"):
        carries = Bits(site, CHOSEN_AT, "name", "reads", "choice")
        expected.append(("Some head carries the latest name", (carries,), ()))
    for rule, (site, feature) in heads.items():
        says = f"What a head carries of {rule} is used for the next token"
        expected.append((says, (), (Uses(site, feature, "used"),)))
    if heads:
        controls = tuple(Bits(site, READ_AT, "length", "does not read") for site, _ in heads.values())
        expected.append(("No head knows how long the text will be, which it cannot see", controls, ()))
    return [Claim(says, SOURCE, encoded, used) for says, encoded, used in expected]


def measured(data: Document) -> Measured:
    """The readings and the map, as tests ask for them."""
    readings = data["readings"].values()
    cells = [{"site": one["site"], "at": one["at"], "bits": one["bits"]} for one in readings]
    maps = {"map": {"cells": cells}, "choice": data["map"]}
    return Measured(maps, {}, {one["site"]: one["causal"] for one in readings})


def page(data: Document | None = None) -> str:
    """The page as Markdown."""
    data = load(NAME) if data is None else data
    verdicts, run = judged("stories260k", measured(data), claims(data)), data["training"]
    return markdown.page(
        "stories",
        disagree=table(verdicts, agree=False),
        agree=table(verdicts, agree=True),
        heads=markdown.joined(_head(rule, reading) for rule, reading in data["readings"].items()),
        not_read=_not_read(data),
        rates=markdown.joined(_rate(data["decoder"], rule) for rule in ("same", "any")),
        site_rates=_site_rates(data["decoder"]),
        map=_map(data["map"]["cells"]),
        at=CHOSEN_AT,
        share=CHOSEN_SHARE,
        read_at=READ_AT,
        read_share=READ_SHARE,
        partly=PARTLY,
        more=MORE,
        least=LEAST_OF,
        queries=data["map"]["queries"],
        draws=data["map"]["draws"],
        fine=data["fine map"]["queries"],
        fine_draws=data["fine map"]["draws"],
        read=len(next(iter(data["readings"].values()))["causal"]) if data["readings"] else 0,
        length=f"--steps {run['steps']}" if run["minutes"] is None else f"--minutes {run['minutes']:g}",
        instances=run["steps"] * run["batch"],
        **{key: run[key] for key in ("rule", "seconds", "steps", "texts", "most")},
        sites=len(data["decoder"]["sites"]),
        n=data["decoder"]["n"],
    )


def above(one: Document, n: int) -> tuple[float, float]:
    """How far a rate is above its floor, and the standard error of that."""
    return one["rate"] - one["floor"], math.hypot(one["se"], math.sqrt(one["floor"] * (1 - one["floor"]) / n))


def _best(data: Document, feature: str) -> str:
    """The head of the map that gives most of a feature."""
    cells = [cell for cell in data["map"]["cells"] if cell["bits"]]
    return str(max(cells, key=lambda cell: share(cell["bits"][feature]))["site"]) if cells else ""


def _not_read(data: Document) -> str:
    missing = {rule: one for rule, one in chosen(data["map"]).items() if rule not in data["readings"]}
    heads = "; ".join(f"`{one['site']}` as {rule}, for {one['feature']}" for rule, one in missing.items())
    return markdown.filled(f"Chosen, but **not read yet**: {heads}.") if missing else ""


def _head(rule: str, reading: Document) -> str:
    queries, example = reading["causal"], reading["example"]
    query, members = queries[example["of"]], example["members"]
    whole = [one["verdict"] for one in queries]
    given = [one for one in query["features"] if one["share"] is not None and one["share"] >= PARTLY]
    given.sort(key=lambda one: -one["share"])
    columns = (f"{len(members)} of the proposed members, from the nearest to the furthest", "distance")
    rows = [(_text(member["input"]), f"{member['distance']:.3f}") for member in members]
    return markdown.page(
        "stories-head",
        **{key: reading[key] for key in ("site", "feature", "at", "epsilon", "drawn")},
        rule=rule,
        n=len(queries),
        attended=", ".join(f"{name} {part:.0%}" for name, part in reading["attention"].items()),
        used=whole.count("used"),
        not_used=whole.count("not used"),
        silent=whole.count(None),
        members=_mean_kl(queries, "members"),
        random=_mean_kl(queries, "random"),
        features=_features(reading),
        input=_text(example["input"]),
        inside=query["inside"],
        candidates=example["drawn"],
        candidates_inside=example["inside"],
        bits=", ".join(f"{one['name']} {one['bits']:.2f} of {one['of']:.2f}" for one in given) or "none",
        member_table=markdown.table(columns, rows) if members else "",
    )


def _features(reading: Document) -> str:
    """A table of the features that a head gives something about, and how they are used."""
    shares = {name: share(bits) for name, bits in reading["bits"].items()}
    rows = [
        (name, in_bits(reading["bits"][name]), f"{given:.0%}", *verdict_counts(reading["causal"], name))
        for name, given in sorted(shares.items(), key=lambda one: -one[1])
        if name == "length" or given >= SHOWN_SHARE
    ]
    columns = ("feature", "bits, mean over texts", "share", "used", "merely present", "not encoded", "does not tell")
    table = markdown.table(columns, rows)
    return table if rows else markdown.joined(["Too few of the draws were members to tell its bits.", table])


def _mean_kl(queries: Sequence[Document], group: str) -> str:
    values = [query[group]["kl"] for query in queries if query[group]["kl"] is not None]
    return f"{sum(values) / len(values):.3f}" if values else "?"


def _text(parts: Sequence[str]) -> str:
    before, token, after = (part.replace("|", "\\|").replace("\n", "↵").replace("`", "'") for part in parts)
    lead = " " if token.startswith(" ") else ""
    return f"“{before.lstrip()}{lead}**[{token.strip() or token}]**{after}”"


def _rate(rates: Document, rule: str) -> str:
    """What the decoder reaches by a position rule, beside what was wanted."""
    over = [above(one[rule], rates["n"]) for one in rates["sites"].values()]
    clear, n = sum(apart > CLEARLY * error for apart, error in over), len(over)
    mean = rates["mean"][rule]
    apart = mean["rate"] - mean["floor"]
    verdict = "Both are met" if apart >= ABOVE and clear >= SITES * n else "**Not met**"
    return markdown.filled(
        f"Position rule `{rule}`: mean in-ε rate {mean['rate']:.3f} ± {mean['se']:.3f}, floor {mean['floor']:.3f}, "
        f"so {apart:.2f} above it (wanted: {ABOVE}); over {CLEARLY:g} standard errors above "
        f"it at {clear} of {n} sites (wanted: {SITES:.0%}). {verdict}."
    )


def _site_rates(rates: Document) -> str:
    rows = []
    for site, one in rates["sites"].items():
        apart, error = above(one["same"], rates["n"])
        same, floor = number(one["same"]["rate"], one["same"]["se"]), f"{one['same']['floor']:.3f}"
        errors, any_ = f"{apart / error if error else 0.0:.1f}", number(one["any"]["rate"], one["any"]["se"])
        rows.append((f"`{site}`", f"{one['epsilon']:.3f}", same, floor, errors, any_, f"{one['any']['floor']:.3f}"))
    columns = ("site", "ε", "rate, `same`", "floor", "above, in standard errors", "rate, `any`", "floor")
    return markdown.table(columns, rows)


def _map(cells: Sequence[Document]) -> str:
    shown, full = (*NEAR, "first token", "name", "length"), [cell for cell in cells if cell["bits"]]
    rows = []
    for cell in full:
        shares = {name: share(bits) for name, bits in cell["bits"].items()}
        words = sorted((name for name in shares if name.startswith("seen ")), key=lambda name: -shares[name])
        most = ", ".join(f"{name.removeprefix('seen ')} {shares[name]:.0%}" for name in words[:3])
        rows.append((f"`{cell['site']}`", *(f"{shares[name]:.0%}" for name in shown), most))
    parts = [markdown.table(("head", *shown, "most of the words so far"), rows)]
    if full:
        of = ", ".join(f"{name} {bits['of']:.2f}" for name, bits in full[0]["bits"].items())
        parts.append(markdown.filled(f"Entropies, in bits: {of}."))
    if silent := ", ".join(f"`{cell['site']}`" for cell in cells if not cell["bits"]):
        parts.append(markdown.filled(f"Too few of the draws were members to tell anything about {silent}."))
    return markdown.joined(parts)
