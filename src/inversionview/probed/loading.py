"""Loading a causal language model and its tokenizer from a folder or from the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from inversionview.errors import UserError
from inversionview.files import read_json
from inversionview.probed.architectures import architecture_of

_INDEX = "model.safetensors.index.json"
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json")
_FILES = ("config.json", "generation_config.json", "model*.safetensors", _INDEX, *_TOKENIZER_FILES)
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""The ways in which transformers spreads a model over the GPUs there are."""
_HUB_TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer."""


def load(
    name_or_path: str | Path,
    tokenizer: Any = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    *,
    device_map: str | dict[str, Any] | None = None,
    readable: bool = True,
) -> tuple[PreTrainedModel, Any]:
    """The model, in evaluation mode, and its tokenizer if there is one; see `ProbedModel.from_pretrained`.

    Unless it need not be `readable`, its architecture must be one whose sites are known.
    """
    folder = _folder(name_or_path)
    _check_config(folder / "config.json", readable=readable)
    for file in _weight_files(folder):
        _check_safetensors(file)
    spread = _spread(device, device_map)
    try:
        model, report = quietly(
            AutoModelForCausalLM.from_pretrained,
            folder,
            dtype=_dtype(dtype),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
            **spread,
        )
    except Exception as error:  # anything at all, for a configuration that is not what it should be
        raise UserError(f"the model in {folder} cannot be loaded: {_one_line(error)}") from error
    if report["missing_keys"]:  # transformers would go on with random numbers in their place
        missing = sorted(report["missing_keys"])
        raise UserError(f"the weights in {folder} lack {len(missing)} of the model's tensors, {missing[0]} among them")
    return (model if spread else model.to(_device(device))).eval(), _tokenizer(tokenizer, folder)


def quietly(load: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call without transformers' progress bar and its report of what did not fit, which loading turns into an error."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return load(*args, **options)
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _folder(name_or_path: str | Path) -> Path:
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    name = str(name_or_path)
    if path.exists():
        raise UserError(f"{path} is a file: give the folder that holds config.json and model.safetensors")
    if isinstance(name_or_path, Path) or not _HUB_NAME.fullmatch(name):
        raise UserError(f"there is no folder {path}, and that is no name of a model on the hub either")
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    try:
        local = Path(snapshot_download(name, allow_patterns=list(_FILES), local_files_only=True))
        if (local / "config.json").exists() and _weight_files(local):
            return local
    except (LocalEntryNotFoundError, HFValidationError, UserError):
        pass
    try:
        HfApi().model_info(name, timeout=_HUB_TIMEOUT)
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except GatedRepoError as error:
        raise UserError(
            f"the model {name} is gated: ask for access on its page, then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"there is no folder {name}, and no model of that name on the hub that you may read") from error
    except Exception as error:  # of the HTTP library, which is another one in each major version of huggingface_hub
        raise UserError(
            f"there is no folder {name}, no local copy of a model of that name, "
            f"and the hub cannot be reached: {_one_line(error)}"
        ) from error


def _check_config(file: Path, *, readable: bool) -> None:
    fields = read_json(file, "model configuration")
    if not isinstance(fields, dict) or "model_type" not in fields:
        raise UserError(f"{file} is no configuration of a Hugging Face model: it has no model_type")
    if readable:
        architecture_of(fields["model_type"])


def _weight_files(folder: Path) -> list[Path]:
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if not (folder / _INDEX).exists():
        pickled = any(folder.glob("*.bin"))
        advice = (
            "its weights are pickled, which is never read; save it with save_pretrained"
            if pickled
            else "it has no weights"
        )
        raise UserError(f"there is no model.safetensors in {folder}: {advice}")
    index = read_json(folder / _INDEX, "index of the model's weights")
    if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
        raise UserError(f"{folder / _INDEX} is damaged: it has no weight_map")
    files = [folder / file for file in sorted(set(index["weight_map"].values()))]
    for file in files:
        if not file.exists():
            raise UserError(f"{file} is missing, which {_INDEX} names")
    return files


def _check_safetensors(file: Path) -> None:
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged or truncated: {_one_line(error)}") from error


def _tokenizer(tokenizer: Any, folder: Path) -> Any:
    if tokenizer is not None and not isinstance(tokenizer, (str, Path)):
        return tokenizer
    if tokenizer is None:
        if not any(folder.glob("tokenizer*")):
            return None
        tokenizer = folder
    try:
        return AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
    except Exception as error:  # the tokenizers' Rust code raises plain Exception for a damaged file
        raise UserError(f"the tokenizer in {tokenizer} cannot be loaded: {_one_line(error)}") from error


def _spread(device: str | torch.device | None, device_map: str | dict[str, Any] | None) -> dict[str, Any]:
    """What transformers is told of several devices; the one device is checked before a large model is read."""
    if device_map is None:
        _device(device)
        return {}
    if device is not None:
        raise UserError("give a device or a device_map, not both")
    if isinstance(device_map, str) and device_map not in DEVICE_MAPS:
        raise UserError(f"unknown device_map {device_map!r}: use {', '.join(DEVICE_MAPS)}, or a device by module")
    return {"device_map": device_map}


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"there is no device {device} here: {_one_line(error)}") from error


def _dtype(dtype: str | torch.dtype | None) -> str | torch.dtype:
    if dtype is None:
        return "auto"
    numbers = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(numbers, torch.dtype) or not numbers.is_floating_point:
        raise UserError(f"unknown type of numbers {dtype!r}: use float32, bfloat16 or float16")
    return numbers


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
