"""A decoder on a language model comes back as it was, with LoRA without a copy of what it was added to."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from inversionview.decoder.loading import load_decoder, save_decoder
from inversionview.errors import UserError
from inversionview.tasks.addition.task import AdditionTask
from tests.decoder.backbones import backbone, on_backbone, saved_backbone
from tests.decoder.fake import Probed
from tests.decoder.tiny import activations, inputs


@pytest.fixture(params=[("gpt2", 0), ("gpt2", 2), ("gemma3_text", 0), ("gemma3_text", 2)], ids=str)
def saved(request, tmp_path):
    kind, rank = request.param
    base = saved_backbone(tmp_path / "base", kind)
    decoder = on_backbone(base, rank, fingerprint="f" * 64, convention="tl")
    save_decoder(decoder, tmp_path / "decoder")
    return decoder, tmp_path


@torch.no_grad()
def test_it_comes_back_to_the_bit(saved):
    decoder, folder = saved
    loaded = load_decoder(folder / "decoder", Probed(), AdditionTask())
    assert loaded.config == decoder.config
    assert not loaded.training
    tokens, (z, site) = inputs(4), activations(4)
    assert torch.equal(loaded.log_prob(tokens, z, site), decoder.log_prob(tokens, z, site))


def test_the_base_is_needed_with_lora_only(saved):
    decoder, folder = saved
    (folder / "base").rename(folder / "elsewhere")
    if decoder.body.config.lora_rank:
        with pytest.raises(UserError, match="base"):
            load_decoder(folder / "decoder", Probed(), AdditionTask())
    else:
        load_decoder(folder / "decoder", Probed(), AdditionTask())


def test_with_lora_no_weight_of_the_base_is_kept_and_another_base_is_refused(saved):
    decoder, folder = saved
    names = list(load_file(folder / "decoder" / "model.safetensors"))
    if not decoder.body.config.lora_rank:
        assert "backbone.lm_head.weight" not in names, "tied weights are kept once"
        return
    assert all("lora_" in name for name in names if name.startswith("backbone"))
    backbone(decoder.body.config.backbone["model_type"], seed=1).save_pretrained(folder / "base")
    with pytest.raises(UserError, match="has changed since"):
        load_decoder(folder / "decoder", Probed(), AdditionTask())


@pytest.mark.parametrize(
    ("probed", "says"),
    [(Probed(fingerprint="0" * 64), "ffffffffffff.*000000000000"), (Probed(convention="raw"), "'tl'.*'raw'")],
)
def test_another_probed_model_is_refused_and_both_are_named(saved, probed, says):
    with pytest.raises(UserError, match=says):
        load_decoder(saved[1] / "decoder", probed, AdditionTask())


@pytest.mark.parametrize("changes", [{"backbone": {}}, {"backbone": {"model_type": "no such"}}, {"n_experts": 8}])
def test_a_damaged_configuration_is_named_in_one_line(saved, changes):
    file = saved[1] / "decoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_rank": 0} | changes))
    with pytest.raises(UserError, match="decoder") as error:
        load_decoder(saved[1] / "decoder", Probed(), AdditionTask())
    assert "\n" not in str(error.value)


def test_weights_of_another_size_are_refused(saved):
    file = saved[1] / "decoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"trunk_width": 50}))
    with pytest.raises(UserError, match="decoder"):
        load_decoder(saved[1] / "decoder", Probed(), AdditionTask())


def test_without_the_package_lora_says_what_to_install(tmp_path, monkeypatch):
    base = saved_backbone(tmp_path / "base", "gpt2")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install peft"):
        on_backbone(base, 2)
