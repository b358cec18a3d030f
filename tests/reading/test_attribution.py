from __future__ import annotations

import torch

from inversionview.preimage.sampled import query_activations
from inversionview.reading.attribution import token_colors
from tests.preimage.tiny import decoder, probed, query, rows, task


def plain_probability(tokens: torch.Tensor, z: torch.Tensor, site: str, position: int) -> float:
    index = torch.tensor([decoder().config.sites.index(site)])
    with torch.no_grad():
        logits = decoder()(tokens[None, :position], z[None], index)[-1]
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
