"""Loading a causal language model and its tokenizer as people have them: a folder, a hub name, GGUF, an adapter.

Whatever it is becomes an ordinary folder first (`places`, `gguf`), which transformers loads; an adapter is then added
to its base's weights (`adapters`).
"""

from __future__ import annotations

import copy
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from inversionview.errors import UserError, one_line
from inversionview.files import read_json
from inversionview.imports import import_models
from inversionview.probed.adapters import base_of, has_adapter, is_adapter, merged
from inversionview.probed.architectures import architecture_of
from inversionview.probed.gguf import converted
from inversionview.probed.gpt2 import GPT2, plain_gpt2
from inversionview.probed.places import INDEX, place_of
from inversionview.probed.quiet import quietly
from inversionview.probed.tokenizers import has_tokenizer, load_tokenizer, set_begin

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""The ways in which transformers spreads a model over the GPUs there are."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loading:
    """How a model is found and loaded, beside its name or path."""

    revision: str | None = None
    """On the hub: a branch, a tag or a commit, such as `step1000`."""
    base: str | Path | None = None
    """The model that an adapter is added to; None: the one that it names."""
    begin: str | None = None
    """The token that stands before a text; None: the tokenizer's."""
    device: str | torch.device | None = None
    dtype: str | torch.dtype | None = None
    device_map: str | dict[str, Any] | None = None


AS_USUAL = Loading()


def load(
    name_or_path: str | Path, tokenizer: Any = None, how: Loading = AS_USUAL, *, readable: bool = True
) -> tuple[PreTrainedModel, Any]:
    """The model, in evaluation mode, and its tokenizer if there is one; see `ProbedModel.from_pretrained`.

    Unless it need not be `readable`, its architecture must be one whose sites are known.
    """
    spread, numbers = _spread(how), _dtype(how.dtype)
    place = place_of(name_or_path, how.revision)
    if is_adapter(place):
        model, own = _with_adapter(place, tokenizer, how, readable=readable)
    elif how.base is not None:
        raise UserError(f"{name_or_path} is a model and no adapter, so it needs no base")
    else:
        folder = place if place.is_dir() else converted(place, numbers, readable=readable)
        model = _load_folder(folder, numbers, spread, readable=readable)
        own = load_tokenizer(tokenizer, folder)
    if how.begin is not None:
        own = copy.deepcopy(own) if own is tokenizer else own
        set_begin(own, how.begin)
    if not spread:
        torch.nn.Module.to(model, device_of(how.device))
    return model.eval(), own


def load_plain(folder: Path, how: Loading = AS_USUAL) -> tuple[GPT2, Any] | None:
    """What `load` gives of a small GPT-2 in a folder, in plain PyTorch, which is there seconds sooner.

    None for any other model, for `load` to say what it is. Raises UserError as `load` does.
    """
    if how.device_map is not None or not (folder / "config.json").exists():
        return None
    _check_config(folder / "config.json", readable=True)
    device = device_of(how.device)
    model = plain_gpt2(folder, _dtype(how.dtype))
    return None if model is None else (model.to(device).eval(), load_tokenizer(None, folder))


def checked_live(model: object) -> None:
    """Raise UserError for what is no plain Hugging Face model in memory."""
    if isinstance(model, (str, Path)):
        raise UserError(f"give a model in memory, or load it: ProbedModel.from_pretrained({str(model)!r})")
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"a probed model is made of a Hugging Face causal language model, not {type(model).__name__}")
    if has_adapter(model):
        raise UserError(
            "this model has an adapter beside its weights: give model.merge_and_unload(), which adds it to them "
            "(of a copy, copy.deepcopy(model), where yours is still to be trained)"
        )


def _with_adapter(place: Path, tokenizer: Any, how: Loading, *, readable: bool) -> tuple[PreTrainedModel, Any]:
    base, revision = (how.base, None) if how.base is not None else base_of(place)
    own = place if tokenizer is None and has_tokenizer(place) else tokenizer
    try:
        model, its = load(base, own, replace(how, revision=revision, base=None, begin=None), readable=readable)
    except UserError as error:
        raise UserError(
            f"the base of the adapter in {place} cannot be had (base, --base gives another): {error}"
        ) from error
    model = merged(model, place)
    _log.warning("the adapter in %s is merged into %s", place, base)
    return model, its


def _load_folder(
    folder: Path, numbers: torch.dtype | None, spread: dict[str, Any], *, readable: bool
) -> PreTrainedModel:
    _check_config(folder / "config.json", readable=readable)
    for file in _weight_files(folder):
        _check_safetensors(file)
    import_models()
    from transformers import AutoModelForCausalLM

    try:
        model, report = quietly(
            AutoModelForCausalLM.from_pretrained,
            folder,
            dtype=numbers or "auto",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
            **spread,
        )
    except Exception as error:  # anything at all, for a configuration that is not what it should be
        raise UserError(f"the model in {folder} cannot be loaded: {one_line(error)}") from error
    if report["missing_keys"]:  # transformers would go on with random numbers in their place
        missing = sorted(report["missing_keys"])
        raise UserError(f"the weights in {folder} lack {len(missing)} of the model's tensors, {missing[0]} among them")
    return model  # type: ignore[no-any-return]


def _check_config(file: Path, *, readable: bool) -> None:
    fields = read_json(file, "model configuration")
    if not isinstance(fields, dict) or "model_type" not in fields:
        raise UserError(f"{file} is no configuration of a Hugging Face model: it has no model_type")
    if quantised := fields.get("quantization_config"):
        method = quantised.get("quant_method", "some way") if isinstance(quantised, dict) else "some way"
        raise UserError(
            f"the weights in {file.parent} are quantised ({method}), and activations are read from models in floating "
            "point: give the model that it was made of, or a GGUF file, which is turned back"
        )
    if readable:
        architecture_of(fields["model_type"])


def _weight_files(folder: Path) -> list[Path]:
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if not (folder / INDEX).exists():
        pickled = any(folder.glob("*.bin"))
        advice = (
            "its weights are pickled, which is never read; save it with save_pretrained"
            if pickled
            else "it has no weights"
        )
        raise UserError(f"there is no model.safetensors in {folder}: {advice}")
    index = read_json(folder / INDEX, "index of the model's weights")
    if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
        raise UserError(f"{folder / INDEX} is damaged: it has no weight_map")
    files = [folder / file for file in sorted(set(index["weight_map"].values()))]
    for file in files:
        if not file.exists():
            raise UserError(f"{file} is missing, which {INDEX} names")
    return files


def _check_safetensors(file: Path) -> None:
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged or truncated: {one_line(error)}") from error


def _spread(how: Loading) -> dict[str, Any]:
    """What transformers is told of several devices; the one device is checked before a large model is read."""
    if how.device_map is None:
        device_of(how.device)
        return {}
    if how.device is not None:
        raise UserError("give a device or a device_map, not both")
    if isinstance(how.device_map, str) and how.device_map not in DEVICE_MAPS:
        raise UserError(f"unknown device_map {how.device_map!r}: use {', '.join(DEVICE_MAPS)}, or a device by module")
    return {"device_map": how.device_map}


def device_of(device: str | torch.device | None) -> torch.device:
    """The device of this name; without one the first GPU, Apple's among them, or the CPU. UserError: there is none."""
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # each process of several its own
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"there is no device {device} here: {one_line(error)}") from error


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None:
        return None
    numbers = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(numbers, torch.dtype) or not numbers.is_floating_point:
        raise UserError(f"unknown type of numbers {dtype!r}: use float32, bfloat16 or float16")
    return numbers
