"""The plan for large models adds up."""

import dataclasses
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import Transformer
from inversionview.decoder.model import DecoderConfig, own_decoder
from inversionview.decoder.pretrained import self_decoder
from inversionview.probed.model import ProbedModel
from research import scale
from tests.probed.tiny import some_tokens, tiny


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "qwen3"])
def test_a_probed_model_s_flops_and_weights_are_those_that_torch_counts(kind):
    model = tiny(kind)
    model.set_attn_implementation("eager")
    shape = Transformer.of(model.config)
    rows = some_tokens(3, 9)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.base_model(rows, use_cache=False)
        of_layers = counter.get_total_flops()
        model(rows, use_cache=False)
    assert 3 * shape.forward_flops(9) == of_layers - other_flops(counter)
    assert 3 * shape.forward_flops(9, logits=9) == counter.get_total_flops() - of_layers - other_flops(counter)
    assert shape.forward_flops(9, layers=1) == shape.forward_flops(9) / 2
    matrices = {p for name, p in model.named_parameters() if p.ndim == 2 and "wpe" not in name}
    assert shape.weights == sum(p.numel() for p in matrices)


def other_flops(counter):
    """Of rotary positions, which make their angles by a product."""
    found = counter.get_flop_counts()
    return sum(n for name, of in found.items() if name.endswith("RotaryEmbedding") for n in of.values()) / 2


def test_the_models_are_as_large_as_their_names_say():
    assert scale.MODELS["Mistral 7B"].weights == pytest.approx(7.24e9, rel=0.002)
    assert scale.MODELS["Llama 3 70B"].weights == pytest.approx(70.55e9, rel=0.002)
    assert scale.BACKBONE.weights == pytest.approx(354e6, rel=0.005)


def test_a_decoder_of_its_own_has_so_many_weights():
    model = dataclasses.replace(scale.MODELS["Mistral 7B"], d_model=64, vocab_size=100)
    config = scale.scratch_decoder(model, scale.Study())
    with torch.device("meta"):
        matrices = [p for name, p in own_decoder(config).named_parameters() if p.ndim == 2]
    small = len(config.sites) * config.d_model + config.max_length * config.d_model
    assert scale.scratch_weights(config) == sum(p.numel() for p in matrices) - small


@pytest.mark.parametrize("per_input", [1, 4])
def test_how_far_inputs_are_run_on_average(per_input):
    study = scale.Study(per_input=per_input)
    drawn = torch.randint(1, study.length - 1, (200_000, per_input), generator=torch.Generator().manual_seed(0))
    assert scale.longest(study) == pytest.approx(float((drawn.amax(dim=1) + 1).float().mean()), rel=0.01)


def test_costs_grow_as_they_should():
    small, large = scale.MODELS.values()
    study, twice = scale.Study(), scale.Study(activations=4_000_000)
    assert scale.jobs(small, twice)["training: activations"] == 2 * scale.jobs(small, study)["training: activations"]
    assert scale.probed_flops(large, study) > 8 * scale.probed_flops(small, study)
    assert scale.memory(small, 1e6, study)["weights of the probed model, bf16"] == 2 * small.weights
    assert scale.hours(scale.Hardware().peak * 3600, 0.5, scale.Hardware()) == pytest.approx(2)


def test_the_page_says_what_was_measured_and_how_many_gpus_it_takes(tmp_path):
    page = scale.page(folder=tmp_path)
    assert "Nothing yet with this version" in page
    rows = [{"name": name, "value": 12.3456, "unit": "of them", "detail": "so"} for name in scale.WANTED]
    for day, told in (("2026-11-25", rows), ("2026-11-26", rows[:-1])):  # the later one lacks what the page tells
        content = {"machine": {"cores": 2, "processor": "some", "load_before": 3.5}, "rows": told}
        (tmp_path / f"{day}-text_training.json").write_text(json.dumps(content))
    page = scale.page(folder=tmp_path)
    assert "| against capture into lists and Trainer | 12.3 of them | so |" in page
    assert "benchmarks/results/2026-11-25-text_training.md" in page
    days = 2e6 * scale.probed_flops(scale.MODELS["Mistral 7B"], scale.Study()) / 12.3456e9 / 86400
    assert f"would take {days:,.0f} days" in page
    assert "GB: 1 GPU**" in page.partition("## Mistral 7B")[2].partition("## Llama")[0]
    assert "GB: 3 GPUs**" in page.partition("## Llama")[2]
    assert "This is a plan on paper" in page


def test_a_decoder_of_the_model_itself_costs_what_torch_counts():
    """Frozen weights take two passes in place of three, and LoRA's matrices three."""
    probed = ProbedModel(tiny("llama"))
    shape, tokens = Transformer.of(probed.model.config), some_tokens(3, 9)
    sizes = {"d_activation": 1, "d_model": 1, "trunk_blocks": 0, "n_frequencies": 0}
    config = DecoderConfig(("x0.pre",), vocab_size=17, max_length=10, begin=1, end=2, pad=0, **sizes | {"d_model": 16})
    decoder = self_decoder(config, probed, 2)
    adapters = [p for name, p in decoder.named_parameters() if "lora_" in name]
    assert scale.lora_weights(shape, 2) == sum(p.numel() for p in adapters)
    with FlopCounterMode(display=False) as counter:
        decoder(tokens, torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), None, tokens.flatten()).backward()
    counted = 3 * (2 * shape.forward_flops(9, logits=9) + 6 * 9 * scale.lora_weights(shape, 2))
    assert counter.get_total_flops() == pytest.approx(counted, rel=0.1)  # slots, and no gradient to the first token


def test_the_runs_on_one_gpu_are_told_as_computed():
    page = scale.page().partition("## One GPU")[2]
    assert page.lstrip().startswith("Computed, not measured")
    assert set(scale.runs_on_one_gpu()) == {"addition", "ioi in SmolLM2", "text in SmolLM2, from self"}
    of_self = scale.runs_on_one_gpu()["text in SmolLM2, from self"]
    assert of_self[1] == pytest.approx(4 * 12 * scale.SMOLLM2.weights, rel=0.15)
