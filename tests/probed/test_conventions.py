"""What the conventions promise of each other; TransformerLens' own values are in test_transformer_lens.py."""

import pytest
import torch

from inversionview.errors import UserError
from inversionview.probed.access import all_sites
from inversionview.probed.model import Patch, ProbedModel
from inversionview.sites import Site
from tests.probed.tiny import LAYER_NORM, MODELS, every_site, some_tokens, tiny

TOKENS = some_tokens()


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(LAYER_NORM)))
def test_tl_on_a_model_with_rmsnorm_is_an_error_that_says_what_to_use(name):
    with pytest.raises(UserError, match=r"RMSNorm.*'raw'"):
        ProbedModel(tiny(name), convention="tl")


def test_an_unknown_convention():
    with pytest.raises(UserError, match="'raw' or 'tl'"):
        ProbedModel(tiny("gpt2"), convention="folded")


@pytest.fixture(params=LAYER_NORM)
def pair(request):
    model = tiny(request.param)
    return ProbedModel(model), ProbedModel(model, convention="tl")


def test_both_give_the_same_logits(pair):
    raw, folded = pair
    assert (raw.convention, folded.convention) == ("raw", "tl")
    assert torch.equal(raw.logits(TOKENS), folded.logits(TOKENS))
    assert raw.fingerprint == folded.fingerprint


def test_folded_values_have_no_mean_and_all_but_heads_are_the_raw_ones_without_it(pair):
    raw, folded = (probed.capture(TOKENS, probed.sites) for probed in pair)
    for site, value in folded.items():
        torch.testing.assert_close(value.mean(-1), torch.zeros(TOKENS.shape), atol=1e-5, rtol=0)
        if site.kind != "head":
            torch.testing.assert_close(value, raw[site] - raw[site].mean(-1, keepdim=True), atol=1e-5, rtol=1e-5)


def test_a_folded_head_differs_from_the_raw_one_by_a_constant(pair):
    raw, folded = (probed.capture(TOKENS, [Site("head", 1, head) for head in range(4)]) for probed in pair)
    for site, value in raw.items():
        difference = value - value.mean(-1, keepdim=True) - folded[site]
        torch.testing.assert_close(difference, difference[:1, :1].expand_as(difference), atol=1e-5, rtol=1e-5)
        assert difference.abs().max() > 0.1


def test_folding_takes_one_constant_from_values_and_z_of_a_head_and_nothing_from_the_rest(pair):
    sites = all_sites(pair[0]._parts, listed=False)
    raw, folded = (probed.capture(TOKENS, sites) for probed in pair)
    assert {site.kind for site in sites} == {"q", "k", "v", "z", "neurons"}
    for site in sites:
        difference = raw[site] - folded[site]
        torch.testing.assert_close(difference, difference[:1, :1].expand_as(difference), atol=1e-5, rtol=1e-5)
        assert (difference.abs().max() > 0.1) == (site.kind in ("v", "z")), site
        if site.kind == "z":  # attention to the begin token alone is its value
            parts = pair[0]._parts
            value = Site("v", site.layer, site.head * parts.n_kv_heads // parts.n_heads)
            torch.testing.assert_close(folded[site][:, 0], folded[value][:, 0], atol=1e-5, rtol=1e-5)


def test_patching_a_folded_run_into_itself_changes_nothing(pair):
    _, folded = pair
    positions = torch.tensor([1, 8, 4])
    patches = [Patch(site, positions, v) for site, v in folded.capture(TOKENS, every_site(folded), positions).items()]
    for patch in patches:
        torch.testing.assert_close(folded.logits(TOKENS, [patch]), folded.logits(TOKENS), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(folded.logits(TOKENS, patches), folded.logits(TOKENS), atol=1e-4, rtol=1e-4)


def test_the_same_activation_patched_in_either_convention_has_the_same_effect(pair):
    other = some_tokens(seed=1)
    for site in every_site(pair[0]):
        raw, folded = (p.logits(TOKENS, [Patch(site, 4, p.capture(other, site, 4)[site])]) for p in pair)
        torch.testing.assert_close(raw, folded, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", LAYER_NORM)
def test_in_bf16_the_map_is_exact_and_the_values_are_rounded_once(name):
    model = tiny(name).bfloat16()
    raw, folded = ProbedModel(model), ProbedModel(model, convention="tl")
    values = raw.capture(TOKENS, raw.sites)
    for site, found in folded.capture(TOKENS, folded.sites).items():
        assert found.dtype == torch.bfloat16
        if site.kind != "head":
            wide = values[site].float()
            assert torch.equal(found, (wide - wide.mean(-1, keepdim=True)).bfloat16())
            continue
        z = seen_z(model, raw, site.layer)[:, :, site.head].float()
        weight, offset = ProbedModel(tiny(name).bfloat16().float(), convention="tl")._convention.head_map(site.layer)
        exact = z @ weight[site.head] - offset[site.head]
        torch.testing.assert_close(found.float(), exact, rtol=2**-8, atol=1e-5)


def seen_z(model, probed, layer):
    """What the output projection of a layer gets, by head."""
    seen = []
    part = probed._parts.layers[layer]
    handle = part.projection.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(TOKENS)
    handle.remove()
    return seen[0].view(*TOKENS.shape, probed.n_heads, -1)


def test_values_without_biases():
    model = tiny("gpt_neox sequential")
    for layer in model.gpt_neox.layers:
        layer.attention.query_key_value.bias = layer.attention.dense.bias = None
    probed = ProbedModel(model, convention="tl")
    patch = Patch("a1.2", 4, probed.capture(TOKENS, "a1.2", 4)[Site("head", 1, 2)])
    torch.testing.assert_close(probed.logits(TOKENS, [patch]), probed.logits(TOKENS), atol=1e-4, rtol=1e-4)
