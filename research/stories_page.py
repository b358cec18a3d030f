"""Makes the page on a small story model from what `research/stories_study.py` measured.

Every number and verdict comes from a measurement; the rules by which heads are chosen, and the claims about them, stand
here.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from inversionview.report.map import PARTLY
from research.claims import MORE, Bits, Check, Claim, Measured, Uses, in_bits, judged, number, table
from research.paths import RESULTS

FILE = RESULTS / "study-stories.json"
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


class Before(NamedTuple):
    """A head gives more bits about the previous token than about the current one."""

    reading: Any

    def check(self, measured: Measured) -> Check:
        """Compare the mean difference, text by text, with `MORE` and with two standard errors."""
        site, bits, apart = self.reading["site"], self.reading["bits"], self.reading["apart"]
        if not bits:
            return Check(False, f"nothing measured in `{site}`")
        words = (
            f"token-1 in `{site}` at `{READ_AT}`: {in_bits(bits['token-1'])}, token {in_bits(bits['token'])}, apart "
        )
        return Check(_is_more(apart), words + number(apart["bits"], apart["se"]))


def load() -> Any:
    """What was measured."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def chosen(document: Any) -> dict[str, dict[str, str]]:
    """The heads that the rules choose from a map, by rule, each with the feature that it is chosen for."""
    cells = [cell for cell in document["cells"] if cell["bits"]]
    found: dict[str, dict[str, str]] = {}

    def choose(rule: str, scores: dict[tuple[str, str], float]) -> None:
        taken = [one["site"] for one in found.values()]
        scores = {key: score for key, score in scores.items() if key[0] not in taken}
        if scores:
            site, feature = max(scores, key=lambda key: scores[key])
            found[rule] = {"site": site, "feature": feature}

    choose(
        PREVIOUS,
        {(cell["site"], "token-1"): cell["bits"]["token-1"]["bits"] for cell in cells if _is_more(cell["apart"])},
    )
    choose(
        EARLIER,
        {
            (cell["site"], name): share(one)
            for cell in cells
            for name, one in cell["bits"].items()
            if name not in (*NEAR, "length")
            and one["of"] >= LEAST_OF
            and all(share(cell["bits"][near]) < PARTLY for near in NEAR)
        },
    )
    choose(CURRENT, {(cell["site"], "token"): share(cell["bits"]["token"]) for cell in cells})
    return found


def share(found: Any) -> float:
    """The share of a feature's entropy that is given."""
    return float(found["bits"] / found["of"]) if found and found["of"] > 0 else 0.0


def claims(data: Any) -> list[Claim]:
    """What the rules lead one to expect of the heads they chose, in other texts at another position."""
    heads = {rule: (one["site"], one["feature"]) for rule, one in data["readings"].items()}
    found = []
    if PREVIOUS in heads:
        site, feature = heads[PREVIOUS]
        encoded = (Bits(site, READ_AT, feature, "reads"), Before(data["readings"][PREVIOUS]))
        found.append(Claim("A head carries the previous token, more than the current one", SOURCE, encoded))
    if EARLIER in heads:
        site, feature = heads[EARLIER]
        not_near = tuple(Bits(site, READ_AT, name, "does not read") for name in NEAR)
        says = "A head carries something of the text before, and none of the nearest tokens"
        found.append(Claim(says, SOURCE, (Bits(site, READ_AT, feature, "reads"), *not_near)))
    if CURRENT in heads:
        site, feature = heads[CURRENT]
        found.append(Claim("A head carries the current token", SOURCE, (Bits(site, READ_AT, feature, "reads"),)))
    if name := _best(data, "name"):
        carries = (Bits(name, CHOSEN_AT, "name", "reads", "choice"),)
        found.append(Claim("Some head carries the latest name", SOURCE, carries))
    for rule, (site, feature) in heads.items():
        says = f"What a head carries of {rule} is used for the next token"
        found.append(Claim(says, SOURCE, (), (Uses(site, feature, "used"),)))
    if heads:
        controls = tuple(Bits(site, READ_AT, "length", "does not read") for site, _ in heads.values())
        found.append(Claim("No head knows how long the text will be, which it cannot see", SOURCE, controls))
    return found


def measured(data: Any) -> Measured:
    """The readings and the map, as tests ask for them."""
    readings = data["readings"].values()
    cells = [{"site": one["site"], "at": one["at"], "bits": one["bits"]} for one in readings]
    maps = {"map": {"cells": cells}, "choice": data["map"]}
    return Measured(maps, {}, {one["site"]: one["causal"] for one in readings})


