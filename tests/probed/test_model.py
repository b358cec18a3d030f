import copy
import weakref

import pytest
import torch
from transformers import GPT2Model

from inversionview.errors import UserError
from inversionview.probed.hooks import products_in
from inversionview.probed.model import Patch, ProbedModel
from inversionview.probed.parts import locate
from inversionview.sites import Site
from tests.probed.tiny import LENGTH, MODELS, NORM_AFTER_HEADS, SEQUENTIAL, VOCAB, every_site, some_tokens, tiny

TOKENS = some_tokens()
POSITIONS = torch.tensor([1, 8, 4])


@pytest.fixture(scope="module", params=list(MODELS))
def probed(request):
    return ProbedModel(tiny(request.param))


def close(values, expected, atol=1e-5):
    torch.testing.assert_close(values, expected, atol=atol, rtol=1e-5)


def test_capture_at_positions_is_capture_everywhere_at_these_positions(probed):
    everywhere = probed.capture(TOKENS, every_site(probed))
    there = probed.capture(TOKENS, every_site(probed), POSITIONS)
    at_three = probed.capture(TOKENS, every_site(probed), 3)
    assert list(everywhere) == list(there) == list(every_site(probed))
    for site in every_site(probed):
        assert everywhere[site].shape == (*TOKENS.shape, probed.width(site))
        close(there[site], everywhere[site][torch.arange(3), POSITIONS])
        close(at_three[site], everywhere[site][:, 3])


def test_sites_add_up(probed):
    values = probed.capture(TOKENS, probed.sites)
    embedded = values[Site("embed")] + values.get(Site("pos_embed"), 0)
    close(values[Site("resid_pre", 0)], embedded)
    for layer in range(probed.n_layers):
        before, after = values[Site("resid_pre", layer)], values[Site("resid_post", layer)]
        attention, mlp = values[Site("attn_out", layer)], values[Site("mlp_out", layer)]
        close(after, before + attention + mlp)
        if Site("resid_mid", layer) in values:
            close(values[Site("resid_mid", layer)], before + attention)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in NORM_AFTER_HEADS])
def test_heads_and_bias_add_up_to_attention(name):
    probed = ProbedModel(tiny(name))
    for layer, block in enumerate(probed._parts.layers):
        values = probed.capture(TOKENS, [*(Site("head", layer, head) for head in range(4)), Site("attn_out", layer)])
        attention = values.pop(Site("attn_out", layer))
        bias = 0 if block.projection.bias is None else block.projection.bias
        close(sum(values.values()) + bias * probed._parts.multipliers.get("attn_out", 1), attention)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", NORM_AFTER_HEADS)
def test_where_a_norm_follows_what_heads_add_and_the_share_of_the_bias_are_the_attention(name, bias):
    model = tiny(name)
    if bias:
        for part in locate(model).layers:
            part.projection.bias = torch.nn.Parameter(torch.randn(12, generator=torch.Generator().manual_seed(0)))
    probed = ProbedModel(model)
    for layer, part in enumerate(probed._parts.layers):
        added = [Site("head_added", layer, head) for head in range(4)]
        results = [Site("head", layer, head) for head in range(4)]
        values = probed.capture(TOKENS, [*added, Site("attn_out", layer), *results])
        projected = sum(values[site] for site in results) + (part.projection.bias if bias else 0)
        normed = values[Site("attn_out", layer)]
        rest = normed * part.projection.bias if bias else 0
        # times what the norm takes in: a number of it that happens to be near 0 cannot be divided by
        close(projected * sum(values[site] for site in added) + rest, projected * normed, atol=1e-4)
        for site, result in zip(added, results, strict=True):
            close(projected * values[site], normed * values[result], atol=1e-4)
        alone = probed.capture(TOKENS, added[2], POSITIONS)[added[2]]
        close(alone, values[added[2]][torch.arange(3), POSITIONS])


@pytest.mark.parametrize("name", NORM_AFTER_HEADS)
def test_a_patch_of_what_a_head_adds_changes_the_stream_by_as_much(name):
    probed = ProbedModel(tiny(name))
    site, other = Site("head_added", 0, 1), Site("head_added", 0, 3)
    before = probed.capture(TOKENS, [site, other, "attn0"], POSITIONS)
    new, more = torch.randn(3, 12), torch.randn(3, 12)
    by_site = [Patch(site, POSITIONS, new), Patch(other, POSITIONS, more)]
    attention = before[Site("attn_out", 0)] + new - before[site] + more - before[other]
    patched = probed.logits(TOKENS, by_site)
    close(patched, probed.logits(TOKENS, [Patch("attn0", POSITIONS, attention)]), atol=1e-4)
    assert (patched - probed.logits(TOKENS)).abs().max() > 1e-2
    close(probed.logits(TOKENS, [Patch(site, POSITIONS, before[site])]), probed.logits(TOKENS), atol=1e-4)


