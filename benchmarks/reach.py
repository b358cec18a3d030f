"""What each source of proposals reaches of the exact preimage, for the same number of forwards of the probed model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from benchmarks.common import Row
from inversionview.criterion import Criterion
from inversionview.decoder.model import Decoder
from inversionview.preimage.exact import exact_distances
from inversionview.preimage.sampled import query_activations
from inversionview.preimage.sources.edits import EditSource
from inversionview.preimage.sources.proposals import DecoderSource, PriorSource, Source, mixture, query_generator
from inversionview.preimage.sources.retrieval import RetrievalSource
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Query
from inversionview.shapes import Tokens
from inversionview.tasks.base import Task

EPSILON, SEED, A_SITE = 0.1, 0, 2
FORWARDS, ROUNDS, CORPUS = 1000, 5, 65536
DEFINITION = (
    "a forward is one distinct input of the domain that is run for a cell, or one tried move of edits; a source draws "
    f"until it has spent {FORWARDS:,} of them or made {ROUNDS * FORWARDS:,} draws; the query's own input never counts"
)


class Found(NamedTuple):
    """What one source found for one cell."""

    members: int
    """Distinct ones."""
    forwards: int
    draws: int
    in_domain: int
    """Draws, repeats included, that are in the domain and have the query's role."""


class Setting(NamedTuple):
    """What all sources share."""

    probed: ProbedModel
    task: Task
    decoder: Decoder
    queries: Sequence[Query]
    activations: Float[Tensor, "query d_model"]
    distances: Float[np.ndarray, "query input"]
    """Of the whole domain, infinite where an input lacks the query's role."""
    forwards: int
    """That a source may spend on each query."""
    epsilon: float = EPSILON

    def members(self, i: int) -> Bool[np.ndarray, " input"]:
        """The exact preimage of query `i`, without the query's own input."""
        inside: np.ndarray = self.distances[i].astype(np.float64) <= self.epsilon
        inside[domain_index(self.task, torch.tensor([self.queries[i].tokens]))] = False
        return inside


def run(*, quick: bool = False) -> list[Row]:
    """The mean over cells of the share of the exact preimage that each source finds, beside the most it could be."""
    from inversionview.studies.parts import needed_decoder
    from inversionview.studies.study import load_study

    study = load_study("addition", device="cpu")
    queries = cells(study, study.sites[:1] if quick else study.sites)
    forwards, corpus = (20, 1000) if quick else (FORWARDS, CORPUS)
    here = setting(study.probed, study.task, needed_decoder(study.parts), queries, forwards)
    print(DEFINITION, flush=True)
    sizes = np.array([here.members(i).sum() for i in range(len(queries))])
    alone = f"; {(sizes == 0).sum()} where the query is alone are left out" if not sizes.all() else ""
    about = f"{A_SITE} a site, ε = {EPSILON:g}, rule same, uniform prior, bundled addition study{alone}; {DEFINITION}"
    rows: list[Row] = [
        {"name": "reach: cells", "value": float((sizes > 0).sum()), "unit": "cells", "detail": about},
        {"name": "reach: inputs in an exact preimage, median", "value": float(np.median(sizes)), "unit": "inputs",
         "detail": f"{sizes.min():,} to {sizes.max():,}"},
        {"name": "reach: every forward a new member", "value": float(most(sizes, forwards).mean()),
         "unit": "of the preimage", "detail": f"the most there is; median {np.median(most(sizes, forwards)):.3g}"},
    ]  # fmt: skip
    for name, find in finders(here, corpus).items():
        rows.append(_row(name, find(), sizes, forwards))
        print(f"{rows[-1]['name']}: {rows[-1]['value']:.3g}", file=sys.stderr, flush=True)
    return rows


def cells(study: Any, sites: Sequence[str]) -> list[Query]:
    """Two queries a site: an input from the prior, at a position drawn evenly among its eligible ones."""
    generator = torch.Generator().manual_seed(SEED)
    task, queries = study.task, []
    for site in sites:
        for tokens in task.sample(A_SITE, generator=generator):
            eligible = task.eligible(tokens[None])[0].nonzero()[:, 0]
            at = int(eligible[torch.randint(len(eligible), (1,), generator=generator)])
            queries.append(study.query(task.decode(tokens), at, site))
    return queries


def setting(probed: ProbedModel, task: Task, decoder: Decoder, queries: Sequence[Query], forwards: int) -> Setting:
    """Look up the truth about all queries, in one pass over the domain."""
    z = query_activations(probed, task, queries)
    return Setting(probed, task, decoder, queries, z, exact_distances(probed, task, queries), forwards)


def finders(here: Setting, corpus: int) -> dict[str, Callable[[], list[Found]]]:
    """How each source is asked, by what it is called; one result a query."""
    probed, task, decoder, n = here.probed, here.task, here.decoder, here.forwards

    def drawn(*sources: Source) -> Callable[[], list[Found]]:
        return lambda: by_draws(here, sources)

    def walked(with_decoder: Decoder | None) -> Callable[[], list[Found]]:
        return lambda: by_edits(here, with_decoder)

    def retrieved(n: int, size: int, counted: int) -> Callable[[], list[Found]]:
        return lambda: by_retrieval(here, RetrievalSource(probed=probed, task=task, n=n, size=size), counted)

    half = n // 2
    return {
        "prior": drawn(PriorSource(task, n)),
        "decoder t=1": drawn(DecoderSource(decoder, n)),
        "decoder t=2": drawn(DecoderSource(decoder, n, 2.0)),
        "decoder t=1, noise 0.1": drawn(DecoderSource(decoder, n, 1.0, 0.1)),
        "mixture, 10% prior": drawn(*mixture(decoder, task, n)),
        f"retrieval, {corpus:,} run before": retrieved(n, corpus, 0),
        "retrieval, corpus in the budget": retrieved(half, half * len(here.queries), half),
        "edits": walked(None),
        "edits, 25% decoder": walked(decoder),
    }