def page(data: Any | None = None) -> str:
    """The page as Markdown."""
    data = load() if data is None else data
    verdicts = judged("stories260k", measured(data), claims(data))
    parts = [
        "# A story model\n",
        _filled(INTRODUCTION),
        "## What was found\n",
        "### Claims that fail\n",
        *table(verdicts, agree=False),
        "### Claims that hold\n",
        *table(verdicts, agree=True),
        _filled(RULES.format(**_settings(data))),
        "## Three heads\n",
    ]
    for rule, one in data["readings"].items():
        parts += _head(rule, one)
    if missing := {rule: one for rule, one in chosen(data["map"]).items() if rule not in data["readings"]}:
        told = "; ".join(f"`{one['site']}` as {rule}, for {one['feature']}" for rule, one in missing.items())
        parts.append(_filled(f"Chosen, but **not read yet**: {told}."))
    parts += ["## How it was made\n", HOW.format(**_made(data)), "## How good the decoder is\n", *_rates(data)]
    parts += ["## What every head knows\n", *_map(data), "## Reading aid\n", _filled(AID.format(**_settings(data)))]
    return "\n".join(parts)


def above(one: Any, n: int) -> tuple[float, float]:
    """How far a rate is above its floor, and the standard error of that."""
    return one["rate"] - one["floor"], math.hypot(one["se"], math.sqrt(one["floor"] * (1 - one["floor"]) / n))


def _is_more(apart: Any) -> bool:
    return bool(apart["bits"] >= MORE and apart["bits"] > 2 * apart["se"])


def _best(data: Any, feature: str) -> str | None:
    """The head of the map that gives most of a feature."""
    cells = [cell for cell in data["map"]["cells"] if cell["bits"]]
    return max(cells, key=lambda cell: share(cell["bits"][feature]))["site"] if cells else None


def _settings(data: Any) -> dict[str, Any]:
    return {
        "at": CHOSEN_AT, "share": f"{CHOSEN_SHARE:.0%}", "read_at": READ_AT, "read_share": f"{READ_SHARE:.0%}",
        "queries": data["map"]["queries"], "draws": f"{data['map']['draws']:,}", "rule": data["training"]["rule"],
        "partly": f"{PARTLY:.0%}", "more": MORE, "least": LEAST_OF,
        "fine": data["fine map"]["queries"],
        "fine_draws": f"{data['fine map']['draws']:,}",
        "read": len(next(iter(data["readings"].values()))["causal"]) if data["readings"] else 0,
    }  # fmt: skip


def _made(data: Any) -> dict[str, Any]:
    run = data["training"]
    length = f"--steps {run['steps']}" if run["minutes"] is None else f"--minutes {run['minutes']:g}"
    return {
        "length": length, "seconds": f"{run['seconds']:,.0f}", "steps": f"{run['steps']:,}",
        "instances": f"{run['steps'] * run['batch']:,}", "texts": f"{run['texts']:,}", "most": run["most"],
        "sites": len(data["decoder"]["sites"]),
    }  # fmt: skip


def _head(rule: str, one: Any) -> Iterator[str]:
    site, told, example = one["site"], one["bits"], one["example"]
    yield f"### `{site}`: {rule}\n"
    whole = [query["verdict"] for query in one["causal"]]
    attended = ", ".join(f"{name} {part:.0%}" for name, part in one["attention"].items())
    yield _filled(
        f"Chosen for {one['feature']}. At position {one['at']} it attends, in the mean over {len(whole)} held-out "
        f"texts, to: {attended}. Its activation as a whole is used for the next token in {whole.count('used')} of "
        f"them, not used in {whole.count('not used')}, and {whole.count(None)} do not tell: the activation of "
        f"a member in its place moves the prediction by {_mean_kl(one, 'members')} nats, of an unrelated text by "
        f"{_mean_kl(one, 'random')}. ε is {one['epsilon']:.3f}."
    )
    if not told:
        yield "Too few of the draws were members to tell its bits.\n"
    yield "| feature | bits, mean over texts | share | used | merely present | not encoded | does not tell |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name in sorted(told, key=lambda name: -share(told[name])):
        verdicts = [next(f["verdict"] for f in query["features"] if f["name"] == name) for query in one["causal"]]
        if name == "length" or share(told[name]) >= SHOWN_SHARE:
            counts = [verdicts.count(verdict) for verdict in ("used", "merely present", "not encoded", None)]
            yield f"| {name} | {in_bits(told[name])} | {share(told[name]):.0%} | {' | '.join(map(str, counts))} |"
    yield ""
    query = one["causal"][example["of"]]
    known = [found for found in query["features"] if found["share"] is not None and found["share"] >= PARTLY]
    bits = ", ".join(
        f"{found['name']} {found['bits']:.2f} of {found['of']:.2f}"
        for found in sorted(known, key=lambda found: -found["share"])
    )
    yield _filled(
        f"One reading: {_text(example['input'])}, at the token in brackets. Of {one['drawn']:,} texts of the model, "
        f"{query['inside']:,} different ones are members; of {example['drawn']:,} candidates, most of them the "
        f"decoder's, {example['inside']:,}. Features of which this one activation gives half or more, in bits: "
        f"{bits or 'none'}."
    )
    if not example["members"]:
        return
    yield f"| {len(example['members'])} of the proposed members, from the nearest to the furthest | distance |"
    yield "| --- | --- |"
    yield from (f"| {_text(member['input'])} | {member['distance']:.3f} |" for member in example["members"])
    yield ""


