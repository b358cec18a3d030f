"""GPT-2 in plain PyTorch, against transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

import inversionview as iv
from inversionview.decoder.backbone import backbone_of
from inversionview.probed.gpt2 import GPT2, plain_gpt2
from inversionview.probed.loading import load, load_plain

NO_DROPOUT = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
SIZES = {
    "vocab_size": 19,
    "n_positions": 12,
    "n_embd": 24,
    "n_layer": 3,
    "n_head": 4,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
TOKENS = torch.arange(6 * 9).view(6, 9) * 7 % 19


def kept(folder: Path, *, seed: int = 0, **fields: Any) -> GPT2LMHeadModel:
    """A random model of transformers, with weights large enough to matter, kept in a folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = GPT2Config(**{**SIZES, **NO_DROPOUT, "initializer_range": 0.3, **fields})
        model = GPT2LMHeadModel(config)
        for parameter in model.parameters():  # biases and norms too
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    theirs: GPT2LMHeadModel = GPT2LMHeadModel.from_pretrained(folder).eval()
    return theirs


def plain(folder: Path, numbers: torch.dtype | None = None) -> GPT2:
    model = plain_gpt2(folder, numbers)
    assert model is not None
    return model.eval()


@pytest.fixture(params=[{}, {"activation_function": "gelu_pytorch_tanh", "n_inner": 40}, {"n_head": 1}])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[GPT2LMHeadModel, GPT2]:
    return kept(tmp_path, **request.param), plain(tmp_path)


def same(ours: Tensor | None, theirs: Tensor | None) -> None:
    assert ours is not None
    assert theirs is not None
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@torch.no_grad()
def test_every_number_is_that_of_transformers(both: tuple[GPT2LMHeadModel, GPT2]) -> None:
    theirs, ours = both
    expected, output = theirs(TOKENS, output_hidden_states=True), ours(TOKENS, output_hidden_states=True)
    same(output.logits, expected.logits)
    for state, other in zip(output.hidden_states, expected.hidden_states, strict=True):
        same(state, other)
    last = torch.tensor([2, 5])
    same(ours(TOKENS, logits_to_keep=last).logits, expected.logits[:, last])
    same(ours(TOKENS, logits_to_keep=3).logits, theirs(TOKENS, logits_to_keep=3).logits)


@torch.no_grad()
@pytest.mark.parametrize("more", [1, 4])
def test_what_goes_on_from_a_cache_does_so_as_in_transformers(both: tuple[GPT2LMHeadModel, GPT2], more: int) -> None:
    outputs = []
    rows = torch.tensor([3, 0, 0, 5, 1, 4])
    for model in both:
        cache = model(TOKENS[:, :5], use_cache=True).past_key_values
        cache.reorder_cache(rows)
        outputs.append(model(TOKENS[:, 5 : 5 + more], past_key_values=cache, use_cache=True).logits)
        assert cache.get_seq_length() == 5 + more
    same(*outputs)


def test_a_probed_model_of_it_is_that_of_transformers(both: tuple[GPT2LMHeadModel, GPT2]) -> None:
    theirs, ours = (iv.ProbedModel(model, convention="tl") for model in both)
    assert ours.fingerprint == theirs.fingerprint
    assert ours.sites == theirs.sites
    expected = theirs.capture(TOKENS, theirs.sites)
    for site, value in ours.capture(TOKENS, ours.sites).items():
        same(value, expected[site])
    same(ours.attention(TOKENS, 1), theirs.attention(TOKENS, 1))
    positions = [2, 4, 7]
    trees = [
        model.capture_prefixes(TOKENS.sort(0).values, model.select_sites("heads"), positions).at
        for model in (ours, theirs)
    ]
    for site, by_position in trees[0].items():
        for position, value in by_position.items():
            same(value, trees[1][site][position])


def test_patches_act_as_on_transformers(both: tuple[GPT2LMHeadModel, GPT2]) -> None:
    logits = []
    for model in both:
        probed = iv.ProbedModel(model)
        value = probed.capture(TOKENS.flip(0), "a1.0", 4)[probed.site("a1.0")]
        patch = iv.Patch("a1.0", 4, value)
        whole = probed.logits(TOKENS, [patch], positions=8)
        again = probed.rerun(probed.clean_run(TOKENS, 3), [patch], positions=8)
        torch.testing.assert_close(again, whole, rtol=1e-5, atol=1e-5)
        first, past = probed.next_logits(TOKENS[:, :4])
        after, _ = probed.next_logits(TOKENS[:, 4:6], past)
        logits.append([whole, again, first, after])
    for ours, theirs in zip(*logits, strict=True):
        same(ours, theirs)


def test_it_becomes_one_of_transformers_and_is_saved_as_one(both: tuple[GPT2LMHeadModel, GPT2], tmp_path: Path) -> None:
    theirs, ours = both
    made = ours.to_transformers()
    assert isinstance(made, GPT2LMHeadModel)
    assert made.lm_head.weight is made.transformer.wte.weight
    same(made(TOKENS).logits, theirs(TOKENS).logits)
    assert made.transformer.wpe.weight.data_ptr() == ours.transformer.wpe.weight.data_ptr(), "on the same weights"
    ours.save_pretrained(tmp_path / "again")
    same(GPT2LMHeadModel.from_pretrained(tmp_path / "again")(TOKENS).logits, theirs(TOKENS).logits)
    same(plain(tmp_path / "again")(TOKENS).logits, ours(TOKENS).logits)


def test_a_decoder_can_be_made_of_it(tmp_path: Path) -> None:
    theirs = kept(tmp_path)
    backbone = backbone_of(iv.ProbedModel(plain(tmp_path)), shared=True)
    assert isinstance(backbone, GPT2LMHeadModel)
    same(backbone(TOKENS).logits, theirs(TOKENS).logits)


def test_numbers_of_another_type(tmp_path: Path) -> None:
    theirs = kept(tmp_path).to(torch.bfloat16)
    ours = plain(tmp_path, torch.bfloat16)
    assert ours.dtype == torch.bfloat16
    same(ours(TOKENS).logits, theirs(TOKENS).logits)
    theirs.save_pretrained(tmp_path / "half")
    assert plain(tmp_path / "half").dtype == torch.bfloat16


@pytest.mark.parametrize(
    "fields",
    [
        {"resid_pdrop": 0.1},
        {"activation_function": "relu"},
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False},
        {"tie_word_embeddings": False},
    ],
)
def test_what_it_does_not_compute_is_left_to_transformers(tmp_path: Path, fields: dict[str, Any]) -> None:
    kept(tmp_path, **fields)
    assert plain_gpt2(tmp_path, None) is None
    assert load_plain(tmp_path) is None
    assert isinstance(load(tmp_path)[0], GPT2LMHeadModel)


def test_a_folder_that_is_not_whole_is_left_to_transformers(tmp_path: Path) -> None:
    model = kept(tmp_path)
    model.config.n_layer = 4  # the weights lack a layer
    model.config.save_pretrained(tmp_path)
    assert plain_gpt2(tmp_path, None) is None
    assert load_plain(tmp_path) is None
    with pytest.raises(iv.UserError, match="lack 12 of the model's tensors"):
        load(tmp_path)


def test_it_is_for_those_alone_who_ask_for_it(tmp_path: Path) -> None:
    kept(tmp_path)
    before = torch.get_rng_state()
    plain_model, tokenizer = load_plain(tmp_path) or (None, None)
    assert isinstance(plain_model, GPT2)
    assert tokenizer is None
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(iv.ProbedModel.from_pretrained(tmp_path).model, GPT2LMHeadModel)
