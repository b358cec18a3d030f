"""Makes the page on real language models from what `research/real_study.py` measured.

Every number, list and verdict comes from a measurement; the thresholds stand here, before anything is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from inversionview.results.map import KNOWN_SHARE, PARTLY
from research import markdown
from research.documents import Document, load

NAME = "study-real-models"
NOTHING = 0.05
"""Below this share of a feature's entropy a head is said not to give it."""
MOVES, BARELY = 0.05, 0.01
"""Shares of the whole effect that patching one head must take away to move the answer, and must stay under to barely do
so: half of what is asked of a head of the small models, since there are ten times as many."""
ERRORS = 2.0
"""A patch counts where its effect is more than so many standard errors from 0."""
SHOWN = 24
"""Heads in a table: those that move the answer most, whichever way."""
LISTED = 12
"""Heads that are named in a list, before `and ... more`."""
NAMES = ("IO", "S")
FEATURES = ("IO", "S", "order", "template", "place", "object")
CONTRASTS = {"flip": "flip", "new IO": "change:IO"}
MOST_PERMUTED, MOST_PERMUTED_95 = 0.02, 0.05
"""Shares of its entropy that a permuted feature may get: in the mean over heads, and in 95% of them."""


class Head(NamedTuple):
    """What was measured of one head of one model on IOI."""

    name: str
    data: Document

    def share(self, feature: str, at: str = "END") -> float:
        """Share of a feature's entropy that it gives; 0 where the map is silent."""
        bits = self.data["map"][at].get(self.name)
        return 0.0 if bits is None or feature not in bits else max(0.0, bits[feature][0] / self.data["of"][at][feature])

    def drop(self, contrast: str, at: str = "END") -> tuple[float, float]:
        """What patching it alone takes away, as a share of the whole effect, and that share's standard error."""
        patched = self.data["patching"][f"{contrast}@{at}"]
        whole = patched["clean"] - patched["contrast_run"]
        drop, se = patched["each"][self.name]
        return drop / whole, se / abs(whole)

    @property
    def strongest(self) -> float:
        """The share of the contrast that it moves most, with its sign."""
        return max((self.drop(contrast)[0] for contrast in CONTRASTS), key=abs)

    def moves(self, contrast: str, at: str = "END") -> bool:
        """Whether patching it takes away enough, and more than chance."""
        drop, se = self.drop(contrast, at)
        return drop >= MOVES and drop > ERRORS * se

    def opposes(self, contrast: str, at: str = "END") -> bool:
        """Whether patching it adds as much as others take away."""
        drop, se = self.drop(contrast, at)
        return drop <= -MOVES and -drop > ERRORS * se

    def shown(self, feature: str) -> float:
        """Share of the inputs in which, of all names, it raises or lowers the input's own most."""
        ranks = self.data["attribution"][self.name][feature]
        return float(max(ranks["raised"], ranks["lowered"]))


class Part(NamedTuple):
    """What a head may do, and the rule by which it is said to."""

    name: str
    rule: str
    plays: Callable[[Head], bool]


def _reads(feature: str, at: str = "END") -> Callable[[Head], bool]:
    return lambda head: head.share(feature, at) >= PARTLY


def _lacks(head: Head, *features: str) -> bool:
    return all(head.share(feature) < NOTHING for feature in features)


PARTS = (
    Part("gives IO", "reads IO at END", _reads("IO")),
    Part("gives S", "reads S at END", _reads("S")),
    Part("gives both names", "reads IO and S at END", lambda head: min(head.share(name) for name in NAMES) >= PARTLY),
    Part(
        "gives the order of the names",
        "reads order at END",
        _reads("order"),
    ),
    Part(
        "gives the order, and no name",
        "reads order at END, and gives neither IO nor S",
        lambda head: head.share("order") >= PARTLY and _lacks(head, *NAMES),
    ),
    Part(
        "holds the IO name and works against it",
        "reads IO at END; patched there with a new IO, or with flip, the answer is said more",
        lambda head: head.share("IO") >= PARTLY and any(head.opposes(contrast) for contrast in CONTRASTS),
    ),
    Part(
        "works against the answer, whatever it holds",
        "patched at END, the answer is said more",
        lambda head: any(head.opposes(contrast) for contrast in CONTRASTS),
    ),
    Part(
        "moves the answer",
        "patched at END, it takes away enough of either contrast",
        lambda head: any(head.moves(contrast) for contrast in CONTRASTS),
    ),
    Part("tells the duplicate at S2", "reads order at S2", _reads("order", "S2")),
    Part(
        "tells the duplicate at S2, and the answer hears of it",
        "reads order at S2; patched there with flip it moves the answer",
        lambda head: head.share("order", "S2") >= PARTLY and head.moves("flip", "S2"),
    ),
)