def by_draws(here: Setting, sources: Sequence[Source]) -> list[Found]:
    """Round after round, each of all the sources together, until a query has no forwards left."""
    generators = [[query_generator(SEED, source.name, query) for query in here.queries] for source in sources]
    shuffle = np.random.default_rng(SEED)
    drawn: list[list[np.ndarray]] = [[] for _ in here.queries]
    for _ in range(ROUNDS):
        open_ = [i for i, parts in enumerate(drawn) if _distinct(parts) < here.forwards]
        if not open_:
            break
        queries, z = [here.queries[i] for i in open_], here.activations[open_]
        rounds = [s.propose(z, queries, [g[i] for i in open_]).tokens for s, g in zip(sources, generators, strict=True)]
        for i, tokens in zip(open_, torch.cat(rounds, dim=1), strict=True):
            drawn[i].append(shuffle.permutation(_candidates(here, i, tokens)))  # no source comes first
    return [_counted(here, i, np.concatenate(parts)) for i, parts in enumerate(drawn)]


def by_retrieval(here: Setting, source: RetrievalSource, counted: int) -> list[Found]:
    """The nearest of a corpus; `counted`: forwards a query that running the corpus is to count for."""
    generators = [query_generator(SEED, source.name, query) for query in here.queries]
    tokens = source.propose(here.activations, here.queries, generators).tokens
    counts = [_counted(here, i, _candidates(here, i, rows)) for i, rows in enumerate(tokens)]
    return [each._replace(forwards=each.forwards + counted) for each in counts]


def by_edits(here: Setting, decoder: Decoder | None) -> list[Found]:
    """A random walk from the query's own input, as many moves as there are forwards."""
    source = EditSource(
        probed=here.probed,
        task=here.task,
        n=here.forwards,
        criterion=Criterion.parse(here.epsilon),
        decoder=decoder,
        name="edits",
    )
    counts = []
    for i, query in enumerate(here.queries):
        before = source.forwards
        tokens = source.propose(here.activations[i : i + 1], [query], [query_generator(SEED, "edits", query)]).tokens[0]
        counts.append(_counted(here, i, _candidates(here, i, tokens))._replace(forwards=source.forwards - before))
    return counts


def domain_index(task: Task, tokens: Tokens) -> Int[np.ndarray, " batch"]:
    """Where each sum comes in the order of `Task.enumerate`; -1 where it is not in the domain."""
    tokens = torch.nn.functional.pad(tokens, (0, task.max_length - tokens.shape[1]), value=task.pad)
    a, b = ((tokens[:, at : at + 3] * torch.tensor([100, 10, 1])).sum(dim=1) - 100 for at in (1, 5))
    return torch.where(task.contains(tokens), 900 * a + b, -1).numpy()


def most(sizes: Int[np.ndarray, " cell"], forwards: int) -> Float[np.ndarray, " cell"]:
    """The reach of a source that never errs and never repeats itself."""
    return np.minimum(1.0, forwards / sizes[sizes > 0])


def _candidates(here: Setting, i: int, tokens: Tokens) -> Int[np.ndarray, " draw"]:
    """Each draw's place in the domain; -1 where it is none of it, or lacks the query's role."""
    index = domain_index(here.task, tokens)
    return np.where((index >= 0) & np.isfinite(here.distances[i, index]), index, -1)


def _distinct(parts: Sequence[np.ndarray]) -> int:
    return len(set(np.concatenate(parts).tolist()) - {-1}) if parts else 0


def _counted(here: Setting, i: int, drawn: Int[np.ndarray, " draw"]) -> Found:
    """Members among the first distinct candidates, as many as there are forwards; later draws were not needed."""
    distinct, first = np.unique(drawn, return_index=True)
    first = np.sort(first[distinct >= 0])
    if len(first) > here.forwards:
        drawn, first = drawn[: first[here.forwards]], first[: here.forwards]
    return Found(int(here.members(i)[drawn[first]].sum()), len(first), len(drawn), int((drawn >= 0).sum()))


def _row(name: str, counts: Sequence[Found], sizes: Int[np.ndarray, " cell"], forwards: int) -> Row:
    kept = sizes > 0
    members, spent, draws, in_domain = np.array(counts)[kept].T
    reach = members / sizes[kept]
    detail = (
        f"median {np.median(reach):.3g}; {(reach / most(sizes, forwards)).mean():.3g} of the most there is; "
        f"{(in_domain / draws).mean():.3g} of draws in the domain; {(members / spent).mean():.3g} new members and "
        f"{(draws / spent).mean():.3g} draws a forward; {spent.mean():,.0f} forwards a cell"
    )
    return {"name": f"reach: {name}", "value": float(reach.mean()), "unit": "of the preimage", "detail": detail}


if __name__ == "__main__":
    from benchmarks.run import main

    main(["reach", *sys.argv[1:]])