def _mean_kl(one: Any, group: str) -> str:
    values = [query[group]["kl"] for query in one["causal"] if query[group]["kl"] is not None]
    return f"{sum(values) / len(values):.3f}" if values else "?"


def _text(parts: Sequence[str]) -> str:
    before, token, after = (part.replace("|", "\\|").replace("\n", "↵").replace("`", "'") for part in parts)
    lead = " " if token.startswith(" ") else ""
    return f"“{before.lstrip()}{lead}**[{token.strip() or token}]**{after}”"


def _rates(data: Any) -> Iterator[str]:
    found = data["decoder"]
    n, sites = found["n"], found["sites"]
    for rule in ("same", "any"):
        over = {site: above(one[rule], n) for site, one in sites.items()}
        clear = sum(apart > CLEARLY * error for apart, error in over.values())
        mean = found["mean"][rule]
        good = mean["rate"] - mean["floor"] >= ABOVE and clear >= SITES * len(sites)
        yield _filled(
            f"Position rule `{rule}`: mean in-ε rate {mean['rate']:.3f} ± {mean['se']:.3f}, floor {mean['floor']:.3f}, "
            f"so {mean['rate'] - mean['floor']:.2f} above it (wanted: {ABOVE}); over {CLEARLY:g} standard errors above "
            f"it at {clear} of {len(sites)} sites (wanted: {SITES:.0%}). {'Both are met' if good else '**Not met**'}."
        )
    yield _filled(RATES.format(n=f"{n:,}"))
    yield "| site | ε | rate, `same` | floor | above, in standard errors | rate, `any` | floor |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for site, one in sites.items():
        apart, error = above(one["same"], n)
        row = [number(one["same"]["rate"], one["same"]["se"]), f"{one['same']['floor']:.3f}"]
        row += [f"{apart / error if error else 0.0:.1f}", number(one["any"]["rate"], one["any"]["se"])]
        yield f"| `{site}` | {one['epsilon']:.3f} | {' | '.join(row)} | {one['any']['floor']:.3f} |"
    yield ""


def _map(data: Any) -> Iterator[str]:
    document = data["map"]
    yield _filled(MAP.format(**_settings(data)))
    yield f"| head | {' | '.join((*NEAR, 'first token', 'name', 'length'))} | most of the words so far |"
    yield "| --- " * 8 + "|"
    told = [cell for cell in document["cells"] if cell["bits"]]
    for cell in told:
        bits = cell["bits"]
        row = [f"{share(bits[name]):.0%}" for name in (*NEAR, "first token", "name", "length")]
        words = sorted((name for name in bits if name.startswith("seen ")), key=lambda name: -share(bits[name]))
        best = ", ".join(f"{name.removeprefix('seen ')} {share(bits[name]):.0%}" for name in words[:3])
        yield f"| `{cell['site']}` | {' | '.join(row)} | {best} |"
    yield ""
    if told:
        of = ", ".join(f"{name} {one['of']:.2f}" for name, one in told[0]["bits"].items())
        yield _filled(f"Entropies, in bits: {of}.")
    if silent := [f"`{cell['site']}`" for cell in document["cells"] if not cell["bits"]]:
        yield _filled(f"Too few of the draws were members to tell anything about {', '.join(silent)}.")