def page(data: Document | None = None) -> str:
    """The page as Markdown."""
    data = load(NAME) if data is None else data
    models = data["models"]
    first = next(iter(models.values()))
    return markdown.page(
        "real-models",
        models=" and ".join(models),
        rules=_rules(),
        disagree=markdown.joined(_disagreement(name, model["ioi"]) for name, model in models.items()),
        claim=_claim(models),
        ioi=markdown.joined(_ioi(name, model["ioi"]) for name, model in models.items()),
        others=markdown.joined(
            _where_first(f"{title} in {name}", model[domain])
            for name, model in models.items()
            for domain, title in DOMAINS.items()
            if domain in model
        ),
        permuted=_permuted(models),
        slices=_slices(data["slices"]),
        n=first["ioi"]["n"],
        queries=first["ioi"]["queries"],
        epsilon=first["ioi"]["epsilon"],
        pairs="; ".join(_pairs(name, model["ioi"]) for name, model in models.items()),
    )


def heads_of(data: Document) -> list[Head]:
    """All heads of a model, in the order of a forward."""
    return [Head(name, data) for name in data["heads"]]


def _rules() -> str:
    return markdown.filled(
        f"A head *reads* a feature when its activation gives at least {PARTLY:.0%} of the feature's entropy, *knows* "
        f"it from {KNOWN_SHARE:.0%} on, and *gives nothing* of it below {NOTHING:.0%}. A patch *moves* the answer when "
        f"it takes away at least {MOVES:.0%} of the whole effect (the clean run's logit difference less the contrast "
        f"run's), it *opposes* it when it adds as much, and it *barely moves* it under {BARELY:.0%}; either must be "
        f"more than {ERRORS:g} standard errors. Attribution *shows* a name when, of all names, the input's own is the "
        f"one that the head raises most, or the one that it lowers most, in at least {PARTLY:.0%} of the inputs."
    )


def _disagreement(name: str, data: Document) -> str:
    heads = heads_of(data)
    read_only = [
        head
        for head in heads
        if max(map(head.share, ("IO", "S", "order"))) >= PARTLY
        and max(abs(head.drop(contrast)[0]) for contrast in CONTRASTS) < BARELY
    ]
    unread = [
        head
        for head in heads
        if any(head.moves(contrast) or head.opposes(contrast) for contrast in CONTRASTS)
        and max(map(head.share, ("IO", "S", "order"))) < PARTLY
    ]
    readers = sum(max(map(head.share, ("IO", "S", "order"))) >= PARTLY for head in heads)
    movers = sum(any(head.moves(one) or head.opposes(one) for one in CONTRASTS) for head in heads)
    return markdown.listed(
        [
            f"**{name}**: of {readers} heads that read IO, S or the order at END, {len(read_only)} barely move the "
            f"answer when they are patched there: {_named(read_only, _best_reading)}.",
            f"**{name}**: of {movers} heads that move or oppose the answer, {len(unread)} read none of these: "
            f"{_named(unread, lambda head: f'{head.strongest:+.0%}')}.",
        ]
    )


def _best_reading(head: Head) -> str:
    best = max(("IO", "S", "order"), key=head.share)
    return f"{best} {head.share(best):.0%}"


def _named(heads: Sequence[Head], tell: Callable[[Head], str] | None = None) -> str:
    if not heads:
        return "none"
    words = [f"`{head.name}`" + (f" ({tell(head)})" if tell else "") for head in heads[:LISTED]]
    return ", ".join(words) + (f", and {len(heads) - LISTED} more" if len(heads) > LISTED else "")


def _claim(models: Document) -> str:
    """The paper's claim, that attribution shows less than the preimage, counted."""
    lines = []
    for name, model in models.items():
        heads = heads_of(model["ioi"])
        pairs = [(head.share(one) >= PARTLY, head.shown(one) >= PARTLY) for head in heads for one in NAMES]
        more, less = pairs.count((True, False)), pairs.count((False, True))
        both, neither = pairs.count((True, True)), pairs.count((False, False))
        moving = [head for head in heads if any(head.moves(one) or head.opposes(one) for one in CONTRASTS)]
        of_moving = [(head.share(one) >= PARTLY, head.shown(one) >= PARTLY) for head in moving for one in NAMES]
        lines.append(
            f"**{name}**: of {len(pairs)} pairs of a head at END and a name (IO, S), the preimage alone shows the name "
            f"in {more}, attribution alone in {less}, both in {both}, neither in {neither}. Of the {len(moving)} heads "
            f"that move or oppose the answer ({len(of_moving)} pairs): the preimage alone in "
            f"{of_moving.count((True, False))}, attribution alone in {of_moving.count((False, True))}, both in "
            f"{of_moving.count((True, True))}."
        )
    return markdown.listed(lines)


