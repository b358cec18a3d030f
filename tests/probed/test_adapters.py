"""Adapters of PEFT: merged into their base, and refused in one line where that cannot be."""

import copy
import json

import peft
import pytest
import torch

from inversionview.errors import UserError
from inversionview.probed import adapters
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from tests.probed.tiny import some_tokens, tiny
from tests.tokenizers import byte_tokenizer

TOKENS = some_tokens()
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
MODULES = ["q_proj", "v_proj", "o_proj", "down_proj"]


def wrapped(**options):
    """A model with an adapter that changes it a lot."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=MODULES, init_lora_weights=False, **options)
    return peft.get_peft_model(copy.deepcopy(tiny("llama")), config).eval()


@pytest.fixture
def base(tmp_path):
    tiny("llama").save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def adapter(base, tmp_path):
    model = wrapped()
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def describe(adapter, **fields):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def expected():
    with torch.no_grad():
        return wrapped()(TOKENS).logits


def test_an_adapter_is_merged_into_the_base_that_it_names_and_that_is_said(adapter, base, caplog):
    probed = ProbedModel.from_pretrained(adapter, device="cpu")
    assert torch.allclose(probed.logits(TOKENS), expected(), atol=1e-4)
    assert not torch.allclose(probed.logits(TOKENS), tiny("llama")(TOKENS).logits, atol=1e-2)
    assert f"the adapter in {adapter} is merged into {base}" in caplog.text
    heads = [Site("head", 1, head) for head in range(4)]
    values = probed.capture(TOKENS, [*heads, "attn1"])
    bias = probed.model.model.layers[1].self_attn.o_proj.bias
    assert torch.allclose(sum(values[head] for head in heads) + bias, values[Site("attn_out", 1)], atol=1e-4)


def test_a_base_that_is_given_or_lies_beside_it(adapter, base):
    describe(adapter, base_model_name_or_path="base")
    with pytest.raises(UserError, match=r"the base of the adapter in .* cannot be had \(base, --base gives another\)"):
        ProbedModel.from_pretrained(adapter, device="cpu")
    given = ProbedModel.from_pretrained(adapter, base=base, device="cpu")
    assert torch.allclose(given.logits(TOKENS), expected(), atol=1e-4)
    base.rename(adapter / "base")
    assert ProbedModel.from_pretrained(adapter, device="cpu").fingerprint == given.fingerprint
    describe(adapter, base_model_name_or_path=None)
    with pytest.raises(UserError, match="does not say what its base is: give it"):
        ProbedModel.from_pretrained(adapter, device="cpu")


def test_the_adapters_own_tokenizer_goes_before_the_bases(adapter, base):
    byte_tokenizer().save_pretrained(base)
    assert ProbedModel.from_pretrained(adapter, device="cpu").tokenizer("a b").input_ids
    own = copy.deepcopy(byte_tokenizer())
    own.add_tokens(["<own>"])
    own.save_pretrained(adapter)
    assert len(ProbedModel.from_pretrained(adapter, device="cpu").tokenizer) == len(own)


@pytest.mark.parametrize("other", ["gpt2", "wider", "shallower", "deeper"])
def test_an_adapter_for_another_base_is_one_line(other, adapter, tmp_path):
    changes = {
        "wider": {"intermediate_size": 28},
        "shallower": {"num_hidden_layers": 1},
        "deeper": {"num_hidden_layers": 3},
    }
    model = tiny("llama")
    if other == "gpt2":
        model = tiny("gpt2")
    else:
        config = copy.deepcopy(model.config)
        config.update(changes[other] | ({"layer_types": None} if hasattr(config, "layer_types") else {}))
        model = type(model)(config)
    model.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="does not fit this base; it was made for") as caught:
        ProbedModel.from_pretrained(adapter, base=tmp_path / "other", device="cpu")
    assert "\n" not in str(caught.value)


def test_damaged_adapters_are_one_line(adapter):
    weights = adapter / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-7])
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is damaged or truncated"):
        ProbedModel.from_pretrained(adapter, device="cpu")
    weights.rename(adapter / "adapter_model.bin")
    with pytest.raises(UserError, match="pickled, which is never read"):
        ProbedModel.from_pretrained(adapter, device="cpu")
    (adapter / "adapter_config.json").write_text("[]")
    with pytest.raises(UserError, match="is no configuration of an adapter"):
        ProbedModel.from_pretrained(adapter, device="cpu")


def test_an_adapter_that_cannot_be_merged(base, tmp_path):
    prompts = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    peft.get_peft_model(copy.deepcopy(tiny("llama")), prompts).save_pretrained(tmp_path / "prompts")
    with pytest.raises(UserError, match="which cannot be merged into weights"):
        ProbedModel.from_pretrained(tmp_path / "prompts", base=base, device="cpu")


def test_without_its_package_one_line_says_what_to_install(adapter, monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package peft: pip install peft"):
        ProbedModel.from_pretrained(adapter, device="cpu")


def test_a_model_takes_no_base(base):
    with pytest.raises(UserError, match="is a model and no adapter, so it needs no base"):
        ProbedModel.from_pretrained(base, base=base)


def injected():
    model = copy.deepcopy(tiny("llama"))
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=MODULES), model)
    return model


@pytest.mark.parametrize("make", [wrapped, lambda: wrapped().base_model.model, injected])
def test_a_model_with_an_adapter_beside_its_weights_is_refused_and_merged_it_is_read(make):
    model = make()
    with pytest.raises(UserError, match=r"has an adapter beside its weights: give model\.merge_and_unload\(\)"):
        ProbedModel(model)
    if isinstance(model, peft.PeftModel):
        merged = ProbedModel(copy.deepcopy(model).merge_and_unload())
        assert torch.allclose(merged.logits(TOKENS), expected(), atol=1e-4)


def test_what_is_no_model():
    with pytest.raises(UserError, match=r"ProbedModel\.from_pretrained\('gpt2'\)"):
        ProbedModel("gpt2")
    with pytest.raises(UserError, match="not dict"):
        ProbedModel({})
