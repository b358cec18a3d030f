from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.preimage.sources.proposals import Source
from inversionview.preimage.sources.retrieval import RetrievalSource
from tests.preimage.tiny import Fixed, probed, query, rows, task, with_criterion

pytest.importorskip("faiss")

QUERIES = [
    query(site="x0.post"),
    query("100+100=200", at="S2", site="x0.post"),
    query(at="A4", site="x1.post"),
    query("733+120=853", at="=", site="x0.post"),
]


def corpus(n: int = 400, seed: int = 0) -> torch.Tensor:
    return torch.unique(task().sample(n, generator=torch.Generator().manual_seed(seed)), dim=0)


def source(n: int, inputs: torch.Tensor | None = None, **options) -> RetrievalSource:
    inputs = corpus() if inputs is None else inputs
    return RetrievalSource(probed=probed(), task=task(), n=n, **with_criterion({"corpus": inputs} | options))


def nearest(retrieval: RetrievalSource, queries) -> torch.Tensor:
    drawn = retrieval.propose(query_activations(probed(), task(), queries), queries, [torch.Generator()] * len(queries))
    assert drawn.tokens.shape[:2] == drawn.log_prob.shape == (len(queries), retrieval.n)
    assert drawn.log_prob.isnan().all()
    return drawn.tokens


def in_order(asked, inputs: torch.Tensor, **options) -> tuple[list[tuple[int, ...]], list[float]]:
    """All inputs with their distances, nearest first, as verification has them."""
    [found] = sampled_preimages(
        probed(), task(), [asked], [Fixed(inputs)], **with_criterion({"epsilon": 1.0} | options)
    )
    reached = ~np.isnan(found.distances)
    return [tuple(row) for row in found.tokens[reached].tolist()], found.distances[reached].tolist()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("rule", ["same", "any"])
def test_the_nearest_of_the_corpus_come_first_each_once(metric, rule):
    options = {"metric": metric, "position_rule": rule}
    for asked, found in zip(QUERIES, nearest(source(60, **options), QUERIES), strict=True):
        everything, distances = in_order(asked, corpus(), **options)
        by_input = dict(zip(everything, distances, strict=True))
        got = [by_input[tuple(row)] for row in found.tolist()]
        assert len({tuple(row) for row in found.tolist()}) == 60
        np.testing.assert_allclose(got, distances[:60], atol=2e-6)
        assert distances[0] < distances[59] < distances[-1]


def test_under_rule_any_an_input_whose_every_position_is_near_counts_once():
    # at the embedding, five positions of 555+555 are at distance 0, and one of each other sum
    sums = rows("B555+555=1110E", "B512+321=833E", "B152+321=473E", "B612+321=933E", "B612+322=934E")
    asked = query("500+123=623", at="F1", site="embed")
    [found] = nearest(source(3, sums, position_rule="any"), [asked])
    assert {tuple(row) for row in found.tolist()} == {tuple(row) for row in sums[:3].tolist()}
    [every] = nearest(source(5, sums, position_rule="any"), [asked])
    assert len({tuple(row) for row in every.tolist()}) == 5


def test_under_rule_same_only_inputs_with_the_role_are_proposed():
    sums = rows("B100+100=200E", "B615+861=1476E", "B615+860=1475E")
    [found] = nearest(source(2, sums), [query(at="A4")])
    assert (found[:, 12] != 13).all()
    with pytest.raises(UserError, match="n is 3, but the corpus has 2 distinct inputs with the position A4"):
        nearest(source(3, sums), [query(at="A4")])
    with pytest.raises(UserError, match="n is 1, but the corpus has 0 distinct inputs with the position A4"):
        nearest(source(1, sums[:1]), [query(at="A4")])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_of_a_head_its_own_dimensions_are_compared(metric):
    asked = query(at="A4", site="a0.1")
    retrieval = source(60, metric=metric)
    [found] = nearest(retrieval, [asked])
    everything, distances = in_order(asked, corpus(), metric=metric)
    by_input = dict(zip(everything, distances, strict=True))
    np.testing.assert_allclose([by_input[tuple(row)] for row in found.tolist()], distances[:60], atol=2e-6)
    assert [index.vectors.d for index in retrieval._kept.values()] == [8]


def test_what_is_proposed_for_a_query_does_not_depend_on_the_queries_beside_it():
    options = {"n": 50, "position_rule": "any"}
    together = nearest(source(**options), QUERIES)
    for asked, found in zip(QUERIES, together, strict=True):
        assert torch.equal(nearest(source(**options), [asked])[0], found)
    assert torch.equal(nearest(source(**options), QUERIES * 8), together.repeat(8, 1, 1))


