"""The decoder computes one distribution, whichever way it is asked."""

import pytest
import torch

from inversionview.decoder.model import RaggedRows, SiteLinear, attend, until_end
from tests.decoder.tiny import activations, inputs, tiny_decoder


@pytest.fixture(scope="module", params=[{}, {"n_quantiles": 9, "own_inputs": True}], ids=["plain", "ranks"])
def decoder(request):
    return tiny_decoder(**request.param)


def full_logits(decoder, tokens, z, site):
    return decoder(tokens[:, :-1], z, site).view(len(tokens), 13, 15)


@torch.no_grad()
def test_ragged_rows_give_the_logits_of_whole_rows(decoder):
    tokens, (z, site) = inputs(6), activations(6)
    whole = full_logits(decoder, tokens, z, site)
    ragged = decoder(tokens[:, :-1], z, site, [RaggedRows(2, 4), RaggedRows(3, 7), RaggedRows(1, 13)])
    expected = torch.cat([whole[:2, :4].flatten(0, 1), whole[2:5, :7].flatten(0, 1), whole[5:].flatten(0, 1)])
    torch.testing.assert_close(ragged, expected)


@torch.no_grad()
def test_cached_steps_give_the_logits_of_a_whole_pass(decoder):
    tokens, (z, site) = inputs(5), activations(5)
    cache = decoder.start_cache(z, site)
    stepped = torch.stack([decoder.step(tokens[:, : t + 1], cache) for t in range(13)], dim=1)
    torch.testing.assert_close(stepped, full_logits(decoder, tokens, z, site))


@torch.no_grad()
def test_a_later_token_changes_no_earlier_logit(decoder):
    tokens, (z, site) = inputs(2), activations(2)
    changed = tokens.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 10
    before, after = (full_logits(decoder, t, z, site) for t in (tokens, changed))
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


@torch.no_grad()
def test_activation_and_site_reach_every_position(decoder):
    tokens, (z, site) = inputs(3), activations(3)
    base = full_logits(decoder, tokens, z, site)
    for other in (full_logits(decoder, tokens, z + 0.1, site), full_logits(decoder, tokens, z, (site + 1) % 3)):
        assert ((base - other).abs().amax(dim=(0, 2)) > 1e-4).all()


