"""All that a run needs to go on as if it had never stopped.

A checkpoint is a folder `checkpoint-00001200`, named after the steps done: it appears whole, by a rename, and only then
are the older ones removed. So at every moment the newest there is a complete one. It holds `module.safetensors`,
`optimizer.safetensors` and `state.json`, which keeps the sums of the other two.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inversionview.errors import UserError
from inversionview.files import atomic_folder, read_json, read_tensors, write_json, write_tensors
from inversionview.training.config import TrainingConfig

SCHEMA = 1
_TENSORS = ("module", "optimizer")
_MAY_CHANGE = {"checkpoint_every_seconds"}


@dataclass
class Progress:
    """How far a run is: what changes from step to step beside tensors.

    The random state is among it: torch's generators are seeded at every step from the seed and the step.
    """

    dtype: str
    """What it computes in, "float32" or "bfloat16"."""
    step: int = 0
    """Steps done, which is also the position in the data."""
    total_steps: int | None = None
    """Length of the run; None while the minutes are not yet turned into steps."""
    loss_sum: float = 0.0
    """Sum of the losses since the last line of metrics ..."""
    loss_count: int = 0
    """... and how many they are."""
    seconds: float = 0.0
    """Wall time spent."""
    parts: dict[str, float] = field(default_factory=dict)
    """Wall time by part."""


@dataclass
class Checkpoint:
    """What is saved."""

    config: dict[str, Any]
    progress: Progress
    objective: dict[str, Any]
    module: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]


def save_checkpoint(out: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint into the folder `out` and remove the older ones; give its path.

    Raises `UserError` when it cannot be written (a full disk); the last good one then stays.
    """
    path = out / f"checkpoint-{checkpoint.progress.step:08d}"
    with atomic_folder(path) as part:
        for name in _TENSORS:
            write_tensors(part / f"{name}.safetensors", getattr(checkpoint, name))
        state = {
            "schema": SCHEMA,
            "config": checkpoint.config,
            "progress": asdict(checkpoint.progress),
            "objective": checkpoint.objective,
            "sha256": {name: _sum(part / f"{name}.safetensors") for name in _TENSORS},
        }
        write_json(part / "state.json", state)
    for other in [*out.glob("checkpoint-*"), *out.glob(".checkpoint-*")]:
        if other.is_dir() and other != path:
            shutil.rmtree(other, ignore_errors=True)
        elif other.is_file():  # the claim of a run that was killed
            other.unlink(missing_ok=True)
    return path


def newest_checkpoint(out: Path) -> Path:
    """Give the newest checkpoint in the folder of a run; raises `UserError` when there is none."""
    folders = sorted(path for path in out.glob("checkpoint-*") if path.is_dir())
    if not folders:
        raise UserError(f"there is no checkpoint in {out} to resume from; start the run without resuming")
    return folders[-1]


def has_checkpoint(out: Path) -> bool:
    """Whether the run in this folder can be resumed."""
    return any(path.is_dir() for path in out.glob("checkpoint-*"))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; raises `UserError` naming the file that is missing, damaged or from another version."""
    state = _read_state(path)
    tensors = {}
    for name in _TENSORS:
        file = path / f"{name}.safetensors"
        tensors[name] = read_tensors(file)
        if _sum(file) != state["sha256"][name]:
            raise UserError(f"{file} is damaged: its contents are not those that were saved")
    return Checkpoint(state["config"], state["progress"], state["objective"], **tensors)


def saved_config(out: str | Path) -> TrainingConfig:
    """Read the config of a run from its newest checkpoint, to resume it without repeating what it was told."""
    path = newest_checkpoint(Path(out))
    try:
        return TrainingConfig(**_read_state(path)["config"])
    except TypeError as error:
        raise UserError(f"{path / 'state.json'} is of another version of inversionview: {error}") from error


def check_same_config(path: Path, saved: dict[str, Any], config: TrainingConfig) -> None:
    """Raise `UserError` naming what differs, if a run would be resumed with another config than it was started with."""
    now = config.to_json()
    for name in sorted((saved.keys() | now.keys()) - _MAY_CHANGE):
        if saved.get(name) != now.get(name):
            raise UserError(
                f"the run in {path.parent} was started with {name} {saved.get(name)}, not {now.get(name)}; "
                f"resume it with that, or start a new one in another folder"
            )


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Give parameters and buffers by name, tied ones once, under their first name."""
    seen: dict[int, str] = {}
    state = module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if seen.setdefault(id(tensor), name) == name}


def load_module_tensors(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str = "the checkpoint") -> None:
    """Copy what `module_tensors` gave back into the module; raises `UserError` if it is a module of another make."""
    own = module_tensors(module)
    for name in sorted(own.keys() | tensors.keys()):
        there, here = (tuple(group[name].shape) if name in group else "nothing" for group in (tensors, own))
        if there != here:
            raise UserError(f"{source} is of another model: {name} is {there} there and {here} here")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _read_state(path: Path) -> dict[str, Any]:
    file = path / "state.json"
    state = read_json(file, "state of the checkpoint")
    keys = {"config": dict, "progress": dict, "objective": dict, "sha256": dict}
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise UserError(f"{file} is not the state of a checkpoint that this version of inversionview can read")
    wrong = [key for key, kind in keys.items() if not isinstance(state.get(key), kind)]
    if wrong or state["progress"].keys() != {entry.name for entry in fields(Progress)}:
        raise UserError(f"{file} is damaged: {wrong[0] if wrong else 'progress'} is not what was saved")
    return state | {"progress": Progress(**state["progress"])}


def _sum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