def test_only_where_a_norm_follows_is_there_another_site_for_what_a_head_adds():
    with pytest.raises(UserError, match=r"no site h0\.1"):
        ProbedModel(tiny("llama")).capture(TOKENS, "h0.1")
    assert str(Site.parse("blocks.0.hook_attn_out.1")) == "h0.1"


def test_one_site_alone_is_the_same_as_among_all(probed):
    together = probed.capture(TOKENS, every_site(probed), POSITIONS)
    for site in every_site(probed):
        close(probed.capture(TOKENS, str(site), POSITIONS)[site], together[site])
    heads = [f"a1.{head}" for head in (2, 0, 3, 1)]
    for site, value in probed.capture(TOKENS, heads, POSITIONS).items():
        close(value, together[site])
    few = probed.capture(TOKENS, ["a1.2", "x0.post", "a1.0", "a1.2"])
    assert [str(site) for site in few] == ["a1.2", "x0.post", "a1.0"]


def test_batch_of_one_equals_batch_of_many(probed):
    together = probed.capture(TOKENS, every_site(probed))
    for row in range(len(TOKENS)):
        alone = probed.capture(TOKENS[row : row + 1], every_site(probed))
        for site in every_site(probed):
            close(alone[site][0], together[site][row])


def test_right_padding_never_changes_a_value(probed):
    padded = torch.full((3, LENGTH), 0)
    padded[:, : TOKENS.shape[1]] = TOKENS
    values = probed.capture(TOKENS, every_site(probed))
    for site, value in probed.capture(padded, every_site(probed)).items():
        close(value[:, : TOKENS.shape[1]], values[site])
    close(probed.logits(padded)[:, : TOKENS.shape[1]], probed.logits(TOKENS))


def test_no_inputs_give_no_values(probed):
    for site, value in probed.capture(TOKENS[:0], every_site(probed), POSITIONS[:0]).items():
        assert value.shape == (0, probed.width(site)), site
    assert probed.capture(TOKENS, []) == {}


def test_values_are_the_callers_to_change(probed):
    values = probed.capture(TOKENS, every_site(probed))
    kept = {site: value.clone() for site, value in values.items()}
    for site, value in values.items():
        close(value, kept[site])  # not changed through another site's tensor
        value.zero_()
    for site, value in probed.capture(TOKENS, every_site(probed)).items():
        close(value, kept[site])


def test_unpatched_logits_are_the_models(probed):
    with torch.no_grad():
        close(probed.logits(TOKENS), probed.model(TOKENS).logits)


def test_patching_a_run_into_itself_changes_nothing(probed):
    values = probed.capture(TOKENS, every_site(probed), POSITIONS)
    patches = [Patch(site, POSITIONS, value) for site, value in values.items()]
    for patch in patches:
        close(probed.logits(TOKENS, [patch]), probed.logits(TOKENS))
    close(probed.logits(TOKENS, patches), probed.logits(TOKENS))


def test_a_patch_changes_its_position_and_what_comes_after(probed):
    clean = probed.logits(TOKENS)
    for site in every_site(probed):
        value = torch.linspace(-3, 3, probed.width(site))
        changed = (probed.logits(TOKENS, [Patch(site, 5, value)]) - clean).abs().amax((0, 2)) > 1e-4
        assert not changed[:5].any(), site
        assert changed[5], site


def test_patching_the_whole_stream_gives_the_other_inputs_logits(probed):
    other = some_tokens(seed=1)
    name = "x1.pre"
    stream = probed.capture(other, name)[Site.parse(name)]
    patches = [Patch(name, position, stream[:, position]) for position in range(TOKENS.shape[1])]
    close(probed.logits(TOKENS, patches), probed.logits(other))


