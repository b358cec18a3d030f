import pytest
import torch

from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from tests.probed.tiny import MODELS, some_tokens, tiny

TOKENS = some_tokens()


def with_attention(name, implementation):
    model = tiny(name)
    model.config._attn_implementation = implementation  # which Falcon's own setter does not set
    if name.startswith("gemma3"):
        model.set_attn_implementation(implementation)
    return model


CASES = [(name, own) for name in MODELS for own in ("eager", "sdpa") if own == "eager" or tiny(name)._supports_sdpa]


# transformers adds ALiBi twice in plain attention, and once in the fused one.
@pytest.mark.parametrize(("name", "own"), [case for case in CASES if case != ("falcon rw", "sdpa")])
def test_patterns_are_those_of_plain_attention(name, own):
    expected = with_attention(name, "eager")(TOKENS, output_attentions=True).attentions
    probed = ProbedModel(with_attention(name, own))
    for layer in range(2):
        pattern = probed.attention(TOKENS, layer)
        torch.testing.assert_close(pattern, expected[layer], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(pattern.sum(-1), torch.ones(3, 4, TOKENS.shape[1]))
        assert (pattern.triu(1) == 0).all()
        assert not pattern.requires_grad


def test_a_window_hides_what_is_far_behind():
    pattern = ProbedModel(tiny("mistral")).attention(TOKENS, 0)  # its window is 4
    assert (pattern.tril(-4) == 0).all()
    assert (pattern.tril(-3).sum(-1)[..., 3:] > 0).all()


@pytest.mark.parametrize(("name", "own"), CASES)
def test_patterns_mix_the_values_of_the_model_as_it_does(name, own):
    probed = ProbedModel(with_attention(name, own))
    n_heads, n_values = probed.n_heads, probed._parts.n_kv_heads
    for layer in range(2):
        values = probed.capture(TOKENS, [f"v{layer}.{head}" for head in range(n_values)])
        mixed = probed.capture(TOKENS, [f"z{layer}.{head}" for head in range(n_heads)])
        pattern = probed.attention(TOKENS, layer)
        for head in range(n_heads):
            value = values[Site("v", layer, head * n_values // n_heads)]
            torch.testing.assert_close(pattern[:, head] @ value, mixed[Site("z", layer, head)], atol=1e-5, rtol=1e-5)


def test_pattern_times_values_gives_the_heads():
    probed = ProbedModel(tiny("gpt2"))
    parts = probed._parts
    normed = parts.layers[0].ln1(probed.capture(TOKENS, "x0.pre")[Site("resid_pre", 0)])
    weight, bias = parts.value_weight(0)
    values = torch.einsum("bpd,dhk->bhpk", normed, weight) + bias[:, None]
    results = torch.einsum("bhqp,bhpk,hkd->hbqd", probed.attention(TOKENS, 0), values, parts.output_weight(0))
    for head, result in enumerate(results):
        torch.testing.assert_close(probed.capture(TOKENS, f"a0.{head}")[Site("head", 0, head)], result)


@pytest.mark.parametrize("layer", [-1, 2, "0"])
def test_a_layer_that_the_model_lacks(layer):
    with pytest.raises(UserError, match="layers 0 to 1"):
        ProbedModel(tiny("gpt2")).attention(TOKENS, layer)


@pytest.mark.parametrize("name", MODELS)
def test_what_heads_attend_to_is_a_column_of_their_patterns_from_one_forward(name, monkeypatch):
    probed = ProbedModel(tiny(name))
    heads = [Site("head", 1, 2), Site("head", 0, 3), Site("head", 1, 0)]
    ran = []
    run = type(probed._parts).run
    monkeypatch.setattr(type(probed._parts), "run", lambda self, *args, **kw: ran.append(1) or run(self, *args, **kw))
    for position in (0, 2):
        found = probed.attention_to(TOKENS, heads, position)
        assert list(found) == heads
        for site in heads:
            torch.testing.assert_close(found[site], probed.attention(TOKENS, site.layer)[:, site.head, :, position])
    assert len(ran) == 2 + 2 * len(heads)
    assert probed.attention_to(TOKENS, []) == {}


def test_what_attends_to_nothing_is_refused():
    probed = ProbedModel(tiny("gpt2"))
    with pytest.raises(UserError, match=r"x0\.pre is no head of this model"):
        probed.attention_to(TOKENS, ["x0.pre"])
    with pytest.raises(UserError, match=r"no site a7\.0"):
        probed.attention_to(TOKENS, ["a7.0"])
    with pytest.raises(UserError, match="position 99 is not in inputs"):
        probed.attention_to(TOKENS, ["a0.0"], 99)
