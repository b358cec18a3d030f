"""Makes the page on indirect object identification from what `research/ioi_study.py` measured.

Every number, part and verdict comes from a measurement; the rules of the parts stand here, before anything is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from inversionview.results.map import KNOWN_SHARE, PARTLY
from research import markdown, site_page
from research.claims import MOVES
from research.documents import Document, load
from research.site_page import Setting, moved, share_of

NAME = "study-ioi"
NAMES = ("IO", "S")
FEATURES = (*NAMES, "names", "order", "S1 position", "IO position", "place", "object")
SHOWN = ("IO", "S", "names", "order", "S1 position")
"""Features beside patching and attribution."""
ATS = ("END", "S2", "S1+1")
TARGET = "answer"
SETTINGS = {
    "flip": Setting("flip", ("END", "S2")),
    "new IO": Setting("change:IO", ATS),
    "new IO and S": Setting("change:IO,S", ATS),
}
"""In the contrast of `flip`, S1 is the other name, so that S1+1 is another place of the sentence."""
GROUPS = tuple(tuple(f"a{layer}.{head}@END" for head in range(4)) for layer in range(3))
"""Heads of a layer that are patched together."""
LOOKS = {"END": ("IO", "S1", "S2"), "S2": ("IO", "S1")}
"""From where to where attention is measured."""
HELD_OUT = {
    "no": "neither: sentences as in training",
    "pair": "the pair of names",
    "phrases": "the combination of opening, ending, place and object",
    "both": "both",
}


class Part(NamedTuple):
    """What a head or MLP may do: what it must hold, and which contrast must move the answer when it is patched in."""

    name: str
    rule: str
    at: str
    holds: Callable[[Callable[[str], float]], bool] = lambda share: True
    """Of the share of a feature's entropy that the site gives."""
    moves: str = ""
    told: tuple[str, ...] = ()
    """Features whose share is said of each site."""


def _knows(*features: str) -> Callable[[Callable[[str], float]], bool]:
    return lambda share: min(map(share, features)) >= KNOWN_SHARE


def _reads_either(*features: str) -> Callable[[Callable[[str], float]], bool]:
    return lambda share: max(map(share, features)) >= PARTLY


PLACES = ("order", "S1 position", "IO position")
PARTS = (
    Part("holds IO at END", "knows IO", "END", _knows("IO")),
    Part("holds S at END", "knows S", "END", _knows("S")),
    Part(
        "holds one name at END and not the other",
        "knows IO or S, and does not read the other",
        "END",
        lambda share: max(map(share, NAMES)) >= KNOWN_SHARE and min(map(share, NAMES)) < PARTLY,
    ),
    Part(
        "holds which two names there are at END, and not which is which",
        "knows names, and neither IO nor S",
        "END",
        lambda share: share("names") >= KNOWN_SHARE and max(map(share, NAMES)) < KNOWN_SHARE,
    ),
    Part(
        "holds S1's position or the order at END",
        "reads either of them",
        "END",
        _reads_either("order", "S1 position"),
        told=PLACES,
    ),
    Part(
        "tells duplicates at S2: which name of the opening comes again",
        "reads the order or S1's position",
        "S2",
        _reads_either("order", "S1 position"),
        told=PLACES,
    ),
    Part("holds both names at S2", "knows IO and S", "S2", _knows(*NAMES)),
    Part("passes S on to S1+1", "knows S", "S1+1", _knows("S")),
    Part("tells the answer at S2 which name comes again", "", "S2", moves="flip"),
    Part("tells the answer at END which name comes again", "", "END", moves="flip"),
    Part("tells the answer at END who IO is", "", "END", moves="new IO"),
    Part("tells the answer at S1+1 who IO is", "", "S1+1", moves="new IO"),
)


def page(data: Document | None = None) -> str:
    """The page as Markdown."""
    data = load(NAME) if data is None else data
    heads = [site for site in site_page.sites_of(data) if site.startswith("a")]
    first = sorted(heads, key=lambda site: -max(moved(data, name, site, "END") for name in SETTINGS))
    looks = {at: {head: _looks(of[at]) for head, of in data["attention"]["heads"].items()} for at in LOOKS}
    accuracy = {words: data["accuracy"][value] for value, words in HELD_OUT.items() if value in data["accuracy"]}
    return markdown.page(
        "ioi",
        study=data["study"],
        domain=data["domain"],
        rules=site_page.rules(),
        told=", ".join(SHOWN),
        in_short=site_page.in_short(data, first, SHOWN),
        side_by_side=site_page.side_by_side(data, first, SHOWN, {"looks at": looks["END"]}),
        compared=site_page.compared(data, heads, "a head at END"),
        example=site_page.one_activation(data["example"]),
        parts=_parts(data),
        together=site_page.together(data),
        accuracy=markdown.table(
            ("held out of training", "sentences", "IO is named"),
            (
                (words, f"{one['n']:,}", f"{one['right']:,} ({one['right'] / one['n']:.2%})")
                for words, one in accuracy.items()
            ),
        ),
        every_site=site_page.every_site(data, ATS, FEATURES),
        looks=markdown.listed(f"`{head}`: {words}" for head, words in looks["S2"].items()),
        decoder=site_page.decoder(data["decoder"]),
        **site_page.measurement(data),
    )


def players(data: Document, part: Part) -> list[str]:
    """The heads and MLPs that meet the rule of a part."""

    def holds(site: str) -> bool:
        if part.moves and moved(data, part.moves, site, part.at) < MOVES:
            return False
        return part.holds(lambda feature: share_of(data, site, part.at, feature))

    return [site for site in site_page.sites_of(data) if not site.startswith("x") and holds(site)]


def _parts(data: Document) -> str:
    rows = []
    for part in PARTS:
        rule = f"{part.rule} at {part.at}" if part.rule else f"patching it at {part.at} with `{part.moves}` moves it"
        sites = " ".join(_player(data, part, site) for site in players(data, part))
        rows.append((part.name, rule, sites or "**none**"))
    return markdown.table(("part", "rule", "heads and MLPs"), sorted(rows, key=lambda row: row[2] != "**none**"))


def _player(data: Document, part: Part, site: str) -> str:
    shares = ", ".join(f"{name} {share_of(data, site, part.at, name) + 0.0:.0%}" for name in part.told)
    return f"`{site}` ({shares})" if shares else f"`{site}`"


def _looks(attention: Document) -> str:
    """Where a head looks: the names, and the word that it looks at most if that is most of all."""
    names = ", ".join(f"{to} {share:.0%}" for to, share in attention["to"].items())
    word, share = attention["word"]
    return f"{names}, “{word}” {share:.0%}" if share >= PARTLY else names
