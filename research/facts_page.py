"""Makes the page on factual recall from what `research/facts_study.py` measured.

Every number and verdict comes from a measurement; the claims stand here, before anything is measured.
"""

from __future__ import annotations

from inversionview.causal.head_selection import LEAST
from research import markdown, site_page
from research.claims import Bits, BitsOfEach, Claim, Measured, Moves, MovesOfEach, judged, table
from research.documents import Document, load
from research.site_page import Setting

NAME = "study-facts"
TARGET = "object"
ATS = ("END", "subject_last", "relation")
FEATURES = ("relation", "subject", "object kind", "object", "phrasing")
SUBJECT, RELATION = "another subject", "another relation"
SETTINGS = {SUBJECT: Setting("change:subject", ATS), RELATION: Setting("change:relation", ATS)}
"""Of the same phrasing, and of the same subject."""
HEADS = {layer: tuple(f"a{layer}.{head}" for head in range(4)) for layer in range(4)}
LATE = (*HEADS[2], *HEADS[3])
"""Heads of the second half of the model."""
AT_END = tuple(f"{head}@END" for head in LATE)
SHOWN = ("relation", "subject", "object kind", "object")
"""Features beside patching and attribution."""
GROUPS = tuple(tuple(f"{head}@END" for head in heads) for heads in ((*HEADS[0], *HEADS[1]), LATE, HEADS[2], HEADS[3]))
"""Heads that are patched together."""
ENOUGH = 0.95
"""The share of the facts that the model must answer in phrasings that were held out for them."""
BEAR = """
The loader of the published recipe reads BEAR as it comes. Of the {files} relations of the folder that was at hand there
are {relations} that it has phrasings for: {facts:,} facts in {phrasings} phrasings, whose subjects have {names:,} names
together, which in GPT-2's tokens makes {texts:,} texts of at most {length} tokens.
"""

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


def page(data: Document | None = None) -> str:
    """The page as Markdown."""
    data = load(NAME) if data is None else data
    verdicts = judged(data["study"], Measured({"map": data["map"]}, data["patching"]), CLAIMS)
    counts = {part["site"]: part["counts"] for part in data["selection"]["parts"]}
    counted = {"counts in": {site: f"{count:.0%}" for site, count in counts.items()}}
    late = sorted(LATE, key=lambda head: -counts[head])
    early = [site for site in site_page.sites_of(data) if site[0] in "am" and site not in LATE]
    return markdown.page(
        "facts",
        **{key: data["facts"][key] for key in ("facts", "texts", "relations", "subjects", "objects", "phrasings")},
        study=data["study"],
        rules=site_page.rules(),
        told=", ".join(SHOWN),
        late_in_short=site_page.in_short(data, late, SHOWN),
        early_in_short=site_page.in_short(data, early, SHOWN),
        disagree=table(verdicts, agree=False),
        agree=table(verdicts, agree=True),
        least=LEAST,
        selected=data["selection"]["n"],
        late=site_page.side_by_side(data, late, SHOWN, counted),
        late_compared=site_page.compared(data, late, "a late head"),
        late_example=site_page.one_activation(data["examples"]["late"]),
        early=site_page.side_by_side(data, early, SHOWN, counted),
        early_compared=site_page.compared(data, early, "such a site"),
        early_example=site_page.one_activation(data["examples"]["early"]),
        together=site_page.together(data),
        accuracy=_accuracy(data["accuracy"]),
        every_site=site_page.every_site(data, ATS, FEATURES),
        decoder=site_page.decoder(data["decoder"]),
        sources=markdown.listed(data["facts"]["sources"]),
        bear_loader=markdown.filled(BEAR.format(**data["bear"])) if "bear" in data else "",
        **site_page.measurement(data),
    )


def _accuracy(by_relation: Document) -> str:
    names = ("facts", "held_out", "held_out_right", "train", "train_right")
    total = {name: sum(one[name] for one in by_relation.values()) for name in names}
    rows = []
    for relation, one in {**by_relation, "all": total}.items():
        facts, held_out, held_out_right, train, train_right = (one[name] for name in names)
        right = [_of(held_out_right, held_out), f"{train:,}", _of(train_right, train)]
        rows.append([relation, f"{facts:,}", f"{held_out:,}", *right])
    columns = ("relation", "facts", "phrasings of them held out", "right", "seen in training", "right")
    share = total["held_out_right"] / total["held_out"]
    verdict = markdown.filled(
        "A text is right where the model names the object at END. Of texts whose phrasing was held out for their fact "
        f"{share:.1%} are right; {ENOUGH:.0%} were wanted, which is {'met' if share >= ENOUGH else '**missed**'}. The "
        "phrasing is one that the model knows from other facts, the fact one that it knows in other phrasings."
    )
    return markdown.joined([markdown.table(columns, rows), verdict])


def _of(right: int, all_texts: int) -> str:
    return f"{right:,}" + (f" ({right / all_texts:.1%})" if all_texts else "")
