from __future__ import annotations

import pytest
import torch

from inversionview.errors import UserError
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import (
    DecoderDensity,
    DecoderSource,
    PriorDensity,
    PriorSource,
    Source,
    mixture,
    query_generator,
)
from tests.preimage.tiny import Fixed, decoder, probed, query, rows, task, with_criterion


def propose(source, queries, seed=0):
    activations = torch.zeros(len(queries), probed().d_model)
    return source.propose(activations, queries, [query_generator(seed, source.name, asked) for asked in queries])


def test_what_proposes_is_a_source():
    for source in (DecoderSource(decoder(), 1), PriorSource(task(), 1), Fixed(rows("B615+861=1476E"))):
        assert isinstance(source, Source)


def test_densities_are_known_without_noise_only():
    assert DecoderSource(decoder(), 1, temperature=0.5).density == DecoderDensity(0.5)
    assert DecoderSource(decoder(), 1, temperature=0.5, noise=0.1).density is None
    assert PriorSource(task(), 1).density == PriorDensity()


def test_the_prior_source_draws_the_tasks_own_samples_from_each_querys_stream():
    queries = [query(), query(site="x0.pre")]
    source = PriorSource(task(), 30)
    both, alone = propose(source, queries), propose(source, queries[1:])
    assert both.tokens.shape == (2, 30, 14)
    assert torch.equal(both.tokens[1], alone.tokens[0])
    assert not torch.equal(both.tokens[0], both.tokens[1])
    stream = query_generator(0, "prior", queries[0])
    assert torch.equal(both.tokens[0], task().sample(30, generator=stream))
    assert task().contains(both.tokens[0]).all()
    assert both.log_prob.isnan().all()


def test_a_prior_draw_that_lacks_the_querys_role_is_not_in_the_domain_under_rule_same():
    options = {"epsilon": 10.0, "position_rule": "same"}
    [found] = sampled_preimages(
        probed(), task(), [query(at="A4")], [PriorSource(task(), 300)], **with_criterion(options)
    )
    short = torch.from_numpy(found.tokens)[:, 12] == 13
    assert 0 < short.sum() < len(found)
    assert found.in_domain.tolist() == (~short).tolist()


@pytest.mark.parametrize(
    ("n", "share", "prior", "rungs"),
    [
        (1000, 0.1, 100, [225, 225, 225, 225]),
        (103, 0.1, 10, [24, 23, 23, 23]),
        (5, 0.1, 1, [1, 1, 1, 1]),
        (8, 0.001, 1, [2, 2, 2, 1]),
        (8, 0.0, 0, [2, 2, 2, 2]),
        (40, 0.9, 36, [1, 1, 1, 1]),
    ],
)
def test_a_mixture_shares_the_draws_between_prior_and_decoder(n, share, prior, rungs):
    sources = mixture(decoder(), task(), n, (0.5, 1.0), noise=(0.0, 0.1), prior_share=share)
    assert [source.n for source in sources if source.name == "prior"] == [prior] * bool(prior)
    assert [source.n for source in sources if source.name != "prior"] == rungs
    assert sum(source.n for source in sources) == n


@pytest.mark.parametrize(
    ("n", "share", "temperatures", "words"),
    [
        (10, 1.0, (1.0,), "share must be at least 0 and below 1, such as 0.1, not 1"),
        (10, -0.1, (1.0,), "not -0.1"),
        (10, float("nan"), (1.0,), "not nan"),
        (1, 0.1, (1.0,), "n is 1, and with 1 for the prior too few are left: the decoder needs 1"),
        (2, 0.1, (1.0, 2.0), "n is 2, and with 1 for the prior too few are left: the decoder needs 2"),
        (10, 0.1, (0.0,), "temperature must be above 0, not 0"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(n, share, temperatures, words):
    with pytest.raises(UserError, match=words):
        mixture(decoder(), task(), n, temperatures, prior_share=share)
