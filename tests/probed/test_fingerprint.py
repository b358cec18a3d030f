import os
import subprocess
import sys

import pytest
import torch
from transformers import GPT2LMHeadModel

from inversionview.probed.model import ProbedModel
from tests.paths import ROOT
from tests.probed.tiny import MODELS, tiny


def fingerprint(model):
    return ProbedModel(model).fingerprint


def test_the_same_weights_have_the_same_fingerprint_wherever_they_are(tmp_path):
    model = tiny("gpt2")
    expected = fingerprint(model)
    assert len(expected) == 64
    model.save_pretrained(tmp_path)
    assert ProbedModel.from_pretrained(tmp_path, device="cpu").fingerprint == expected
    command = (
        "import sys; from tests.probed.test_fingerprint import *; "
        "print(fingerprint(GPT2LMHeadModel.from_pretrained(sys.argv[1])))"
    )
    run = subprocess.run(
        [sys.executable, "-c", command, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == expected


def test_the_fingerprint_of_a_model_that_was_seen_before():
    # Decoders are saved with it: if it has to change, theirs do too.
    model = GPT2LMHeadModel(tiny("gpt2").config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    assert fingerprint(model) == "8068a2648804ca67e8c2738876c5f00390f059490cdcfddf0649f842054057d3"


@pytest.mark.parametrize("name", MODELS)
def test_another_value_of_any_weight_is_another_fingerprint(name):
    model = tiny(name)
    probed = ProbedModel(model)
    seen = {probed.fingerprint}
    parameters = [p for key, p in model.named_parameters() if "vision" not in key and "projector" not in key]
    for parameter in parameters:
        with torch.no_grad():
            parameter.view(-1)[-1] += 1
        seen.add(probed.fingerprint)
    assert len(seen) == 1 + len(parameters)


def test_what_is_not_a_weight_but_changes_activations_counts():
    model = tiny("llama")
    expected = fingerprint(model)
    for field, value in (
        ("rms_norm_eps", 0.1),
        ("hidden_act", "relu"),
        ("rope_parameters", {"rope_theta": 7.0, "rope_type": "default"}),
    ):
        other = tiny("llama")
        setattr(other.config, field, value)
        assert fingerprint(other) != expected, field


def test_what_changes_no_activation_does_not():
    model = tiny("gpt2")
    expected = fingerprint(model)
    model.config.update({"attn_pdrop": 0.9, "bos_token_id": 3, "use_cache": False, "_name_or_path": "elsewhere"})
    assert fingerprint(model.train()) == expected
    assert fingerprint(model.transformer) == expected  # the head is the embedding
    assert fingerprint(tiny("gpt2", seed=1)) != expected


def test_number_types_are_told_apart():
    assert fingerprint(tiny("gpt2").double()) != fingerprint(tiny("gpt2"))