def _ioi(name: str, data: Document) -> str:
    heads = heads_of(data)
    accuracy = data["accuracy"]
    right = markdown.filled(
        f"{name} ({data['layers']} layers, {len(heads) // data['layers']} heads each) puts IO above S in "
        f"{accuracy['above']:,} of {accuracy['n']:,} held-out sentences ({accuracy['above'] / accuracy['n']:.1%}), and "
        f"IO above every other token in {accuracy['right']:,} ({accuracy['right'] / accuracy['n']:.1%})."
    )
    rows = [(part.name, part.rule, _players(part, heads)) for part in PARTS]
    parts = markdown.table(("part", "rule", "heads"), rows)
    return markdown.joined([f"### {name}", right, parts, _together(data), _table(data)])


def _players(part: Part, heads: Sequence[Head]) -> str:
    players = [head for head in heads if part.plays(head)]
    return f"{len(players)}: {_named(players)}" if players else "**none**"


def _together(data: Document) -> str:
    """Groups of heads that are patched at once."""
    rows = []
    for group in data["together"]:
        patched = data["patching"][f"{group['contrast']}@END"]
        whole = patched["clean"] - patched["contrast_run"]
        alone = sum(patched["each"][head][0] for head in group["heads"]) / whole
        drop, se = group["drop"] / whole, group["se"] / abs(whole)
        rows.append(
            (group["name"], len(group["heads"]), group["contrast"], f"{_percent(drop)} ± {se:.0%}", _percent(alone))
        )
    columns = ("heads patched together at END", "how many", "contrast", "take away", "sum of each alone")
    return markdown.table(columns, rows)


def _percent(share: float) -> str:
    return f"{round(share, 2) + 0.0:.0%}"


def _table(data: Document) -> str:
    heads = sorted(heads_of(data), key=lambda head: -abs(head.strongest))[:SHOWN]
    columns = ["at END", *(f"{name}, bits of {data['of']['END'][name]:.2f}" for name in FEATURES)]
    columns += [*(f"{contrast}: takes away" for contrast in CONTRASTS), "attribution: IO − S, logits"]
    columns += [f"attribution shows {name}" for name in NAMES]
    rows = []
    for head in heads:
        bits = data["map"]["END"].get(head.name)
        row = [f"`{head.name}`", *("–" if bits is None else _bits(bits[name]) for name in FEATURES)]
        row += [_share(*head.drop(contrast)) for contrast in CONTRASTS]
        mean, se = data["attribution"][head.name]["difference"]
        rows.append([*row, f"{mean:+.2f} ± {se:.2f}", *(f"{head.shown(name):.0%}" for name in NAMES)])
    return markdown.table(columns, rows)


def _bits(bits: Sequence[float]) -> str:
    mean, se = bits
    return f"{round(mean, 2) + 0.0:.2f} ± {se:.2f}"


def _share(share: float, se: float) -> str:
    return f"{round(share, 3) + 0.0:.1%} ± {se:.1%}"


DOMAINS = {"greater-than": "Greater-than", "facts": "Facts, capitals among them,"}


def _where_first(title: str, data: Document) -> str:
    """Each feature: the first residual stream and head at END that read and know it, and whether it is used."""
    rows = []
    for feature in (name for name in data["features"] if name in data["of"]):
        of = data["of"][feature]
        cells = [(site, bits[feature][0] / of) for site, bits in data["map"].items() if bits and of > 0]
        stream = [(site, share) for site, share in cells if site.startswith("x")]
        heads = [(site, share) for site, share in cells if site.startswith("a")]
        best = max(heads, key=lambda one: one[1], default=("–", 0.0))
        rows.append(
            (
                feature, f"{of:.2f}", _first(stream, PARTLY), _first(stream, KNOWN_SHARE), _first(heads, PARTLY),
                f"`{best[0]}` {best[1]:.0%}", _used(data, feature),
            )
        )  # fmt: skip
    columns = ("feature", "entropy", "first stream that reads it", "first that knows it", "first head that reads it",
               "head that gives most", "heads that read it and move the answer")  # fmt: skip
    accuracy = data["accuracy"]
    words = markdown.filled(
        f"{accuracy['right']:,} of {accuracy['n']:,} answers are right ({accuracy['right'] / accuracy['n']:.1%}). "
        f"Bits at END from {data['n']:,} held-out inputs, ε = `{data['epsilon']}`, which bounds them at about "
        f"{-math.log2(float(data['epsilon'].removeprefix('null:'))):.1f} bits; patching there with "
        f"`{data['contrast']}`: {data['patching']['n']:,} pairs, logit difference {data['patching']['clean']:.2f} "
        f"clean, {data['patching']['contrast_run']:.2f} in the contrast run."
    )
    return markdown.joined([f"### {title}", words, markdown.table(columns, rows), _movers(data)])


