"""Makes the page on indirect object identification from what `docs/ioi_study.py` measured.

Every number, role and verdict comes from a measurement; the rules of the roles stand here, before anything is measured.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from docs.claims import MOVES, bits_at, effect_of, number, whole
from docs.maps import DATA
from inversionview.report.map import KNOWN_SHARE, PARTLY

FILE = DATA / "study-ioi.json"
NAMES = ("IO", "S")
FEATURES = (*NAMES, "order", "S1 position", "IO position", "place", "object")
ATS = ("END", "S2", "S1+1")
TARGET = "answer"
SETTINGS = {"flip": "flip", "new IO": "change:IO", "new IO and S": "change:IO,S"}
"""The contrasts that are patched in, by the words for them."""
GROUPS = (("a0", "END"), ("a1", "END"), ("a2", "END"))
"""Heads of a layer that are patched together, and where."""
HELD_OUT = {
    "no": "neither: sentences as in training",
    "pair": "the pair of names",
    "phrases": "the combination of opening, ending, place and object",
    "both": "both",
}


class Role(NamedTuple):
    """A part that a head may play: what it must hold, and whether patching it must move the answer."""

    name: str
    rule: str
    at: str
    holds: Callable[[Callable[[str], float]], bool]
    """Of the share of a feature's entropy that the head gives."""
    moves: str = ""
    """The contrast that must move the answer."""


ROLES = (
    Role("holds IO at END", "knows IO", "END", lambda share: share("IO") >= KNOWN_SHARE),
    Role("holds S at END", "knows S", "END", lambda share: share("S") >= KNOWN_SHARE),
    Role(
        "holds one name at END and not the other",
        "knows IO or S, and does not read the other",
        "END",
        lambda share: max(map(share, NAMES)) >= KNOWN_SHARE and min(map(share, NAMES)) < PARTLY,
    ),
    Role(
        "holds S1's position or the order at END",
        "reads either of them",
        "END",
        lambda share: max(share("order"), share("S1 position")) >= PARTLY,
    ),
    Role(
        "tells duplicates: at S2, which of the two names it is",
        "reads the order or S1's position",
        "S2",
        lambda share: max(share("order"), share("S1 position")) >= PARTLY,
    ),
    Role("holds both names at S2", "knows IO and S", "S2", lambda share: min(map(share, NAMES)) >= KNOWN_SHARE),
    Role("passes S on to S1+1", "knows S", "S1+1", lambda share: share("S") >= KNOWN_SHARE),
    *(Role(f"moves the answer at {at}", "", at, lambda share: True, "flip") for at in ATS),
    Role("moves the answer to another IO, at END", "", "END", lambda share: True, "new IO"),
)


def load() -> Any:
    """What was measured."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def page(data: Any | None = None) -> str:
    """The page as Markdown."""
    data = load() if data is None else data
    parts = [
        "# Indirect object identification\n",
        _filled(INTRODUCTION.format(study=data["study"], domain=data["domain"], rules=rules())),
        "## Where attribution and preimage differ\n",
        _filled(DIFFERENCE),
        *_differences(data),
        *_example(data["example"]),
        "## Which head plays which part\n",
        *_roles(data),
        "## How often the model is right\n",
        *_accuracy(data["accuracy"]),
    ]
    parts += ["## Every site\n", _filled(_measurement(data))]
    for at in ATS:
        parts += [f"### At {at}\n", *_sites(data, at)]
    parts += ["### Heads of a layer together\n", *_groups(data), *_decoder(data)]
    parts += ["## GPT-2 small\n", GPT2, "## How to make this page again\n", HOW]
    return "\n".join(parts)


def rules() -> str:
    """Say which thresholds the roles go by."""
    return (
        f"A site *knows* a feature when its activation gives at least {KNOWN_SHARE:.0%} of the feature's entropy, and "
        f"*reads* it from {PARTLY:.0%} on. Attribution *shows* a name when, of all names, it is the one whose logit "
        f"the site raises most, or the one that it lowers most, in at least {KNOWN_SHARE:.0%} of the inputs, and shows "
        f"it *partly* from {PARTLY:.0%} on. A patch *moves* the answer when it takes away at least {MOVES:.0%} of the "
        "whole effect (the clean run's logit difference less the contrast run's)."
    )


def place_of(site: str, at: str) -> str:
    """A site at a position, as patching names it."""
    return f"{site}@{at}"


def attributed(data: Any, site: str, at: str) -> Any:
    """What was measured of a site's direct logit attribution."""
    return next(cell for cell in data["attribution"]["cells"] if cell["site"] == site and cell["at"] == at)


