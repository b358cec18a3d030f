"""A model that accelerate has spread over devices is read like any other; here all of them are the CPU.

What no machine without GPUs can show is that every tensor is on the right one of two.
"""

import copy

import pytest
import torch
from accelerate import dispatch_model

from inversionview.errors import UserError
from inversionview.probed.model import Patch, ProbedModel
from inversionview.probed.readout import Readout
from tests.probed.spread import spread
from tests.probed.tiny import some_tokens, tiny

KINDS = ("gpt2", "llama", "gemma2")


@pytest.fixture(params=KINDS)
def both(request):
    plain, hooked = tiny(request.param), spread(request.param)
    assert hasattr(hooked.base_model, "_hf_hook") or any(hasattr(m, "_hf_hook") for m in hooked.modules())
    return ProbedModel(plain), ProbedModel(hooked)


def test_what_is_read_is_the_same(both):
    plain, hooked = both
    rows, at = some_tokens(5, 8), torch.tensor([7, 1, 3, 0, 4])
    for positions in (None, at, 3):
        expected, found = (model.capture(rows, model.sites, positions) for model in (plain, hooked))
        for site, values in expected.items():
            torch.testing.assert_close(found[site], values)
    whole, parts = (model.capture_prefixes(rows, "x1.post", range(8)) for model in (plain, hooked))
    for site, values in whole.at.items():
        assert all(torch.equal(parts.at[site][t], value) for t, value in values.items())
    assert hooked.fingerprint == plain.fingerprint


def test_what_is_changed_and_looked_at_is_the_same(both):
    plain, hooked = both
    rows = some_tokens(3, 8)
    for site in ("x0.pre", "x0.mid", "a1.2", "attn0", "m1", "x1.post"):
        patches = [Patch(site, torch.tensor([2, 5, 0]), torch.ones(plain.d_model))]
        torch.testing.assert_close(hooked.logits(rows, patches), plain.logits(rows, patches))
        found = hooked.logits(rows, patches, positions=6)
        torch.testing.assert_close(found, plain.logits(rows, patches, positions=6))
    for layer in range(2):  # by a copy of the attention, which must not run the original's forward
        found = hooked.attention(rows, layer)
        torch.testing.assert_close(found, plain.attention(rows, layer))
        torch.testing.assert_close(found.sum(dim=-1), torch.ones(found.shape[:-1]))
    stream = plain.capture(rows, "x1.post", 7)
    (values,) = stream.values()
    for model in (plain, hooked):
        assert torch.equal(Readout(model).contributions(values, values), Readout(plain).contributions(values, values))


def test_a_model_is_spread_when_it_is_loaded(tmp_path):
    tiny("llama").save_pretrained(tmp_path)
    rows = some_tokens()
    plain = ProbedModel.from_pretrained(tmp_path, device="cpu")
    for device_map in ("auto", {"": "cpu"}):
        probed = ProbedModel.from_pretrained(tmp_path, device_map=device_map)
        torch.testing.assert_close(probed.logits(rows), plain.logits(rows))
        assert probed.fingerprint == plain.fingerprint


def test_what_does_not_fit_is_said(tmp_path):
    tiny("llama").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="unknown device_map 'everywhere': use auto, balanced"):
        ProbedModel.from_pretrained(tmp_path, device_map="everywhere")
    with pytest.raises(UserError, match="a device or a device_map, not both"):
        ProbedModel.from_pretrained(tmp_path, device="cpu", device_map="auto")
    names = ["model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head"]
    map_ = dict.fromkeys(names, "cpu") | {"model.layers.1": "disk"}
    offloaded = dispatch_model(copy.deepcopy(tiny("llama")), map_, main_device="cpu", offload_dir=tmp_path / "disk")
    with pytest.raises(UserError, match=r"not in memory \(offloaded\): use bfloat16, or devices that hold all of it"):
        ProbedModel(offloaded)
