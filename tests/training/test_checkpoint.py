"""Checkpoints: complete, checked, and named when damaged."""

import json
import os

import pytest
import torch
from torch import nn

from inversionview.errors import UserError
from inversionview.training import TrainingConfig, saved_config
from inversionview.training.checkpoint import (
    Checkpoint,
    Progress,
    load_checkpoint,
    load_module_tensors,
    module_tensors,
    newest_checkpoint,
    save_checkpoint,
)
from tests.training.toy import Net, config


def checkpoint(step=7, net=None):
    progress = Progress("float32", step=step, total_steps=30, loss_sum=0.1 + 0.2, loss_count=2, parts={"batch": 1.5})
    tensors = module_tensors(net or Net())
    return Checkpoint(config().to_json(), progress, {"weights": [0.5]}, tensors, {"a/step": torch.tensor(3.0)})


def test_it_is_read_as_it_was_written(tmp_path):
    saved = checkpoint()
    path = save_checkpoint(tmp_path, saved)
    read = load_checkpoint(path)
    assert (read.config, read.progress, read.objective) == (saved.config, saved.progress, saved.objective)
    for own, other in ((read.module, saved.module), (read.optimizer, saved.optimizer)):
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)
    assert saved_config(tmp_path) == config()


def test_only_the_newest_is_kept(tmp_path):
    save_checkpoint(tmp_path, checkpoint(9))
    (tmp_path / ".checkpoint-00000005.part").mkdir()
    assert newest_checkpoint(tmp_path).name == "checkpoint-00000009"
    save_checkpoint(tmp_path, checkpoint(10))
    assert os.listdir(tmp_path) == ["checkpoint-00000010"]
    (tmp_path / "checkpoint-00000009").mkdir()  # as a kill before the removal leaves it
    assert newest_checkpoint(tmp_path).name == "checkpoint-00000010"


def test_tied_weights_and_buffers_go_through(tmp_path):
    nets = [nn.Sequential(Net(), nn.BatchNorm1d(3)) for _ in range(2)]
    nets[0][1].running_mean += 5
    assert "0.head.weight" not in module_tensors(nets[0])
    path = save_checkpoint(tmp_path, checkpoint(net=nets[0]))
    load_module_tensors(nets[1], load_checkpoint(path).module)
    assert nets[1][0].head.weight is nets[1][0].embed.weight
    state = nets[1].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in nets[0].state_dict().items())


def test_another_model_is_refused():
    saved = module_tensors(Net())
    with pytest.raises(UserError, match=r"another model: bias is nothing there and \(2,\) here"):
        load_module_tensors(nn.Linear(3, 2), saved)
    with pytest.raises(UserError, match=r"down\.bias is \(9,\) there and \(8,\) here"):
        load_module_tensors(Net(), saved | {"down.bias": torch.zeros(9)})


def flip_a_byte(file):
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-5])


def without(key):
    def spoil(file):
        state = json.loads(file.read_text())
        del state[key]
        file.write_text(json.dumps(state))

    return spoil


@pytest.mark.parametrize(("name", "damage", "said"), [
    ("module.safetensors", truncate, "is damaged or truncated"),
    ("optimizer.safetensors", flip_a_byte, "is damaged: its contents"),
    ("optimizer.safetensors", os.remove, "there is no tensor file at"),
    ("state.json", truncate, "is damaged or truncated"),
    ("state.json", os.remove, "there is no state of the checkpoint at"),
    ("state.json", without("progress"), "is damaged: progress"),
    ("state.json", without("schema"), "is not the state of a checkpoint"),
    ("state.json", lambda file: file.write_text("[]"), "is not the state of a checkpoint"),
])  # fmt: skip
def test_a_damaged_file_is_named(tmp_path, name, damage, said):
    path = save_checkpoint(tmp_path, checkpoint())
    damage(path / name)
    with pytest.raises(UserError, match=said) as caught:
        load_checkpoint(path)
    assert str(path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_of_another_version_is_refused(tmp_path):
    saved = checkpoint()
    saved.config["unheard_of"] = 1
    save_checkpoint(tmp_path, saved)
    with pytest.raises(UserError, match="another version"):
        saved_config(tmp_path)


@pytest.mark.parametrize(("fields", "said"), [
    ({}, "give steps or minutes"),
    ({"steps": 5, "minutes": 1}, "not both"),
    ({"steps": 0}, "steps must be a number of at least 1, not 0"),
    ({"minutes": 0}, "minutes must be more than 0"),
    ({"minutes": float("nan")}, "minutes must be more than 0"),
    ({"steps": 5, "batch_size": 0}, "batch_size"),
    ({"steps": 5, "learning_rate": float("inf")}, "learning_rate"),
    ({"steps": 5, "seed": -1}, "a seed is a whole number from 0 to"),
    ({"steps": 5, "final_fraction": 1.5}, "final_fraction must lie between 0 and 1"),
    ({"steps": 5, "precision": "fp16"}, "precision must be one of auto, fp32, bf16, not 'fp16'"),
])  # fmt: skip
def test_a_config_that_cannot_be_meant_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        TrainingConfig(**fields)