def share_of(data: Any, site: str, at: str, feature: str) -> float:
    """The share of a feature's entropy that a site gives."""
    found = bits_at(data["map"], site, at, feature)
    return found["bits"] / found["of"] if found and found["of"] else 0.0


def degrees(data: Any, site: str, name: str) -> tuple[int, int]:
    """How well the preimage and the attribution of a site at END show a name: 2 whole, 1 partly, 0 not."""
    added = attributed(data, site, "END")[name]
    shares = share_of(data, site, "END", name), max(added["raised"], added["lowered"])
    preimage, attribution = ((share >= KNOWN_SHARE) + (share >= PARTLY) for share in shares)
    return preimage, attribution


def differs(data: Any, site: str, name: str) -> bool:
    """Whether one shows a name that the other does not, or only partly."""
    preimage, attribution = degrees(data, site, name)
    return preimage != attribution


def heads_of(data: Any) -> list[str]:
    """All heads, in the order of a forward."""
    return [site for site in _sites_of(data) if site.startswith("a")]


def players(data: Any, role: Role) -> list[str]:
    """The heads that meet the rule of a role."""
    return [
        site
        for site in heads_of(data)
        if role.holds(lambda feature, site=site: share_of(data, site, role.at, feature))  # type: ignore[misc]
        and (not role.moves or _moved(data, role.moves, site, role.at) >= MOVES)
    ]


def _sites_of(data: Any) -> list[str]:
    return list(dict.fromkeys(cell["site"] for cell in data["map"]["cells"]))


def _moved(data: Any, setting: str, site: str, at: str) -> float:
    document = data["patching"][setting]
    effect = effect_of(document, [place_of(site, at)], "each")
    return 0.0 if effect is None else float(effect["drop"] / whole(document))


def _differences(data: Any) -> Iterator[str]:
    words = ("no", "partly", "yes")
    rows, alike = [], 0
    for site in heads_of(data):
        for name in NAMES:
            preimage, attribution = degrees(data, site, name)
            if preimage == attribution:
                alike += 1
                continue
            found, added = bits_at(data["map"], site, "END", name), attributed(data, site, "END")[name]
            more = "the preimage" if preimage > attribution else "attribution"
            rows.append(
                f"| `{site}` | {name} | {words[preimage]}: {_in_bits(found)} | {words[attribution]}: "
                f"{_ranks(added)} | {more} | {_share(data, 'flip', site, 'END')} |"
            )
    if rows:
        yield "| head at END | name | in the preimage | by attribution | shows more | moves the answer by |"
        yield "| --- | --- | --- | --- | --- | --- |"
        yield from rows
        yield ""
    less = sum("| the preimage |" in row for row in rows)
    yield _filled(
        f"Of {len(rows) + alike} (head, name) at END, the preimage shows more in {less}, attribution in "
        f"{len(rows) - less}, and {alike} are alike."
    )


