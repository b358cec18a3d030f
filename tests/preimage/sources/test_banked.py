"""The nearest of a bank, against the distances of every activation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inversionview.errors import UserError
from inversionview.preimage.distance import distances
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.preimage.sources import banked
from inversionview.preimage.sources.banked import BankSource, nearest
from inversionview.preimage.sources.proposals import Source
from inversionview.sites import Site
from tests.bank.fill import fill
from tests.preimage.tiny import few_sums, probed, query, with_criterion

SITES = ("a0.1", "x1.post")


@pytest.fixture(scope="module")
def bank():
    return fill(None, sites=SITES, roles=("=", "A4"), n=1500)


def asked(site, at="="):
    text = "110+111=221" if at == "=" else "500+501=1001"
    of = query(text, at=at, site=site)
    return of, query_activations(probed(), few_sums(), [of])[0, : probed().width(site)]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("role", ["=", "A4"])
def test_the_nearest_come_first_each_input_once(monkeypatch, bank, site, role, metric):
    monkeypatch.setattr(banked, "_BLOCK_VALUES", 100)
    _, z_q = asked(site, role)
    near = nearest(bank, Site.parse(site), role, z_q, 60, metric=metric)
    positions = few_sums().position_of(bank.tokens, role)
    has = positions >= 0
    z = probed().capture(bank.tokens[has], [site], positions[has])[Site.parse(site)]
    by_input = dict(zip(map(tuple, bank.tokens[has].tolist()), distances(z, z_q, metric).tolist(), strict=True))
    assert len({tuple(row) for row in bank.tokens[near.rows].tolist()}) == 60
    got = [by_input[tuple(row)] for row in bank.tokens[near.rows].tolist()]
    np.testing.assert_allclose(near.distances, got, atol=2e-6)
    np.testing.assert_allclose(got, sorted(by_input.values())[:60], atol=2e-6)
    everything = nearest(bank, Site.parse(site), role, z_q, 10_000, metric=metric)
    assert len(everything.rows) == len(by_input)


def test_the_query_itself_can_be_left_out(bank):
    row = bank.tokens[7]
    site, end = Site.parse("x1.post"), row.tolist().index(13)
    [z_q] = bank.activations(site, "=", torch.tensor([7]))
    own = tuple(row[: end + 1].tolist())
    first = nearest(bank, site, "=", z_q, 5).rows
    assert bank.tokens[first[0]].tolist() == row.tolist()
    others = nearest(bank, site, "=", z_q, 4, but=own).rows
    assert torch.equal(others, first[1:])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_what_a_vector_has_outside_of_the_heads_dimensions_counts(bank, metric):
    site, z_q = Site.parse("a0.1"), torch.randn(16, generator=torch.Generator().manual_seed(0))
    near = nearest(bank, site, "=", z_q, 20, metric=metric)
    z = bank.activations(site, "=", torch.arange(len(bank)))
    exact = distances(z, z_q, metric)
    np.testing.assert_allclose(near.distances, exact[near.rows], atol=1e-6)
    distinct = torch.unique(exact.double().mul(1e9).round())[:20] / 1e9
    np.testing.assert_allclose(near.distances, distinct, atol=1e-4)


def test_it_is_a_source_whose_inputs_are_verified(bank):
    source = BankSource(bank, 40)
    assert isinstance(source, Source)
    assert source.density is None
    of, z_q = asked("a0.1")
    [found] = sampled_preimages(probed(), few_sums(), [of], [source], **with_criterion({"epsilon": 0.5}))
    near = nearest(bank, Site.parse("a0.1"), "=", z_q, 40)
    assert found.n_distinct == 40
    np.testing.assert_allclose(found.distances, near.distances, atol=2e-6)
    with pytest.raises(UserError, match=r"n is 5000, but the bank has \d+ distinct inputs with the position =: ask"):
        BankSource(bank, 5000).propose(z_q[None], [of], [torch.Generator()])