@pytest.mark.parametrize(
    ("name", "convention"), [(name, "raw") for name in SEQUENTIAL] + [("gpt2", "tl"), ("gpt_neox sequential", "tl")]
)
def test_resid_mid_carries_the_patch_on(name, convention):
    probed = ProbedModel(tiny(name), convention=convention)
    other = some_tokens(seed=1)
    stream = probed.capture(other, "x1.mid")[Site("resid_mid", 1)]
    patches = [Patch("x1.mid", position, stream[:, position]) for position in range(TOKENS.shape[1])]
    close(probed.logits(TOKENS, patches), probed.logits(other), atol=1e-4)


def test_the_last_of_two_patches_at_one_place_wins(probed):
    for site in every_site(probed):
        one, two = torch.linspace(-1, 1, probed.width(site)), torch.linspace(2, -1, probed.width(site))
        both = probed.logits(TOKENS, [Patch(site, 2, one), Patch(site, 2, two)])
        close(both, probed.logits(TOKENS, [Patch(site, 2, two)]), atol=1e-4)


def test_a_patch_of_resid_mid_leaves_a_patch_of_the_mlp_to_work():
    probed = ProbedModel(tiny("llama"))
    mid, mlp = torch.linspace(-1, 1, probed.d_model), torch.linspace(2, -1, probed.d_model)
    for order in (1, -1):
        patches = [Patch("x1.mid", 2, mid), Patch("m1", 2, mlp)][::order]
        close(probed.logits(TOKENS, patches), probed.logits(TOKENS, [Patch("x1.post", 2, mid + mlp)]))


def test_a_patch_is_not_changed_and_the_input_neither(probed):
    tokens, positions = TOKENS.clone(), POSITIONS.clone()
    values = [torch.ones(3, probed.width(site)) for site in every_site(probed)]
    probed.logits(
        tokens, [Patch(site, positions, value) for site, value in zip(every_site(probed), values, strict=True)]
    )
    assert torch.equal(tokens, TOKENS)
    assert torch.equal(positions, POSITIONS)
    assert all(torch.equal(value, torch.ones_like(value)) for value in values)


def test_sites_of_the_architectures():
    assert "x0.mid" not in map(str, ProbedModel(tiny("gpt_neox")).sites)
    assert "pos_embed" not in map(str, ProbedModel(tiny("llama")).sites)
    names = [str(site) for site in ProbedModel(tiny("gpt2")).sites]
    assert names[:2] == ["embed", "pos_embed"]
    assert names[2:11] == ["x0.pre", "a0.0", "a0.1", "a0.2", "a0.3", "attn0", "x0.mid", "m0", "x0.post"]


def test_embedding_of_gemma_is_the_scaled_one():
    probed = ProbedModel(tiny("gemma2"))
    raw = probed.model.get_input_embeddings().weight[TOKENS]
    close(probed.capture(TOKENS, "embed")[Site("embed")], raw * probed.d_model**0.5)