def _example(found: Any) -> Iterator[str]:
    yield "### One activation, both ways\n"
    if found is None:
        yield "None: they differ nowhere.\n"
        return
    bits = ", ".join(f"{name} {one['bits']:.2f} of {one['of']:.2f}" for name, one in found["bits"].items())
    yield _filled(
        f"`{found['site']}` at `{found['at']}` of “{found['input']}” (of the heads above, the one that moves the "
        "answer most; the first held-out sentence drawn). Its exact preimage has "
        f"{found['inside']:,} members; bits of this one query: {bits}."
    )
    yield f"| {len(found['members'])} members, from the nearest to the furthest | distance |"
    yield "| --- | --- |"
    yield from (f"| {one['input']} | {one['distance']:.3f} |" for one in found["members"])
    yield ""
    for words, key in (("raises most", "top"), ("lowers most", "bottom")):
        tokens = ", ".join(f"{word} {value:+.2f}" for word, value in found[key])
        yield _filled(f"The tokens whose logits it {words} directly: {tokens}.")


def _roles(data: Any) -> Iterator[str]:
    found = [(role, players(data, role)) for role in ROLES]
    yield "| part | rule | heads |"
    yield "| --- | --- | --- |"
    for role, heads in sorted(found, key=lambda one: bool(one[1])):
        rule = f"{role.rule} at {role.at}" if role.rule else f"patching it with {role.moves} moves the answer"
        yield f"| {role.name} | {rule} | {' '.join(f'`{head}`' for head in heads) or '**none**'} |"
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
    documents = data["patching"].values()
    clean = ", ".join(
        f"{name}: clean {number(one['clean'], one['clean_se'])}, contrast run "
        f"{number(one['contrast_run'], one['contrast_run_se'])}, {one['n']:,} pairs"
        for name, one in zip(data["patching"], documents, strict=True)
    )
    of = ", ".join(f"{name} {one['of']:.2f}" for name, one in data["map"]["cells"][0]["bits"].items())
    return MEASUREMENT.format(
        epsilon=data["map"]["epsilon"],
        queries=data["map"]["queries"],
        domain=data["domain"],
        of=of,
        clean=clean,
        n=data["attribution"]["n"],
        names=len(NAMES),
    )


def _sites(data: Any, at: str) -> Iterator[str]:
    settings = list(data["patching"])
    yield (
        f"| site | {' | '.join(FEATURES)} | whole input | {' | '.join(settings)} | IO − S | IO among names | "
        "S among names |"
    )
    yield "| --- " * (len(FEATURES) + len(settings) + 5) + "|"
    for cell in data["map"]["cells"]:
        if cell["at"] != at:
            continue
        site, added = cell["site"], attributed(data, cell["site"], at)
        bits = [_number(cell["bits"][name]["bits"], cell["bits"][name]["se"]) for name in FEATURES]
        moved = [_share(data, name, site, at) for name in settings]
        names = [_ranks(added[name]) for name in NAMES]
        row = [*bits, _number(cell["size"], cell["size_se"]), *moved, _number(added["difference"], added["se"])]
        yield f"| `{site}` | {' | '.join([*row, *names])} |"
    yield ""


def _groups(data: Any) -> Iterator[str]:
    settings = list(data["patching"])
    yield f"| patched together | {' | '.join(settings)} |"
    yield "| --- " * (len(settings) + 1) + "|"
    groups = [
        [site["sites"] for site in data["patching"][name]["effects"] if site["order"] == "together"]
        for name in settings
    ]
    for sites in groups[0]:
        drops = [_effect(data["patching"][name], sites, "together") for name in settings]
        yield f"| {' '.join(f'`{site}`' for site in sites)} | {' | '.join(drops)} |"
    yield ""


def _decoder(data: Any) -> Iterator[str]:
    found = data.get("decoder")
    if found is None:
        return
    same = found["mean"]["same"]
    yield "## What the decoder finds\n"
    yield _filled(
        f"In-ε rate of one sample at temperature 1, mean over {len(found['sites'])} sites of {found['n']:,} held-out "
        f"inputs each, position rule `same`: {number(same['rate'], same['se'])}; random sentences get "
        f"{same['floor']:.2f}. Nothing else on this page needs the decoder."
    )


def _share(data: Any, setting: str, site: str, at: str) -> str:
    return _effect(data["patching"][setting], [place_of(site, at)], "each")


