"""Measures what the pages of the studies say, writes the pages, and prints them: `python -m research.studies`.

`python -m research.studies counting` does one of them; `--quick` draws few inputs, to try it out, and writes no file.
What was measured goes to `research/results`, and `python -m research.generate` makes the pages from that. The paper's
models are measured where they are at hand, beside this repository, and a study of stories where it was trained, in
`runs`; else what was measured of them is left as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from inversionview.causal.ablation import ablate
from inversionview.causal.use import use
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import PriorSource, Source, given_sources
from inversionview.studies.study import Study, load_study
from research import (
    addition_page,
    counting_page,
    facts_page,
    facts_study,
    ioi_page,
    ioi_study,
    maps,
    real_page,
    real_study,
    stories_page,
    stories_study,
)
from research.addition_accuracy import accuracy
from research.documents import Document, keep, load, rounded
from research.paths import RESULTS, SHARED

MODELS = SHARED / "models"
N = 20_000
"""Inputs that each patching is done on."""
MAPPED = 20
"""Queries of each cell of a map."""
QUERIES, DRAWS = 6, 4000
"""Queries of each question about use, and inputs drawn for the preimage of each."""


class Page(NamedTuple):
    """A page, with what measures it: on so many inputs, and for so many queries."""

    measure: Callable[[int, int], Document]
    page: Callable[[Document], str]


def main(args: Sequence[str] | None = None) -> int:
    """Measure and write the studies that are named, by default all."""
    args = list(sys.argv[1:] if args is None else args)
    quick = "--quick" in args
    names = [arg for arg in args if not arg.startswith("-")] or list(PAGES)
    for name in names:
        if name not in PAGES:
            print(f"there is no page {name!r}: use {' or '.join(PAGES)}", file=sys.stderr)
            return 2
        kept = f"study-{name}"
        if not quick and name in MAPS:
            maps.main([MAPS[name]])
        before = load(kept) if (RESULTS / f"{kept}.json").is_file() else {}
        measured = PAGES[name].measure(N // 200 if quick else N, 2 if quick else QUERIES)
        document = rounded({**before, **measured}, ".6g")
        if not document:
            continue  # it was not at hand, and never measured
        if not quick:
            keep(kept, document)
        print(PAGES[name].page(document))
    return 0


def addition(n: int, queries: int) -> Document:
    """Patching and ablation of the bundled addition model and the paper's."""
    return {
        name: {**effects_on_sums(study, n), **({"accuracy": accuracy(study)} if name == "paper" else {})}
        for name, study in models("addition", "paper_addition")
    }


def effects_on_sums(study: Study, n: int) -> dict[str, Any]:
    """Patching and ablation of a model of addition."""
    return {"patching": patchings(study, addition_page.SETTINGS, n), "ablation": ablation(study, n)}


def counting(n: int, queries: int) -> Document:
    """Patching, maps and use of the bundled counting model and the paper's."""
    return {name: of_counts(study, n, queries) for name, study in models("counting", "paper_counting")}


def of_counts(study: Study, n: int, queries: int) -> dict[str, Any]:
    """The same of one model of counting."""
    mapped = max(2, n * MAPPED // N)
    return {
        "patching": patchings(study, counting_page.SETTINGS, n),
        **{
            words: study.map(queries=mapped, epsilon=epsilon).to_dict() for words, epsilon in counting_page.MAPS.items()
        },
        "causal": {words: uses(study, *place, queries) for words, place in counting_page.QUESTIONS.items()},
    }


def models(bundled: str, paper: str) -> Iterator[tuple[str, Study]]:
    """The bundled study and, where it is at hand, the same with the paper's model."""
    study = load_study(bundled)
    if (MODELS / paper).is_dir():
        yield "paper", study.with_model(MODELS / paper, convention="tl")
    else:
        print("the paper's model is not at hand: what was measured of it is left as it is", file=sys.stderr)
    yield "bundled", study


def patchings(study: Study, settings: Mapping[str, Mapping[str, Any]], n: int) -> dict[str, Any]:
    """Every setting, in one order and one at a time."""
    documents: dict[str, Any] = {}
    for name, setting in settings.items():
        options = {"n": n, **setting} if n == N else {**setting, "n": n}
        document = study.patch(**options).to_dict()
        if setting["order"] != "each":
            document["effects"] += study.patch(**{**options, "order": "each"}).to_dict()["effects"]
        documents[name] = document
        print(f"{study.name}: patched {name}, {document['n']:,} pairs", file=sys.stderr, flush=True)
    return documents


def ablation(study: Study, n: int) -> Any:
    """Mean ablation of x0.post at +."""
    tokens = study.task.sample(n, generator=torch.Generator().manual_seed(0), split="held-out")
    return ablate(study.probed, study.task, tokens, "x0.post", "+", outputs=["=", "A1", "A2", "A3"]).to_dict()


def uses(study: Study, site: str, at: str, queries: int) -> list[Any]:
    """What the model does with each feature at a place, for some held-out inputs.

    Needs no decoder: preimages are drawn from the prior, as it is and given what inputs share.
    """
    task, probed = study.task, study.probed
    tokens = task.sample(queries, generator=torch.Generator().manual_seed(1), split="held-out")
    activations = [study.query(task.decode(row), at, site) for row in tokens]
    sources: list[Source] = [PriorSource(task, DRAWS // 4), *given_sources(task, "given", DRAWS - DRAWS // 4)]
    preimages = sampled_preimages(
        probed, task, activations, sources, criterion=study.criterion.but(study.criterion.largest)
    )
    return [use(probed, task, preimage, features=counting_page.FEATURES).to_dict() for preimage in preimages]


PAGES = {
    "addition": Page(addition, addition_page.page),
    "counting": Page(counting, counting_page.page),
    "facts": Page(facts_study.measure, facts_page.page),
    "ioi": Page(ioi_study.measure, ioi_page.page),
    "real-models": Page(real_study.measure, real_page.page),
    "stories": Page(stories_study.measure, stories_page.page),
}
MAPS = {"addition": "addition", "counting": "counting", "facts": "facts-small", "ioi": "ioi-small"}
"""The bundled study of a page, whose map is measured with it: the viewer shows it."""


if __name__ == "__main__":
    raise SystemExit(main())