def test_the_query_itself_may_be_found_and_repeats_count_once():
    asked = query()
    inputs = torch.cat([corpus(60), rows("B615+861=1476E", "B615+861=1476E")])
    [found] = nearest(source(10, inputs), [asked])
    assert found[0].tolist() == list(asked.tokens)
    assert len(torch.unique(found, dim=0)) == 10
    with pytest.raises(UserError, match="n is 3, but the corpus has 2 distinct inputs: ask for fewer"):
        source(3, rows("B615+861=1476E", "B615+861=1476E", "B100+100=200E"))


def test_ties_are_the_first_of_the_corpus():
    inputs = corpus()[torch.randperm(300, generator=torch.Generator().manual_seed(2))]
    [found] = nearest(source(20, inputs), [query(at="=", site="x0.pre")])  # every sum has the same activation there
    assert torch.equal(found.sort(dim=0).values, inputs[:20].sort(dim=0).values)


def test_the_corpus_is_run_once_for_all_sites_and_roles_of_a_call():
    retrieval = source(5)
    size = len(corpus())
    nearest(retrieval, QUERIES)
    assert retrieval.forwards == size
    nearest(retrieval, QUERIES)
    assert retrieval.forwards == size
    nearest(retrieval, [query(at="F1", site="x0.post")])
    assert retrieval.forwards == 2 * size


def test_indexes_that_were_not_used_for_long_are_dropped(monkeypatch):
    kept = source(5)
    before = nearest(kept, QUERIES)
    monkeypatch.setattr("inversionview.preimage.sources.retrieval._KEPT_VALUES", 2.5 * 16 * len(corpus()))
    retrieval = source(5)
    assert torch.equal(nearest(retrieval, QUERIES), before)
    forwards = retrieval.forwards
    nearest(retrieval, QUERIES[2:3])
    assert retrieval.forwards == forwards, "the latest is kept"
    nearest(retrieval, QUERIES[:1])
    assert retrieval.forwards == forwards + len(corpus()), "the first was dropped"
    assert torch.equal(nearest(retrieval, QUERIES), before)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("rule", ["same", "any"])
def test_clusters_find_most_of_the_nearest_and_always_enough(metric, rule):
    inputs = corpus(1500)
    options = {"metric": metric, "position_rule": rule}
    exact = nearest(source(40, inputs, **options), QUERIES)
    fast = nearest(source(40, inputs, index="ivf", **options), QUERIES)
    both = [len({*map(tuple, a.tolist())} & {*map(tuple, b.tolist())}) for a, b in zip(exact, fast, strict=True)]
    assert sum(both) > 0.7 * 40 * len(QUERIES)
    some = inputs[:200]
    [everything] = nearest(source(len(some), some, index="ivf", **options), QUERIES[:1])
    assert {*map(tuple, everything.tolist())} == {*map(tuple, some.tolist())}


def test_the_default_corpus_is_held_out_and_seeded():
    one, again, other = (RetrievalSource(probed=probed(), task=task(), n=5, size=300, seed=s) for s in (0, 0, 1))
    assert task().is_held_out(one.corpus).all()
    assert 290 < len(one.corpus) <= 300
    assert torch.equal(one.corpus, again.corpus)
    assert not torch.equal(one.corpus[:10], other.corpus[:10])


def test_a_narrow_corpus_is_padded_and_a_wide_one_refused():
    [found] = nearest(source(1, rows("B100+100=200E")[:, :13]), [query()])
    assert torch.equal(found, rows("B100+100=200E"))
    with pytest.raises(UserError, match="the corpus has 16 positions, but inputs have 14 at most"):
        source(1, torch.nn.functional.pad(rows("B100+100=200E"), (0, 2), value=14))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "n must be at least 1, not 0"),
        ({"n": 5, "size": 0}, "size must be at least 1, not 0"),
        ({"n": 5, "metric": "angle"}, "unknown metric 'angle'"),
        ({"n": 5, "position_rule": "some"}, "unknown position rule 'some'"),
        ({"n": 5, "index": "tree"}, "unknown index 'tree': use flat or ivf"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        source(**options)


def test_without_faiss_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"retrieval needs faiss: pip install faiss-cpu"):
        source(5)


def test_it_is_a_source_without_a_density_and_each_proposal_is_counted():
    assert isinstance(source(5), Source)
    assert source(5).density is None
    [found] = sampled_preimages(probed(), task(), QUERIES[:1], [source(25)], criterion=Criterion.parse(0.3))
    assert found.n_drawn == found.n_distinct == 25
    assert source(5).propose(torch.empty(0, 16), [], []).tokens.shape == (0, 5, 14)
