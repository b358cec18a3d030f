"""A decoder comes back as it was, and only for the model that it belongs to."""

import json

import pytest
import torch

from inversionview.decoder.loading import load_decoder, read_decoder, save_decoder
from inversionview.errors import UserError
from inversionview.tasks.addition.task import AdditionTask
from tests.decoder.fake import Probed
from tests.decoder.tiny import tiny_decoder


@pytest.fixture
def saved(tmp_path):
    decoder = tiny_decoder(fingerprint="f" * 64, convention="tl")
    save_decoder(decoder, tmp_path / "decoder")
    return decoder, tmp_path / "decoder"


def test_it_comes_back_to_the_bit(saved):
    decoder, path = saved
    loaded = load_decoder(path, Probed(), AdditionTask())
    assert loaded.config == decoder.config
    assert not loaded.training
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_half_precision_takes_half_the_room_and_is_read_in_full(saved, tmp_path):
    decoder, path = saved
    save_decoder(decoder, tmp_path / "half", half=True)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "half", path)]
    assert 2 * sizes[0] < 1.1 * sizes[1]
    loaded = load_decoder(tmp_path / "half", Probed(), AdditionTask()).state_dict()
    for name, tensor in decoder.state_dict().items():
        assert loaded[name].dtype == tensor.dtype, name
        torch.testing.assert_close(loaded[name], tensor, rtol=2**-11, atol=2**-24)
    with torch.no_grad():
        decoder.body.head.weight[0, 0] = 7e4
    with pytest.raises(UserError, match=r"head\.weight has weights beyond ±65,504"):
        save_decoder(decoder, tmp_path / "large", half=True)
    assert not (tmp_path / "large").exists()


def test_it_is_read_without_the_model_that_it_belongs_to(saved):
    decoder, path = saved
    loaded = read_decoder(str(path), AdditionTask())
    assert loaded.config == decoder.config
    assert torch.equal(loaded.body.head.weight, decoder.body.head.weight)


def test_loading_prints_nothing(saved, capsys):
    load_decoder(saved[1], Probed(), AdditionTask())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("probed", "says"),
    [(Probed(fingerprint="0" * 64), "ffffffffffff.*000000000000"), (Probed(convention="raw"), "'tl'.*'raw'")],
)
def test_another_model_is_refused_and_both_are_named(saved, probed, says):
    with pytest.raises(UserError, match=says):
        load_decoder(saved[1], probed, AdditionTask())


def damage_weights(path):
    with open(path / "model.safetensors", "r+b") as file:
        file.truncate(1000)


def damage_config(path):
    (path / "config.json").write_text('{"sites": ["a0.0"')


def other_version(path):
    fields = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(fields | {"n_experts": 8}))


def other_size(path):
    fields = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(fields | {"trunk_width": 50}))


def remove_weights(path):
    (path / "model.safetensors").unlink()


@pytest.mark.parametrize("damage", [damage_weights, damage_config, other_version, other_size, remove_weights])
def test_a_damaged_decoder_is_named_in_one_line(saved, damage):
    damage(saved[1])
    with pytest.raises(UserError, match="decoder") as error:
        load_decoder(saved[1], Probed(), AdditionTask())
    assert "\n" not in str(error.value)


def test_a_missing_decoder_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no decoder at"):
        load_decoder(tmp_path / "nothing", Probed(), AdditionTask())