def _first(cells: Iterable[tuple[str, float]], least: float) -> str:
    return next((f"`{site}`" for site, share in cells if share >= least), "none")


def _head_drop(data: Document, site: str) -> tuple[float, float]:
    patched = data["patching"]
    whole = patched["clean"] - patched["contrast_run"]
    drop, se = patched["each"][site]
    return drop / whole, se / abs(whole)


def _used(data: Document, feature: str) -> str:
    of = data["of"][feature]
    used = []
    for site, bits in data["map"].items():
        if site.startswith("a") and bits and of > 0 and bits[feature][0] / of >= PARTLY:
            drop, se = _head_drop(data, site)
            if drop >= MOVES and drop > ERRORS * se:
                used.append(f"`{site}` ({drop:.0%})")
    return ", ".join(used[:LISTED]) or "none"


def _movers(data: Document) -> str:
    drops = {site: _head_drop(data, site) for site in data["patching"]["each"]}
    movers = sorted((site for site, (drop, se) in drops.items() if abs(drop) >= MOVES and abs(drop) > ERRORS * se),
                    key=lambda site: -abs(drops[site][0]))  # fmt: skip
    listed = ", ".join(f"`{site}` ({drops[site][0]:+.0%})" for site in movers[:LISTED]) or "none"
    return markdown.filled(
        f"Heads that move or oppose the answer when they are patched at END, the strongest first: {listed}."
    )


def _permuted(models: Document) -> str:
    rows = []
    for name, model in models.items():
        permuted = model["ioi"]["permuted"]
        rows += [
            (name, feature, one["heads"], f"{one['mean']:+.2%}", f"{one['p95']:+.2%}",
             "yes" if one["mean"] <= MOST_PERMUTED and one["p95"] <= MOST_PERMUTED_95 else "**no**")
            for feature, one in permuted.items()
        ]  # fmt: skip
    columns = ("model", "feature, permuted among inputs", "heads", "mean share of its entropy", "95% are under",
               f"at most {MOST_PERMUTED:.0%} and {MOST_PERMUTED_95:.0%}")  # fmt: skip
    return markdown.table(columns, rows)


def _slices(slices: Sequence[Document]) -> str:
    """How often the intervals of a bank hold the truth, by ε, and every cell of the first."""
    if not slices:
        return ""
    first = slices[0]
    introduction = markdown.filled(
        f"A slice is the {first['size']:,} inputs that share with “{first['text']}” all but some slots "
        f"(`{first['given']}`). The bank is {first['n']:,} draws of it; the truth is the mean score of all of its "
        "inputs, each beside all others, counted by code of its own."
    )
    return markdown.joined([introduction, markdown.listed(map(_held, slices)), _cells(first)])


def _held(slices: Document) -> str:
    cells = slices["cells"]
    held = sum(cell["low"] <= cell["exact"] <= cell["high"] for cell in cells)
    below = sum(cell["exact"] > cell["high"] for cell in cells)
    return (
        f"ε = `{slices['epsilon']}`: {held} of {len(cells)} intervals ({held / len(cells):.0%}) hold the exact "
        f"value; of the others {below} say too little, {len(cells) - held - below} too much. The median interval is "
        f"{slices['width']:.2f} bits wide; the largest distance of an estimate from the truth is "
        f"{max(abs(cell['bits'] - cell['exact']) for cell in cells):.2f} bits."
    )


def _cells(slices: Document) -> str:
    rows = [
        (f"`{cell['site']}`", cell["feature"], f"{cell['bits']:.2f}", f"{cell['low']:.2f} to {cell['high']:.2f}",
         f"{cell['exact']:.2f}", "yes" if cell["low"] <= cell["exact"] <= cell["high"] else "**no**")
        for cell in slices["cells"]
    ]  # fmt: skip
    columns = (
        "site at END",
        f"feature, ε = {slices['epsilon']}",
        "from the bank, bits",
        "95% interval",
        "exact",
        "held",
    )
    return markdown.table(columns, rows)


def _pairs(name: str, data: Document) -> str:
    return ", ".join(
        f"{name} {key}: {one['n']:,} pairs, {one['clean']:.2f} ± {one['clean_se']:.2f} clean, "
        f"{one['contrast_run']:.2f} in the contrast run"
        for key, one in data["patching"].items()
    )


def known(data: Document) -> dict[str, Any]:
    """The heads that play each part, by its name: what patching them together is measured on."""
    heads = heads_of(data)
    return {part.name: [head.name for head in heads if part.plays(head)] for part in PARTS}
