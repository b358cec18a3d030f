"""A decoder on a pretrained language model computes one distribution, whatever the architecture."""

import pytest
import torch

from inversionview.decoder.backbone import masks
from inversionview.decoder.model import RaggedRows
from inversionview.decoder.sampling import sample
from inversionview.decoder.scoring import score
from inversionview.errors import UserError
from tests.decoder.backbones import KINDS, OTHERS, UNFIT, backbone, on_backbone, saved_backbone
from tests.decoder.tiny import activations, inputs


@pytest.fixture(scope="module", params=[*((kind, 0) for kind in KINDS), ("gpt2", 2), ("llama", 2)], ids=str)
def decoder(request, tmp_path_factory):
    kind, rank = request.param
    return on_backbone(saved_backbone(tmp_path_factory.mktemp("base") / kind, kind), rank)


def full_logits(decoder, tokens, z, site):
    return decoder(tokens[:, :-1], z, site).view(len(tokens), 13, 15)


@torch.no_grad()
def test_cached_steps_give_the_logits_of_a_whole_pass(decoder):
    tokens, (z, site) = inputs(5), activations(5)
    cache = decoder.start_cache(z, site)
    stepped = torch.stack([decoder.step(tokens[:, : t + 1], cache) for t in range(13)], dim=1)
    torch.testing.assert_close(stepped, full_logits(decoder, tokens, z, site), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_activation_and_site_reach_every_position(decoder):
    tokens, (z, site) = inputs(3), activations(3)
    base = full_logits(decoder, tokens, z, site)
    for other in (full_logits(decoder, tokens, z + 0.1, site), full_logits(decoder, tokens, z, (site + 1) % 3)):
        assert ((base - other).abs().amax(dim=(0, 2)) > 1e-5).all()


@torch.no_grad()
def test_a_later_token_changes_no_earlier_logit(decoder):
    tokens, (z, site) = inputs(2), activations(2)
    changed = tokens.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 10
    before, after = (full_logits(decoder, t, z, site) for t in (tokens, changed))
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


@torch.no_grad()
def test_ragged_rows_give_the_logits_of_whole_rows_and_one_row_those_of_many(decoder):
    tokens, (z, site) = inputs(6), activations(6)
    whole = full_logits(decoder, tokens, z, site)
    ragged = decoder(tokens[:, :-1], z, site, [RaggedRows(2, 4), RaggedRows(3, 7), RaggedRows(1, 13)])
    expected = torch.cat([whole[:2, :4].flatten(0, 1), whole[2:5, :7].flatten(0, 1), whole[5:].flatten(0, 1)])
    torch.testing.assert_close(ragged, expected, rtol=1e-4, atol=1e-4)
    alone = full_logits(decoder, tokens[3:4], z[3:4], site[3:4])
    torch.testing.assert_close(alone, whole[3:4], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_sampling_a_whole_pass_and_scoring_agree(decoder):
    z, site = activations(2)
    drawn = sample(decoder, z, site, 30, temperature=1.5, generator=torch.Generator().manual_seed(0))
    for query in range(2):
        tokens = drawn.tokens[query]
        forced = decoder.log_prob(tokens, z[query].expand(30, -1), site[query].expand(30))
        torch.testing.assert_close(drawn.log_prob[query], forced, rtol=1e-3, atol=1e-3)
        [scored] = score(decoder, tokens, z[query], int(site[query]))
        torch.testing.assert_close(scored.sum(1), forced, rtol=1e-3, atol=1e-3)


def test_the_loss_reaches_all_that_is_trained_and_nothing_else(decoder):
    tokens, (z, site) = inputs(4), activations(4)
    decoder.train().zero_grad()
    decoder(tokens[:, :-1], z, site, None, tokens[:, 1:].flatten()).backward()
    trained = {name: p for name, p in decoder.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.values())
    assert all(p.grad is None for p in decoder.parameters() if not p.requires_grad)
    assert any(name.startswith("body.backbone") for name in trained)
    if decoder.body.config.lora_rank:
        assert all("lora_" in name for name in trained if name.startswith("body.backbone"))
    decoder.eval()


@torch.no_grad()
def test_bf16_is_near_fp32(decoder):
    tokens, (z, site) = inputs(8), activations(8)
    exact = decoder.log_prob(tokens, z, site)
    decoder.compute_dtype = torch.bfloat16
    rough = decoder.log_prob(tokens, z, site)
    decoder.compute_dtype = torch.float32
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.1 * exact.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox", "qwen3"])  # the others' layers slide
def test_without_a_slot_it_is_the_language_model(tmp_path, kind):
    """With a slot that nobody attends to, the logits are those of the model that it was made from."""
    decoder = on_backbone(saved_backbone(tmp_path / kind, kind))
    tokens, (z, site) = inputs(4), activations(4)
    away = masks(decoder.body.backbone.config, 0, 13, torch.float32, tokens.device)
    away[..., 0] = torch.finfo(torch.float32).min
    cache = decoder.start_cache(z, site)
    hidden = decoder.body.backbone.base_model(input_ids=tokens[:, :-1], past_key_values=cache, attention_mask=away,
                                         position_ids=torch.arange(13)[None], use_cache=True)  # fmt: skip
    found = decoder.body.unembedding().logits(hidden.last_hidden_state.flatten(0, 1))
    plain = decoder.body.backbone(input_ids=tokens[:, :-1]).logits[..., :15].flatten(0, 1)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


def test_a_sliding_layer_sees_the_slot_and_the_latest_tokens():
    model = backbone("gemma3_text")
    both = masks(model.config, 0, 7, torch.float32, torch.device("cpu"))
    for row in range(7):
        for column in range(8):
            causal = column <= row + 1
            assert (both["full_attention"][0, 0, row, column] == 0) == causal
            assert (both["sliding_attention"][0, 0, row, column] == 0) == (
                causal and (column == 0 or row - column + 1 < 4)
            )
    later = masks(model.config, 5, 2, torch.float32, torch.device("cpu"))
    for kind, mask in both.items():
        torch.testing.assert_close(later[kind], mask[:, :, 5:])


def test_matrix_parameters_are_new_ones(decoder):
    names = {id(p): n for n, p in decoder.named_parameters()}
    chosen = {names[id(p)] for p in decoder.matrix_parameters()}
    assert {"trunk.input.weight", "body.slots.0.weight"} <= chosen
    assert not any(n.startswith("body.backbone") for n in chosen)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vocab_size": 12}, "12 tokens in its vocabulary, and the task needs 15"),
        ({"max_position_embeddings": 8}, "8 positions"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(tmp_path, changes, says):
    small = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1}
    folder = saved_backbone(tmp_path / "base", "llama", **changes | small)
    with pytest.raises(UserError, match=says):
        on_backbone(folder)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures_pass_the_checks(tmp_path, kind):
    decoder = on_backbone(saved_backbone(tmp_path / "base", kind))
    z, site = activations(1)
    assert sample(decoder, z, site, 5, generator=torch.Generator().manual_seed(0)).log_prob.isfinite().all()


@pytest.mark.parametrize("kind", UNFIT)
def test_an_architecture_without_slots_is_refused_by_name(tmp_path, kind):
    folder = saved_backbone(tmp_path / "base", kind)
    with pytest.raises(UserError, match=f"a model of type {kind} cannot be a decoder's backbone: it"):
        on_backbone(folder)


@torch.no_grad()
def test_of_its_head_only_the_tokens_that_it_writes_are_used(tmp_path):
    """Its other rows are left out, and ids are read as they are."""
    folder, kept = saved_backbone(tmp_path / "base", "gpt2"), (0, 3, 4, 7, 10, 11, 13, 14)
    whole, few = on_backbone(folder), on_backbone(folder, tokens=kept)
    tokens, (z, site) = torch.tensor(kept)[inputs(4) % 8], activations(4)
    tokens[:, 0] = 10
    logits = full_logits(whole, tokens, z, site)[..., list(kept)]
    torch.testing.assert_close(few(tokens[:, :-1], z, site).view(4, 13, 8), logits, rtol=1e-4, atol=1e-4)
    drawn = sample(few, z, site, 40, generator=torch.Generator().manual_seed(0))
    assert set(drawn.tokens.unique().tolist()) <= set(kept)
    torch.testing.assert_close(score(few, drawn.tokens[0], z[0], int(site[0]))[0].sum(1), drawn.log_prob[0],
                               rtol=1e-4, atol=1e-4)  # fmt: skip
    loss = few(tokens, z, site, [RaggedRows(4, 13)], tokens[:, 1:].flatten())
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), few.classes.of(tokens[:, 1:]).flatten(), reduction="sum"))  # fmt: skip
    tokens[:, 1] = 1
    assert (few.log_prob(tokens, z, site) == -torch.inf).all()