@torch.no_grad()
def test_normalisation_undoes_shift_and_scale():
    decoder, tokens, (z, site) = tiny_decoder(), inputs(4), activations(4)
    moved = tiny_decoder()
    moved.set_normalisation(3 * decoder.trunk.mean + 2, 3 * decoder.trunk.scale)
    torch.testing.assert_close(
        full_logits(moved, tokens, 3 * z + 2, site), full_logits(decoder, tokens, z, site), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_a_rank_says_which_share_of_the_site_lies_below():
    decoder, values = tiny_decoder(n_quantiles=65), torch.rand(5000, 8, generator=torch.Generator().manual_seed(1)) ** 3
    decoder.set_quantiles(1, values)
    ranks = decoder.trunk._ranks(values, torch.ones(len(values), dtype=torch.long))
    below = values.argsort(dim=0).argsort(dim=0) / (len(values) - 1)
    torch.testing.assert_close(ranks, 2 * below - 1, atol=0.02, rtol=0)
    beyond = decoder.trunk._ranks(torch.tensor([[-1e9] * 8, [1e9] * 8]), torch.tensor([1, 1]))
    assert beyond[:, 0].tolist() == pytest.approx([-1.125, 1.125]), "four steps beyond all"


@torch.no_grad()
@pytest.mark.parametrize("value", [0.5, 1e4])
def test_numbers_that_are_all_the_same_have_ranks(value):
    decoder = tiny_decoder(n_quantiles=9)
    decoder.set_quantiles(0, torch.full((50, 8), value))
    around = value * torch.tensor([[1.0, 0.999, 1.001, 4.0, -4.0, 1.0, 1.0, 1.0]])
    ranks = decoder.trunk._ranks(around, torch.tensor([0]))
    assert ranks.isfinite().all()
    assert ranks.abs().max() <= 2


@torch.no_grad()
def test_waves_are_of_the_ranks():
    decoder, (z, site) = tiny_decoder(n_quantiles=9), activations(4)
    read = []
    decoder.trunk.input.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    decoder.trunk(z, site, torch.float32)
    ranks, waves = read[0][:, 8:16], read[0][:, 16:40].view(4, 8, 3)
    torch.testing.assert_close(ranks, decoder.trunk._ranks(z, site))
    torch.testing.assert_close(waves, (ranks[:, :, None] * torch.tensor([1.5, 3.0, 6.0])).sin())


@torch.no_grad()
def test_beyond_a_narrow_site_nothing_is_looked_at():
    decoder, (z, _) = tiny_decoder(n_quantiles=9, widths=(8, 4, 4)), activations(4)
    other, site = z.clone(), torch.tensor([1, 2, 1, 2])
    other[:, 4:] += 1
    given = [decoder.trunk(values, site, torch.float32) for values in (z, other)]
    assert torch.equal(*given)


@torch.no_grad()
def test_each_site_has_its_own_map():
    maps, x = SiteLinear(3, 5, 4), torch.randn(7, 5)
    site = torch.tensor([2, 0, 2, 0, 2, 2, 0])  # none is of site 1
    expected = torch.stack([maps.weight[s] @ row for s, row in zip(site, x, strict=True)])
    torch.testing.assert_close(maps(x, site), expected)


@torch.no_grad()
def test_log_prob_sums_to_one_over_all_short_strings():
    decoder = tiny_decoder(vocab_size=3, max_length=5, begin=0, end=1, pad=2)
    z, site = activations(1)
    total = 0.0
    for code in range(3**4):
        row = [0] + [code // 3**k % 3 for k in range(4)]
        ends = [t for t in range(1, 5) if row[t] == 1]
        stop = ends[0] if ends else 4
        if row[stop + 1 :] == [2] * (4 - stop):  # every string once: what follows its end is padding
            total += decoder.log_prob(torch.tensor([row]), z, site).exp().item()
    assert total == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_token_log_probs_against_a_loop(decoder):
    tokens, (z, site) = inputs(3), activations(3)
    tokens[0, 5], tokens[0, 6:] = 13, 14
    got = decoder.token_log_probs(tokens, z, site)
    logits = full_logits(decoder, tokens, z, site)
    for row in range(3):
        ended = False
        for t in range(1, 14):
            expected = 0.0 if ended else logits[row, t - 1].log_softmax(-1)[tokens[row, t]].item()
            assert got[row, t].item() == pytest.approx(expected, abs=1e-5)
            ended = ended or tokens[row, t].item() == 13
    assert (got[:, 0] == 0).all()


def test_attention_is_torchs():
    q, k, v = (torch.randn(2, 4, 5, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    mask = torch.full((5, 5), -torch.inf).triu(1)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attend(q, k, v, mask), expected)


@torch.no_grad()
def test_bf16_is_near_fp32():
    decoder = tiny_decoder()
    tokens, (z, site) = inputs(8), activations(8)
    exact = decoder.log_prob(tokens, z, site)
    decoder.compute_dtype = torch.bfloat16
    rough = decoder.log_prob(tokens, z, site)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_matrix_parameters_are_the_inner_matrices():
    decoder = tiny_decoder()
    names = {id(p): n for n, p in decoder.named_parameters()}
    chosen = {names[id(p)] for p in decoder.matrix_parameters()}
    assert not any("embedding" in n or n.startswith("body.head") or n.endswith(("bias", "norm.weight")) for n in chosen)
    assert {"trunk.input.weight", "body.blocks.0.attention.qkv.weight", "body.blocks.1.mlp.down.weight"} <= chosen


def test_until_end():
    tokens = torch.tensor([[10, 3, 13, 14, 13], [10, 1, 2, 3, 4]])
    assert until_end(tokens, 13).tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
