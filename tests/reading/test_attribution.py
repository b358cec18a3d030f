from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.decoder.scoring import score
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.preimage.sources.proposals import PriorSource, ladder
from inversionview.reading.attribution import colors_of, token_colors
from tests.preimage.tiny import decoder, probed, query, rows, task


def plain_probability(tokens: torch.Tensor, z: torch.Tensor, site: str, position: int) -> float:
    index = torch.tensor([decoder().config.sites.index(site)])
    with torch.no_grad():
        logits = decoder()(tokens[None, :position], decoder().coordinates(z[None], index), index)[-1]
    return torch.softmax(logits, -1)[tokens[position]].item()


def test_colours_are_the_change_of_each_tokens_probability_from_the_activation_at_begin():
    site = "a0.1"
    z_q = query_activations(probed(), task(), [query(site=site)])[0]
    baseline = probed().capture(rows("B999+999=1998E"), [site], 0)
    baseline = next(iter(baseline.values()))[0]
    candidates = rows("B615+861=1476E", "B100+100=200E", "B1+1")
    colors = token_colors(decoder(), probed(), task(), candidates, site=site, z_q=z_q)
    assert colors.shape == (3, 14)
    assert colors.abs().max() > 0.01
    for row in (0, 1):
        for position in range(1, 13):
            expected = plain_probability(candidates[row], z_q, site, position) - plain_probability(
                candidates[row], baseline, site, position
            )
            assert abs(colors[row, position].item() - expected) < 1e-5


def test_begin_and_what_follows_the_end_have_no_colour_and_none_leaves_the_scale():
    candidates = rows("B615+861=1476E", "B100+100=200E", "B1E")
    z_q = query_activations(probed(), task(), [query()])[0]
    colors = token_colors(decoder(), probed(), task(), candidates, site="a0.0", z_q=z_q)
    assert (colors[:, 0] == 0).all()
    assert colors[1, 13] == 0
    assert (colors[2, 3:] == 0).all()
    assert colors.abs().max() <= 1


def test_the_uninformed_activation_colours_nothing():
    baseline = next(iter(probed().capture(torch.tensor([[10]]), ["x1.post"], 0).values()))[0]
    colors = token_colors(decoder(), probed(), task(), rows("B615+861=1476E"), site="x1.post", z_q=baseline)
    torch.testing.assert_close(colors, torch.zeros_like(colors), atol=1e-6, rtol=0)


def test_small_blocks_change_nothing(monkeypatch):
    tokens = task().sample(20, generator=torch.Generator().manual_seed(0))
    z_q = query_activations(probed(), task(), [query()])[0]
    whole = token_colors(decoder(), probed(), task(), tokens, site="a0.0", z_q=z_q)
    monkeypatch.setattr("inversionview.decoder.scoring._BLOCK", 3)
    torch.testing.assert_close(
        token_colors(decoder(), probed(), task(), tokens, site="a0.0", z_q=z_q), whole, atol=1e-6, rtol=0
    )


@pytest.fixture(scope="module")
def reading():
    sources = [*ladder(decoder(), 60, noise=(0.0, 0.2)), PriorSource(task(), 20)]
    [found] = sampled_preimages(probed(), task(), [query(site="a0.1")], sources, criterion=Criterion.parse(epsilon=0.3))
    return found


def z_q():
    return query_activations(probed(), task(), [query(site="a0.1")])[0]


def test_what_is_made_later_row_by_row_is_what_all_at_once_would_be(reading):
    eager = token_colors(decoder(), probed(), task(), torch.from_numpy(reading.tokens), site="a0.1", z_q=z_q())
    unscored = np.isnan(reading.token_log_prob).any(axis=1)
    assert unscored.any()
    assert not unscored.all()
    colors = colors_of(decoder(), probed(), task(), reading, z_q)
    np.testing.assert_allclose(colors[np.array([9, 3])], eager[[9, 3]], atol=1e-5)
    np.testing.assert_allclose(colors, eager, atol=1e-5)


def test_only_what_was_not_scored_is_run_with_the_query_activation(reading, monkeypatch):
    passes = []

    def counted(decoder, tokens, z, index):
        passes.append((len(tokens), torch.equal(z, z_q())))
        return score(decoder, tokens, z, index)

    monkeypatch.setattr("inversionview.reading.attribution.score", counted)
    unscored = np.isnan(reading.token_log_prob).any(axis=1)
    np.asarray(colors_of(decoder(), probed(), task(), reading, z_q))
    assert sorted(passes) == [(int(unscored.sum()), True), (len(reading), False)]
    passes.clear()
    known = np.flatnonzero(~unscored)[:5]
    np.asarray(colors_of(decoder(), probed(), task(), reading, z_q)[known])
    assert passes == [(5, False)]


def test_a_reading_without_scores_is_coloured_all_the_same(reading):
    bare = dataclasses.replace(reading, token_log_prob=None)
    np.testing.assert_allclose(
        colors_of(decoder(), probed(), task(), bare, z_q),
        colors_of(decoder(), probed(), task(), reading, z_q),
        atol=1e-5,
    )
