"""Saving a decoder, and loading it for the probed model that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from inversionview.decoder.model import Decoder, DecoderConfig
from inversionview.decoder.pretrained import KIND as PRETRAINED
from inversionview.decoder.pretrained import PretrainedDecoder, saved_pretrained_decoder
from inversionview.decoder.translated import KIND as TRANSLATED
from inversionview.decoder.translated import TranslatedDecoder, saved_translated_decoder
from inversionview.errors import UserError
from inversionview.files import atomic_folder, read_json, read_tensors
from inversionview.probed.model import ProbedModel
from inversionview.tasks import Task

SHOWN = 12
"""Leading characters of a fingerprint that are shown; enough to tell models apart by eye."""


def save_decoder(decoder: Decoder, path: str | Path) -> None:
    """Write `config.json` and `model.safetensors` into a new folder `path`, whole or not at all."""
    with atomic_folder(path) as folder:
        if isinstance(decoder, PretrainedDecoder | TranslatedDecoder):
            decoder.save(folder)
            return
        decoder.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)  # the mixin's model card speaks of a hub that it was not sent to


def load_decoder(path: str | Path, probed: ProbedModel, task: Task) -> Decoder:
    """Load a decoder of a task from a folder, in evaluation mode, on the probed model's device.

    Raises `UserError` when it is missing, damaged, or was trained on another probed model or another convention.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"there is no decoder at {path}; give the folder that `inversionview train` wrote")
    fields = read_json(folder / "config.json", "the decoder's configuration")
    tensors = read_tensors(folder / "model.safetensors")
    try:
        decoder = _filled(fields, tensors, folder, task)
    except (TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a decoder of this version: {reason}") from error
    check_belongs(decoder, probed, str(path))
    if decoder.config.constrained:
        decoder.constrain(task)
    return decoder.to(probed.device).eval()


def _filled(fields: dict[str, Any], tensors: dict[str, Tensor], folder: Path, task: Task) -> Decoder:
    kind = fields.get("kind") if isinstance(fields, dict) else None
    if kind == PRETRAINED:
        return saved_pretrained_decoder(fields, tensors)
    if kind == TRANSLATED:
        return saved_translated_decoder(fields, tensors, folder, task)
    decoder = Decoder(DecoderConfig(**fields))
    decoder.load_state_dict(tensors, strict=True)
    return decoder


def check_belongs(decoder: Decoder, probed: ProbedModel, name: str) -> None:
    """Raise `UserError`, saying both sides, where a decoder was not trained on this model's activations."""
    config = decoder.config
    if config.fingerprint != probed.fingerprint:
        raise UserError(
            f"the decoder {name} was trained on the probed model {config.fingerprint[:SHOWN]}, and this is the probed "
            f"model {probed.fingerprint[:SHOWN]}; load that model, or train a decoder for this one"
        )
    if config.convention != probed.convention:
        raise UserError(
            f"the decoder {name} was trained on activations in convention {config.convention!r}, and the probed model "
            f"is loaded in {probed.convention!r}; load it with convention={config.convention!r}"
        )