def test_a_model_without_its_head_is_read_but_has_no_logits():
    whole = tiny("gpt2")
    probed = ProbedModel(whole.transformer)
    assert isinstance(probed.model, GPT2Model)
    for site, value in ProbedModel(whole).capture(TOKENS, probed.sites).items():
        close(probed.capture(TOKENS, site)[site], value)
    with pytest.raises(UserError, match="no language modelling head"):
        probed.logits(TOKENS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_other_number_types(name, dtype):
    probed = ProbedModel(tiny(name).to(dtype))
    values = probed.capture(TOKENS, probed.sites, POSITIONS)
    assert all(value.dtype == dtype and value.isfinite().all() for value in values.values())
    mid = Patch("x0.mid", POSITIONS, values[Site("resid_mid", 0)])
    assert torch.equal(probed.logits(TOKENS, [mid]), probed.logits(TOKENS))


def test_autocast_of_the_caller_does_not_reach_the_model(probed):
    values = probed.capture(TOKENS, probed.sites)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for site, value in probed.capture(TOKENS, probed.sites).items():
            assert torch.equal(value, values[site]), site


def test_products_in_bf16_are_asked_for_and_end_with_their_block(probed):
    values = probed.capture(TOKENS, probed.sites)
    with products_in(torch.bfloat16):
        fast = probed.capture(TOKENS, probed.sites)
    last = probed.sites[-1]
    assert not torch.equal(fast[last], values[last])
    assert torch.nn.functional.cosine_similarity(fast[last], values[last], dim=-1).min() > 0.99
    assert torch.equal(probed.capture(TOKENS, probed.sites)[last], values[last])


def test_tokens_of_any_whole_type(probed):
    for dtype in (torch.int32, torch.uint8, torch.int16):
        close(probed.logits(TOKENS.to(dtype)), probed.logits(TOKENS))


WRONG_TOKENS = [
    (TOKENS[0], r"\[batch, pos\]"),
    (TOKENS.float(), "integers"),
    (TOKENS > 3, "integers"),
    (TOKENS.tolist(), "tensor"),
    (TOKENS[:, :0], "0 tokens"),
    (torch.ones(1, LENGTH + 1, dtype=torch.long), f"{LENGTH + 1} tokens .* 1 to {LENGTH}"),
    (torch.tensor([[1, VOCAB]]), f"token {VOCAB} .* 0 to {VOCAB - 1}"),
    (torch.tensor([[1, -1]]), "token -1"),
]


@pytest.mark.parametrize(("tokens", "message"), WRONG_TOKENS)
def test_tokens_that_are_none(tokens, message):
    probed = ProbedModel(tiny("gpt2"))
    for ask in (
        lambda: probed.capture(tokens, "x0.pre"),
        lambda: probed.logits(tokens),
        lambda: probed.attention(tokens, 0),
    ):
        with pytest.raises(UserError, match=message):
            ask()


WRONG_POSITIONS = [
    (9, r"position 9 .* 0 to 8"),
    (-1, "position -1"),
    (torch.tensor([0, 1, 9]), "position 9"),
    (torch.tensor([0, 1]), r"\[3\]"),
    (torch.zeros(3), "integer"),
    (1.5, "integer"),
    (True, "integer"),
    ("last", "integers"),
]


@pytest.mark.parametrize(("positions", "message"), WRONG_POSITIONS)
def test_positions_that_are_none(positions, message):
    probed = ProbedModel(tiny("gpt2"))
    with pytest.raises(UserError, match=message):
        probed.capture(TOKENS, "x0.pre", positions)
    with pytest.raises(UserError, match=message):
        probed.logits(TOKENS, [Patch("x0.pre", positions, torch.zeros(16))])


@pytest.mark.parametrize("site", ["x2.pre", "a0.4", "a2.0", "pos_embed", Site("resid_mid", 0)])
def test_a_site_that_the_model_lacks_is_an_error_that_names_the_ones_there_are(site):
    probed = ProbedModel(tiny("gpt_neox"))
    expected = r"embed, x0\.pre, a0\.0, attn0, m0, x0\.post, with layers 0 to 1 and heads 0 to 3"
    with pytest.raises(UserError, match=expected):
        probed.capture(TOKENS, [site])
    with pytest.raises(UserError, match=expected):
        probed.logits(TOKENS, [Patch(site, 0, torch.zeros(16))])


@pytest.mark.parametrize("shape", [(), (15,), (2, 16), (3, 9, 16)])
def test_a_value_that_does_not_fit(shape):
    with pytest.raises(UserError, match=r"\(16,\) or \(3, 16\)"):
        ProbedModel(tiny("gpt2")).logits(TOKENS, [Patch("a0.1", 0, torch.zeros(shape))])


def state_of(model):
    """All of a model that a reader could have changed by leaving something behind."""
    return {
        name: (
            {key: (id(value), value._version) for key, value in module._parameters.items() if value is not None},
            {key: id(value) for key, value in module._modules.items()},
            list(module._forward_hooks),
            list(module._forward_pre_hooks),
            dict(module._forward_hooks_with_kwargs),
            dict(module._forward_pre_hooks_with_kwargs),
            dict(module._forward_hooks_always_called),
            sorted(key for key in module.__dict__),
            module.training,
            [parameter.requires_grad for parameter in module.parameters()],
        )
        for name, module in model.named_modules()
    }


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_left_behind(name, training):
    model = tiny(name).train(training)
    inner = next(module for module in model.modules() if isinstance(module, torch.nn.Dropout | torch.nn.Linear))
    inner.train(not training)  # flags come back one by one, not all as the model's
    before, config, options = state_of(model), copy.deepcopy(model.config.to_dict()), dir(model(TOKENS))
    weights = copy.deepcopy(model.state_dict())
    probed = ProbedModel(model)
    probed.capture(TOKENS, every_site(probed))
    probed.capture(TOKENS, "x0.pre", 1)
    probed.logits(TOKENS, [Patch(site, 1, torch.zeros(probed.width(site))) for site in every_site(probed)])
    probed.rerun(probed.clean_run(TOKENS, 1), [Patch("x1.pre", 1, torch.zeros(probed.d_model))], of=TOKENS)
    probed.attention(TOKENS, 1)
    with pytest.raises(UserError):
        probed.capture(TOKENS, "x7.pre")
    assert probed.fingerprint
    assert state_of(model) == before
    assert model.config.to_dict() == config
    assert model.config._attn_implementation == tiny(name).config._attn_implementation
    assert dir(model(TOKENS)) == options
    assert torch.is_grad_enabled()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())