def _filled(text: str) -> str:
    return "\n\n".join(textwrap.fill(part, 120) for part in text.strip().split("\n\n")) + "\n"


SHOWN_SHARE = 0.2
"""Features of which a head gives less are left out of its table."""
INTRODUCTION = """
What do the heads of a language model that nobody here trained pass on? `stories260k` is a Llama of five layers with
eight heads each, 64 wide, with 512 tokens, trained by others on children's stories. No texts are needed: the study
reads it by texts that it wrote itself. This page is generated: the heads are chosen by rules, and each verdict goes by
thresholds that were set before the texts at position 12 were measured.
"""
RULES = """
The rules, over all heads at position {at}: *the previous token*: of the heads that give more bits about `token-1` than
about `token` (by {more} bits and two standard errors, text by text), the one that gives most about `token-1`;
*something earlier*: of the heads that give less than {partly} of the entropy of each of `token`, `token-1` and
`token-2`, the one that gives the largest share of the first token, the latest name, or whether some word occurred so
far (features of at least {least} bits); *the current token*: the one that gives the largest share of `token`. No head
is chosen twice. The claims are about position {read_at} and other texts: bits about {fine} held-out ones, from
{fine_draws} draws, and what is used about {read}. A head *reads* a feature when it gives at least {partly} of its
entropy; a feature is *used* as in [Is it used?](../causal.md), by what the model predicts at the position itself. What
stands in **bold** is why a claim fails.

What was known when: rules and thresholds were written after a look at all heads at position {at} and before anything
was measured at position {read_at}. A first measurement, of 18 texts for the choice and 6 for the claims, told too
little (it chose `a2.2`, `a4.7` and `a0.1`), so more texts were taken; since then the previous token is compared with
the current one text by text, and what a head carries and whether that is used are claims of their own.
"""
HOW = """\
```sh
inversionview train text --model ../shared/models/stories260k {length} --out runs/stories
inversionview evaluate runs/stories
.venv/bin/python -m research.studies stories
```

The first command samples {texts} texts of up to {most} tokens from the model, finds an ε for each site, and trains a
decoder for {sites} sites: the residual stream before the first layer and after every layer, and every head. The
training took {seconds} s on two cores that were shared with other work: {steps} steps, {instances} activations; the
sampling before it is not in this. The last command measures and prints this page from that study, in some minutes;
without the study it leaves what was measured as it is. By hand:

```sh
inversionview read runs/stories "One day, a little girl named Lily went to" --at named --site a3.6 --epsilon null:0.05
inversionview map runs/stories --queries 20 --draws 20000
```
"""
RATES = """
A rate is the share of one sample each, at temperature 1, for {n} held-out texts a site and positions uniform over the
text, that is a member; its floor is what other texts of the model get. ± is the rate's own standard error; how far it
is above the floor is in standard errors of the difference. A model with rotary positions need not tell a head where it
is, so a decoder may find the right words at another index: a member by rule `any`, and by rule `same` none.
"""
MAP = """
Share of each feature's entropy that a head gives at position {at}: mean over {queries} random texts, from {draws}
draws of the model's own texts, ε such that {share} of unrelated texts are within it there. Where more than a tenth of
the texts have too few members among the draws, nothing is said. `length` is a control: a head cannot see
what comes after, so what it seems to give of that is the error of small samples.
"""
AID = """
**ε** says how alike two activations must be to count as the same, in units of the query activation's length, and has no
natural size: `x0.pre` holds one token, and two different ones are nearly at a right angle; a head that mostly attends
to the begin token gives nearly the same for all texts, and its ε is a few hundredths. So ε goes by a **null quantile**:
at `{rule}`, it is the distance within which that share of pairs of unrelated texts are. A member is then as close as
one text in twenty is by chance, at every site alike, and a rate can be compared with that.

The study's own ε is one number a site, for all positions together. Texts often begin alike, so many of the
pairs within it are at the first positions; at later ones fewer than that share are, and a reading there is narrow. For
the map ({share} at position {at}) and the readings ({read_share} at position {read_at}) ε was found at the position
itself, as `--epsilon null:0.05` does.

**Bits, sizes and shares** are of the model's own prior: of the texts that it writes by itself. “Gives 2 of 6 bits about
the previous token” says how much better one knows that token of such a text, when one knows the activation up to ε. A
finer ε gives more bits about everything, so bits of the map and of the readings are not to be compared with each other.

**Used** is about one head and the model's next token: if others do the same work, a head that carries something may
be taken away and nothing changes.
"""
