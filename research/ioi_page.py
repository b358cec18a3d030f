"""Makes the page on indirect object identification from what `research/ioi_study.py` measured.

Every number, part and verdict comes from a measurement; the rules of the parts stand here, before anything is measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from inversionview.report.map import KNOWN_SHARE, PARTLY
from research import site_page
from research.paths import RESULTS
from research.site_page import Setting, filled, moved, share_of

FILE = RESULTS / "study-ioi.json"
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


def load() -> Any:
    """What was measured."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def page(data: Any | None = None) -> str:
    """The page as Markdown."""
    data = load() if data is None else data
    heads = [site for site in site_page.sites_of(data) if site.startswith("a")]
    first = sorted(heads, key=lambda site: -max(moved(data, name, site, "END") for name in SETTINGS))
    parts = [
        "# Indirect object identification\n",
        filled(INTRODUCTION.format(study=data["study"], domain=data["domain"], rules=site_page.rules())),
        "## In short\n",
        "Of the heads at END, by what they tell of " + ", ".join(SHOWN) + ":\n",
        *site_page.in_short(data, first, SHOWN),
        "## Preimage, patching and attribution, side by side\n",
        filled(SIDE_BY_SIDE),
        *site_page.side_by_side(data, first, SHOWN, {"looks at": _looks(data, "END")}),
        filled(site_page.compared(data, heads, "a head at END")),
        "### One activation, both ways\n",
        *site_page.one_activation(data["example"]),
        "## Which head plays which part\n",
        filled(PARTS_WORDS),
        *_parts(data),
        "### Heads of a layer together, at END\n",
        *site_page.together(data),
        "## How often the model is right\n",
        *_accuracy(data["accuracy"]),
        "## Every site\n",
        filled(_measurement(data)),
    ]
    for at in ATS:
        parts += site_page.every_site(data, at, FEATURES)
    parts += ["From S2, heads look at:\n", *_looked(data, "S2")]
    parts += [*site_page.decoder(data["decoder"]), "## GPT-2 small\n", GPT2, "## How to make this page again\n", HOW]
    return "\n".join(parts)


def players(data: Any, part: Part) -> list[str]:
    """The heads and MLPs that meet the rule of a part."""
    return [
        site
        for site in site_page.sites_of(data)
        if not site.startswith("x")
        and part.holds(lambda feature, site=site: share_of(data, site, part.at, feature))  # type: ignore[misc]
        and (not part.moves or moved(data, part.moves, site, part.at) >= site_page.MOVES)
    ]


def _parts(data: Any) -> Iterator[str]:
    found = [(part, players(data, part)) for part in PARTS]
    yield "| part | rule | heads and MLPs |"
    yield "| --- | --- | --- |"
    for part, sites in sorted(found, key=lambda one: bool(one[1])):
        rule = f"{part.rule} at {part.at}" if part.rule else f"patching it at {part.at} with `{part.moves}` moves it"
        yield f"| {part.name} | {rule} | {' '.join(_player(data, part, site) for site in sites) or '**none**'} |"
    yield ""


def _player(data: Any, part: Part, site: str) -> str:
    told = ", ".join(f"{name} {share_of(data, site, part.at, name) + 0.0:.0%}" for name in part.told)
    return f"`{site}` ({told})" if told else f"`{site}`"


def _looks(data: Any, at: str) -> dict[str, str]:
    """Where each head looks from a position: the names, and the word that it looks at most if that is most of all."""
    looks = {}
    for head, found in data["attention"]["heads"].items():
        named = ", ".join(f"{to} {share:.0%}" for to, share in found[at]["to"].items())
        word, share = found[at]["word"]
        looks[head] = f"{named}, “{word}” {share:.0%}" if share >= PARTLY else named
    return looks


def _looked(data: Any, at: str) -> Iterator[str]:
    yield from (f"- `{head}`: {words}" for head, words in _looks(data, at).items())
    yield ""


