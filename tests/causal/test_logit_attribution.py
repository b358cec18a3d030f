"""Direct logit attribution, against plain PyTorch; all parts together are the logits, in every architecture."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Model

from inversionview.causal.contrast import make_pairs
from inversionview.causal.effects import PatchSite
from inversionview.causal.logit_attribution import (
    LogitAttribution,
    attribute_heads,
    extremes,
    logit_attribution,
    logit_parts,
    stream_parts,
)
from inversionview.causal.patching import patch_effects
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.probed.readout import Readout, frozen
from inversionview.sites import Site
from tests.causal.tiny import addition
from tests.causal.tiny import probed as probed_of_sums
from tests.probed.tiny import LAYER_NORM, MODELS, some_tokens, tiny

TOKENS, AT = some_tokens(), torch.tensor([1, 4, 8])
ROWS = torch.arange(3)
CASES = [(name, "raw") for name in MODELS] + [(name, "tl") for name in LAYER_NORM]


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def probed(request):
    return ProbedModel(tiny(request.param[0]), convention=request.param[1])


@pytest.fixture(scope="module", params=["raw", "tl"])
def gpt2(request):
    return ProbedModel(tiny("gpt2"), convention=request.param)


def uncapped(probed: ProbedModel) -> torch.Tensor:
    logits, cap = probed.logits(TOKENS, positions=AT), Readout(probed).cap
    return logits if cap is None else cap * torch.atanh(logits / cap)


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance * float(expected.abs().max()), rtol=0)


def test_all_parts_and_the_constant_add_up_to_the_logits(probed):
    found = logit_parts(probed, TOKENS, AT)
    capped = Readout(probed).cap is not None
    close(sum(part.values for part in found.parts) + found.constant, uncapped(probed), 2e-3 if capped else 1e-4)
    assert len({part.part for part in found.parts}) == len(found.parts)
    assert all(part.values.abs().max() > 0 for part in found.parts if "bias" not in part.part)


def test_the_stream_is_the_sum_of_its_parts_and_biases_are_the_same_for_all_inputs(probed):
    names, values, stream = stream_parts(probed, TOKENS, AT)
    close(values.sum(dim=0), stream)
    for name, value in zip(names, values, strict=True):
        if name.endswith("bias"):
            close(value[1:] + 1, value[:1].expand(2, -1) + 1)
        else:
            assert (value - value[:1]).abs().max() > 1e-3


def test_each_part_alone_is_what_it_is_among_all(probed):
    together = {part.part: part.values for part in logit_parts(probed, TOKENS, AT).parts}
    for site in probed.sites:
        alone = logit_attribution(probed, TOKENS, site, AT)
        assert alone.part == str(site)
        if str(site) in together:
            close(alone.values, together[str(site)])


def test_the_last_stream_and_the_constant_are_the_logits(probed):
    last = logit_attribution(probed, TOKENS, f"x{probed.n_layers - 1}.post", AT)
    capped = Readout(probed).cap is not None
    close(last.values + Readout(probed).constant(), uncapped(probed), 2e-3 if capped else 1e-4)


def plain_gpt2(model, part: torch.Tensor, stream: torch.Tensor) -> torch.Tensor:
    """γ (v - mean(v)) / σ(x), then the unembedding."""
    norm = model.transformer.ln_f
    sigma = (stream.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    return (norm.weight * (part - part.mean(dim=-1, keepdim=True)) / sigma) @ model.lm_head.weight.T


@torch.no_grad()
def test_a_head_is_attributed_as_in_plain_pytorch(gpt2):
    model = gpt2.model
    assert isinstance(model.transformer, GPT2Model)
    hidden = model(TOKENS, output_hidden_states=True, use_cache=False).hidden_states
    seen = []
    handles = [
        model.transformer.h[1].attn.c_proj.register_forward_pre_hook(lambda module, args: seen.append(args[0])),
        model.transformer.ln_f.register_forward_pre_hook(lambda module, args: seen.append(args[0])),
    ]
    model(TOKENS, use_cache=False)
    for handle in handles:
        handle.remove()
    z, stream = (tensor[ROWS, AT] for tensor in seen)
    head = z[:, 4:8]
    if gpt2.convention == "tl":  # less what biases add to it whatever is attended to
        block = model.transformer.h[1]
        value = block.attn.c_attn
        head = head - (block.ln_1.bias @ value.weight + value.bias)[36:40]
    head = head @ model.transformer.h[1].attn.c_proj.weight[4:8]
    close(logit_attribution(gpt2, TOKENS, "a1.1", AT).values, plain_gpt2(model, head, stream))
    before = hidden[1][ROWS, AT]
    close(logit_attribution(gpt2, TOKENS, "x1.pre", AT).values, plain_gpt2(model, before, stream))


def test_it_is_linear_and_blind_to_the_mean(gpt2):
    readout, generator = Readout(gpt2), torch.Generator().manual_seed(0)
    a, b, stream = torch.randn(3, 4, 16, generator=generator)
    separate = readout.contributions(torch.stack([a, b]), stream)
    close(readout.contributions(2 * a - b + 7, stream), 2 * separate[0] - separate[1])


@pytest.mark.parametrize("name", MODELS)
def test_a_frozen_norm_is_the_norm_at_its_own_scale(name):
    probed = ProbedModel(tiny(name))
    norm, kind = probed._parts.final_norm, probed._parts.architecture.norm
    stream = 3 * torch.randn(5, probed.d_model, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = norm(stream) - norm(torch.zeros(probed.d_model))
        close(frozen(norm, kind, stream)(stream), expected, 1e-5)
        close(frozen(norm, kind, stream)(10 * stream), 10 * expected, 1e-5)


def test_top_bottom_and_rank_agree_with_a_sort(gpt2):
    found = logit_attribution(gpt2, TOKENS, "m0", AT)
    for i, values in enumerate(found.values.tolist()):
        order = sorted(range(len(values)), key=lambda token, values=values: -values[token])
        assert found.top(4).tokens[i].tolist() == order[:4]
        assert found.bottom(4).tokens[i].tolist() == order[:-5:-1]
        assert found.top(4).values[i].tolist() == [values[token] for token in order[:4]]
        asked = torch.tensor([[order[0], order[5], order[-1]]] * 3)
        assert found.rank(asked)[i].tolist() == [0, 5, len(values) - 1]
        assert int(found.rank(asked[:, 1])[i]) == 5


def test_without_the_final_norms_scale_tokens_come_in_the_same_order(probed):
    site = Site("head", 1, 1)
    with_norm = logit_attribution(probed, TOKENS, site, AT)
    without = logit_attribution(probed, TOKENS, site, AT, final_norm=False)
    close(without.values.mean(dim=1) + 1, torch.ones(3))
    spread = [found.values - found.values.mean(dim=1, keepdim=True) for found in (with_norm, without)]
    factor = spread[1].norm(dim=1, keepdim=True) / spread[0].norm(dim=1, keepdim=True)
    close(spread[1], factor * spread[0])
    assert (with_norm.top(5).tokens == without.top(5).tokens).all()


def test_extremes_count_inputs_by_hand():
    values = torch.tensor([[5.0, 4, 3, 2, 1, 0], [5.0, 4, 3, 2, 1, 0], [0.0, 1, 2, 3, 4, 5]])
    found = LogitAttribution("a0.0", values)
    own = torch.tensor([[1, -1], [0, 5], [4, -1]])
    names = torch.tensor([0, 1, 4, 5])
    # Raised most: 0 1 | 0 1 | 5 4; lowered most: 5 4 | 5 4 | 0 1.
    assert extremes(found, own, names, n=2) == pytest.approx((1, 1 / 3, 1 / 3, 1 / 3))
    assert extremes(found, own, torch.tensor([2]), n=2) == pytest.approx((1, 1, 1 / 3, 1 / 3))
    with pytest.raises(UserError, match="n must be from 1 to the 6 tokens"):
        extremes(found, own, names)


def test_ties_have_the_same_rank():
    found = LogitAttribution("m0", torch.tensor([[1.0, 2.0, 1.0, 2.0, 0.0]]))
    assert found.rank(torch.tensor([[0, 1, 2, 3, 4]])).tolist() == [[2, 0, 2, 0, 4]]


def test_mistakes_are_one_line(gpt2):
    with pytest.raises(UserError, match=r"no site a0\.9"):
        logit_attribution(gpt2, TOKENS, "a0.9", AT)
    with pytest.raises(UserError, match="position 99"):
        logit_attribution(gpt2, TOKENS, "m0", 99)
    found = logit_attribution(gpt2, TOKENS, "m0", AT)
    with pytest.raises(UserError, match="n must be from 1 to the 17 tokens"):
        found.top(18)
    with pytest.raises(UserError, match="tokens to rank must be from 0 to 16"):
        found.rank(torch.tensor([0, 1, 17]))
    headless = ProbedModel(GPT2Model(gpt2.model.config).eval())
    with pytest.raises(UserError, match="no language modelling head"):
        logit_attribution(headless, TOKENS, "m0", AT)


@pytest.mark.parametrize("block", [2**26, 1])
def test_every_part_of_a_logit_difference_at_once(block, monkeypatch):
    monkeypatch.setattr("inversionview.causal.logit_attribution._BLOCK_VALUES", block)
    model = probed_of_sums()
    pairs = make_pairs(addition(), 12, target="A1", contrast="change:F1,S1")
    found = attribute_heads(model, pairs)
    both = torch.stack([pairs.answer, pairs.contrast_answer], dim=1)
    for part in found.parts:
        if "bias" in part.part:
            continue
        alone = logit_attribution(model, pairs.clean, part.part, pairs.clean_target - 1).values.gather(1, both).double()
        apart = alone[:, 0] - alone[:, 1]
        assert part.mean == pytest.approx(float(apart.mean()), abs=1e-5)
        assert part.se == pytest.approx(float(apart.std() / 12**0.5), abs=1e-5)
    clean = patch_effects(model, pairs, [[PatchSite(Site("head", 0, 0), "=")]]).clean
    assert sum(part.mean for part in found.parts) + found.constant == pytest.approx(clean.mean(), abs=1e-4)
    assert [part.part for part in found.heads] == ["a0.0", "a0.1", "a1.0", "a1.1", "a2.0", "a2.1"][: len(found.heads)]
    assert found.n == len(pairs)


def test_one_input_has_no_standard_error():
    pairs = make_pairs(addition(), 1, target="A1", contrast="change:F1,S1")
    assert {part.se for part in attribute_heads(probed_of_sums(), pairs).parts} == {None}
