"""Adapters of PEFT, such as LoRA: merged into the weights of their base, so that a model is one set of weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from torch import nn

from inversionview.errors import UserError, one_line
from inversionview.files import read_json
from inversionview.probed.places import ADAPTER
from inversionview.probed.quiet import quietly

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WEIGHTS = "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    """Whether an adapter lies in a folder, and no model of its own."""
    return (folder / ADAPTER).exists() and not (folder / "config.json").exists()


def base_of(folder: Path) -> tuple[str, str | None]:
    """The name or path of the model that an adapter was trained on, and its revision, as the adapter says.

    Raises UserError when it says neither, or its description is damaged.
    """
    about = _description(folder)
    base = about.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError(f"the adapter in {folder} does not say what its base is: give it (base, --base)")
    beside = folder / base
    return str(beside) if not Path(base).expanduser().exists() and beside.is_dir() else base, about.get("revision")


def merged(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the adapter in a folder added to its weights, in place.

    Raises UserError where the package peft is missing, the adapter is damaged or of another base, or cannot be merged.
    """
    if find_spec("peft") is None:
        raise UserError("an adapter needs the package peft: pip install peft")
    from peft import PeftModel, get_peft_model_state_dict

    saved, about = _saved(folder), _description(folder)
    try:
        wrapped = quietly(PeftModel.from_pretrained, model, str(folder), low_cpu_mem_usage=True)
        # Its embeddings are looked for on the hub where nobody says that none were trained.
        own = quietly(get_peft_model_state_dict, wrapped, save_embedding_layers=False)
        expected = {name: tuple(tensor.shape) for name, tensor in own.items()}
    except Exception as error:  # a size or a module that does not fit is a RuntimeError, a KeyError or a ValueError
        raise UserError(_misfit(folder, about, one_line(error))) from error
    beside = {name for name in saved.keys() - expected.keys() if "embed" in name or "lm_head" in name}
    if differs := sorted({item for item in expected.items() ^ saved.items() if item[0] not in beside}):
        raise UserError(_misfit(folder, about, f"{differs[0][0]} is not of the same shape in both"))
    if not hasattr(wrapped, "merge_and_unload"):
        raise UserError(
            f"the adapter in {folder} is of type {about.get('peft_type')}, which cannot be merged into weights"
        )
    plain: PreTrainedModel = wrapped.merge_and_unload()
    return plain


def has_adapter(model: nn.Module) -> bool:
    """Whether modules of PEFT are in a model, or around it."""
    return any(type(module).__module__.split(".")[0] == "peft" for module in model.modules())


def _misfit(folder: Path, about: dict[str, Any], why: str) -> str:
    base = about.get("base_model_name_or_path") or "one that it does not name"
    return f"the adapter in {folder} does not fit this base; it was made for {base} ({why})"


def _description(folder: Path) -> dict[str, Any]:
    about = read_json(folder / ADAPTER, "adapter configuration")
    if not isinstance(about, dict) or "peft_type" not in about:
        raise UserError(f"{folder / ADAPTER} is no configuration of an adapter: it has no peft_type")
    return about


def _saved(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the adapter's tensors."""
    file = folder / _WEIGHTS
    if not file.exists():
        pickled = (folder / "adapter_model.bin").exists()
        advice = (
            "its weights are pickled, which is never read; save it as safetensors" if pickled else "it is not whole"
        )
        raise UserError(f"there is no {_WEIGHTS} in {folder}: {advice}")
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged or truncated: {one_line(error)}") from error