def test_what_the_configuration_asks_of_a_forward_leaves_nothing_behind_either(probed):
    model = copy.deepcopy(probed.model)
    for config in {id(c): c for c in (model.config, model.config.get_text_config())}.values():
        config.output_hidden_states, config.use_cache = True, True
    before = state_of(model)
    other = ProbedModel(model)
    close(other.logits(TOKENS), probed.logits(TOKENS))
    close(other.attention(TOKENS, 1), probed.attention(TOKENS, 1))
    for site, value in other.capture(TOKENS, probed.sites).items():
        close(value, probed.capture(TOKENS, site)[site])
    assert state_of(model) == before


def test_a_forward_that_fails_leaves_nothing_behind(monkeypatch):
    model = tiny("gpt2").train()
    probed = ProbedModel(model)
    before = state_of(model)
    monkeypatch.setattr(model.transformer.h[1].mlp.act, "forward", lambda x: x / None)
    for ask in (
        lambda: probed.capture(TOKENS, "x1.post"),
        lambda: probed.logits(TOKENS, [Patch("a0.0", 1, torch.zeros(16))]),
    ):
        with pytest.raises(TypeError):
            ask()
    monkeypatch.undo()
    assert state_of(model) == before
    assert probed.capture(TOKENS, "x1.post")


def test_dropout_never_acts(probed):
    values = probed.capture(TOKENS, probed.sites)
    model = copy.deepcopy(probed.model).train()
    for module in model.modules():
        for name in ("attention_dropout", "p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.5)
    for site, value in ProbedModel(model).capture(TOKENS, probed.sites).items():
        assert torch.equal(value, values[site]), site


def test_the_forward_stops_at_the_deepest_site():
    model = tiny("gpt2")
    probed = ProbedModel(model)
    ran = []
    for name in ("h.0.attn.c_proj", "h.0.mlp", "h.1", "ln_f"):
        model.transformer.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    for sites, expected in (
        (["a0.0", "x0.pre"], []),
        ("x0.mid", ["h.0.attn.c_proj"]),
        (["m0", "a0.1"], ["h.0.attn.c_proj", "h.0.mlp"]),
        ("x1.post", ["h.0.attn.c_proj", "h.0.mlp", "h.1"]),
    ):
        ran.clear()
        probed.capture(TOKENS, sites)
        assert ran == expected


def test_positions_are_gathered_before_heads_are_projected(monkeypatch):
    probed = ProbedModel(tiny("gpt2"))
    sizes = []
    product = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b: sizes.append(a.shape[1]) or product(a, b))
    probed.capture(TOKENS, ["a0.0", "a0.1"], POSITIONS)
    assert sizes == [3]


def test_weights_trained_on_are_read_as_they_are_now():
    model = tiny("gpt2")
    probed = ProbedModel(model, convention="tl")
    probed.capture(TOKENS, probed.sites)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    for site, value in probed.capture(TOKENS, probed.sites).items():
        close(value, ProbedModel(model, convention="tl").capture(TOKENS, site)[site])


def test_a_probed_model_goes_with_its_last_user():
    probed = ProbedModel(tiny("gpt2"), convention="tl")
    probed.logits(TOKENS, [Patch("a0.1", 1, probed.capture(TOKENS, probed.sites, 1)[Site("head", 0, 1)])])
    probed.attention(TOKENS, 0)
    probed = weakref.ref(probed)
    assert probed() is None  # at once, without waiting for the collector of cycles


def test_no_warning_of_padding(caplog):
    model = tiny("gpt2")
    model.config.pad_token_id = 0
    padded = torch.cat([TOKENS, torch.zeros_like(TOKENS[:, :2])], dim=1)
    probed = ProbedModel(model)
    probed.capture(padded, "x1.post")
    probed.logits(padded)
    assert not caplog.records