def _effect(document: Any, sites: list[str], order: str) -> str:
    effect = effect_of(document, sites, order)
    if effect is None:
        return "–"
    return f"{_number(effect['drop'], effect['se'])} ({effect['drop'] / whole(document) + 0.0:.0%})"


def _ranks(added: Any) -> str:
    return f"{added['rank'] + 1:.1f}, first {added['raised']:.0%}, last {added['lowered']:.0%}"


def _in_bits(found: Any) -> str:
    return f"{_number(found['bits'], found['se'])} of {found['of']:.2f} bits"


def _number(mean: float, se: float) -> str:
    """A mean with its standard error, which is left out where it rounds to nothing."""
    mean = mean if round(mean, 2) else 0.0
    return f"{mean:.2f}" if se < 0.005 else f"{mean:.2f} ± {se:.2f}"


def _filled(text: str) -> str:
    return "\n\n".join(textwrap.fill(part, 120) for part in text.strip().split("\n\n")) + "\n"


INTRODUCTION = """
“When Alice saw Paul in the garden, Paul gave the book to”: a model that goes on with Alice names the indirect object
(IO), the name that stood there once; the other name is the subject (S). Which heads hold which name, which of them
does the model use, and does direct logit attribution, which reads a head's output by the words whose logits it raises,
show what the preimage shows? The paper found that it does not: of head 7.9 of GPT-2 small, attribution shows S,
where the preimage shows more. This is the bundled study `{study}`, a model of GPT-2's architecture with 3 layers
of 4 heads, trained by our recipe on {domain:,} sentences of our own. Nobody looked at samples to write this page: it is
generated, and roles go by rules that were set before.

{rules}
"""
DIFFERENCE = """
Every head at END, where the answer is said, and both names. The preimage is exact. Attribution is the head's own
addition to the logits at END; it is ranked among the names only, which makes it easier for a name to be shown than
among all words. Ranks are means; 1 is the highest.
"""
MEASUREMENT = """
Bits: exact preimages in all {domain:,} sentences, ε = {epsilon:g}, rule `same`, mean over {queries} random inputs a
cell. The features' entropies, in bits: {of}; the whole input: log2 of domain over preimage. At S2 and S1+1 some
sentences have their names elsewhere, by their opening: bits about a position, and about order, are partly bits about
the opening.

Patching: what the logit difference of IO and the contrast's IO drops by (and its share of the whole effect) when one
site takes its value of a contrast run: `flip`, in which only the name at S2 is the other one, so that IO and S change
parts; a new IO in the same sentence; a new IO and a new S. {clean}.

Attribution: what the site adds directly to the logits at that position, IO's less S's, and the rank of either among the
names, means over {n:,} held-out inputs (at S2 and S1+1 these are logits of the next word, not of the answer).

± is one standard error, left out below 0.005.
"""
GPT2 = """\
The published study is recipe `ioi`: GPT-2 small, sentences in GPT-2's own tokens, a decoder from scratch on `x0.pre`,
every head and every MLP (157 sites), cosine distance, ε = 0.1; the paper reads 26 of the heads. GPT-2's weights were
not at hand here, so it was **not run** on them; tests run it on a small random model with GPT-2's tokenizer. The
command, with the hub's name or a local folder of the model:

```sh
inversionview train ioi --model gpt2 --out runs/ioi
```

What this page measures of the small model needs an enumerable domain for exact bits; of GPT-2 small, patching and
attribution work as here, and bits come from samples.
"""
HOW = """\
```sh
.venv/bin/python -m docs.studies ioi
```

It measures and prints this page, in some minutes. One reading and one patching by hand:

```sh
inversionview read ioi-small "When Alice saw Paul in the garden, Paul gave the book to Alice." --at END --site a0.3 --exact
inversionview patch ioi-small --target answer --at END --sites a0.3,a1.0,a2.0 --contrast flip --order each
```
"""  # noqa: E501