def _accuracy(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| held out of training | sentences | IO is named |"
    yield "| --- | --- | --- |"
    for value, words in HELD_OUT.items():
        if value in found:
            one = found[value]
            yield f"| {words} | {one['n']:,} | {one['right']:,} ({one['right'] / one['n']:.2%}) |"
    yield ""


def _measurement(data: Any) -> str:
    return MEASUREMENT.format(
        epsilon=data["map"]["epsilon"],
        queries=data["map"]["queries"],
        domain=data["domain"],
        of=site_page.entropies(data),
        pairs=site_page.pairs(data),
        n=data["attribution"]["n"],
    )


INTRODUCTION = """
“When Alice saw Paul in the garden, Paul gave the book to”: a model that goes on with Alice names the indirect object
(IO), the name that stood there once; the other one is the subject (S). Which heads hold which name, does the model use
it, and does direct logit attribution, which reads a head's output by the words whose logits it raises, show what the
preimage shows? The paper found that it does not: of head 7.9 of GPT-2 small, attribution shows S, where the preimage
shows more. This is the bundled study `{study}`, a model of GPT-2's architecture with 3 layers of 4 heads, trained by
our recipe on {domain:,} sentences of our own but those that were held out. Nobody looked at samples to write this page:
it is generated, and verdicts go by rules that were set before.

{rules}
"""
SIDE_BY_SIDE = """
Every head at END, where the answer is said; those whose patching moves the answer most come first. Bits are of exact
preimages; *names* is which two names there are, in whichever part. Attribution is the head's own addition to the logits
at END: to the name, above the mean of all names; its mean rank among the names, 1 for the one that is raised most; and
how often it is the first or the last. Among all words, a name would be shown less often. How each column was measured
is said [below](#every-site).
"""
PARTS_WORDS = """
Parts that no head or MLP plays come first. A site that gives as much about IO's position as about S1's, and nothing
about the order, tells the opening, and not which name comes again. A model this small need not work as GPT-2 small
does, and nothing on this page was measured of GPT-2.
"""
MEASUREMENT = """
Bits: exact preimages in all {domain:,} sentences, ε = {epsilon:g}, rule `same`, mean over {queries} random inputs a
cell. The features' entropies, in bits: {of}; the whole input: log2 of domain over preimage. At S2 and S1+1 some
sentences have their names elsewhere, by their opening: bits about a position, and about order, are partly bits about
the opening.

Patching: what the logit difference of IO and the contrast's IO drops by, and its share of the whole effect, when one
site takes its value of a contrast run: `flip`, in which only the name at S2 is the other one, so that IO and S change
parts; a new IO in the same sentence; a new IO and a new S. {pairs}.

Attribution and attention: means over {n:,} held-out inputs. ± is one standard error, left out below 0.005.
"""
GPT2 = """\
The published study is recipe `ioi`: GPT-2 small, sentences in GPT-2's own tokens, a decoder from scratch on `x0.pre`,
every head and every MLP (157 sites), cosine distance, ε = 0.1; the paper reads 26 of the heads. GPT-2's weights were
not at hand, so it was **not run** on them; tests run it on a small random model with GPT-2's tokenizer. The command,
with the hub's name or a local folder of the model:

```sh
inversionview train ioi --model gpt2 --out runs/ioi
```

The exact bits of this page need a domain that can be enumerated; of GPT-2 small, patching and attribution are the same
commands, and bits come from samples.
"""
HOW = """\
```sh
.venv/bin/python -m research.studies ioi
```

It measures and prints this page, in some minutes. One reading, one test and one patching by hand:

```sh
inversionview read ioi-small "When Alice saw Paul in the garden, Paul gave the book to Alice." --at END --site a1.3 --exact
inversionview test ioi-small "When Alice saw Paul in the garden, Paul gave the book to Alice." names --at END --sites a0.3,a1.3
inversionview patch ioi-small --target answer --at END --sites a0.3,a1.3 --contrast flip --order each
```
"""  # noqa: E501
