"""Saving a decoder, and loading it for the probed model that it belongs to.

A folder holds `config.json` and `model.safetensors`, and for a body with another tokenizer than the task's that too. In
the file, the body's tensors stand beside the trunk's under their names within the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from inversionview.decoder.model import Decoder, DecoderConfig, Trunk, own_decoder
from inversionview.decoder.pretrained import PretrainedBody, PretrainedConfig, empty_body
from inversionview.decoder.tokens import Retokenised
from inversionview.errors import UserError, one_line
from inversionview.files import atomic_folder, read_json, read_tensors, write_json, write_tensors
from inversionview.probed.model import ProbedModel
from inversionview.tasks import Task
from inversionview.tasks.vocabulary import Vocabulary
from inversionview.training.checkpoint import load_module_tensors, module_tensors

SHOWN = 12
"""Leading characters of a fingerprint that are shown; enough to tell models apart by eye."""
PRETRAINED, TRANSLATED = "pretrained", "translated"
"""What `kind` is in the configuration: a language model's body, and one that writes other tokens than the task's."""
_TOKENIZER = "tokenizer"
_BODY = "body."


def save_decoder(decoder: Decoder, path: str | Path, *, half: bool = False) -> None:
    """Write a decoder into a new folder `path`, whole or not at all; with `half`, its weights as 16-bit numbers.

    Raises `UserError` where 16 bits do not hold a weight.
    """
    tensors = {name.removeprefix(_BODY): tensor for name, tensor in module_tensors(decoder).items()}
    if half:
        tensors = {name: _halved(name, tensor) for name, tensor in tensors.items()}
    with atomic_folder(path) as folder:
        write_json(folder / "config.json", _described(decoder))
        write_tensors(folder / "model.safetensors", tensors)
        if isinstance(decoder.adapter, Retokenised):
            decoder.adapter.own.save(folder / _TOKENIZER)


def load_decoder(path: str | Path, probed: ProbedModel, task: Task) -> Decoder:
    """Load a decoder of a task from a folder, in evaluation mode, on the probed model's device.

    Raises `UserError` when it is missing, damaged, or was trained on another probed model or another convention.
    """
    decoder = read_decoder(path, task, probed)
    if decoder.config.constrained:
        decoder.constrain(task)
    decoder.reads(probed)
    return decoder.to(probed.device).eval()


def read_decoder(path: str | Path, task: Task, probed: ProbedModel | None = None) -> Decoder:
    """Read a decoder of a task from a folder, whatever it was trained on; raises `UserError` as `load_decoder` does.

    With `probed`, it must have been trained on that model's activations.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"there is no decoder at {path}; give the folder that `inversionview train` wrote")
    content = read_json(folder / "config.json", "the decoder's configuration")
    tensors = read_tensors(folder / "model.safetensors")
    try:
        decoder = _empty(content, folder, task, probed)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = one_line(error)
        raise UserError(f"{path} is not a decoder of this version: {reason}") from error
    named = {name if name.startswith("trunk.") else _BODY + name: tensor for name, tensor in tensors.items()}
    load_module_tensors(decoder, named, source=f"the decoder {path}")
    return decoder


def check_belongs(config: DecoderConfig, probed: ProbedModel, name: str) -> None:
    """Raise `UserError`, saying both sides, where a decoder was not trained on this model's activations."""
    here = probed.fingerprint_of(filter(probed.find_site, config.sites))
    if config.fingerprint != here:
        raise UserError(
            f"the decoder {name} was trained on the probed model {config.fingerprint[:SHOWN]}, and this is the probed "
            f"model {here[:SHOWN]}; load that model, or train a decoder for this one"
        )
    if config.convention != probed.convention:
        raise UserError(
            f"the decoder {name} was trained on activations in convention {config.convention!r}, and the probed model "
            f"is loaded in {probed.convention!r}; load it with convention={config.convention!r}"
        )


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    halved = tensor.detach().half()
    if not halved.isfinite().all():
        raise UserError(f"{name} has weights beyond ±65,504, which half precision does not hold: save it in full")
    return halved


def _described(decoder: Decoder) -> dict[str, Any]:
    """The configuration as JSON; that of a decoder with other tokens than the task's is `inner`, beside the task's."""
    content = asdict(decoder.config) | {"tokens": _ranges(decoder.config.tokens)}
    if isinstance(decoder.body, PretrainedBody):
        content = {"kind": PRETRAINED, **content, **asdict(decoder.body.config)}
    if isinstance(decoder.adapter, Retokenised):
        task, length = decoder.adapter.task, decoder.adapter.task_length
        in_task = {"vocab_size": task.size, "max_length": length, "begin": task.begin, "end": task.end, "pad": task.pad}
        content = {"kind": TRANSLATED, "inner": content, **asdict(decoder.config), "tokens": "", **in_task}
    return content


def _empty(content: dict[str, Any], folder: Path, task: Task, probed: ProbedModel | None) -> Decoder:
    """The decoder of a configuration, to be filled with its weights."""
    kind, adapter = content.get("kind"), None
    if kind == TRANSLATED:
        inner, own = content["inner"], Vocabulary.load(folder / _TOKENIZER)
        theirs = Vocabulary(getattr(task, "tokenizer", None))
        adapter = Retokenised(theirs, own, content["max_length"], inner["max_length"])
        kind, content = inner["kind"], inner
    of_body = {"kind", *(entry.name for entry in fields(PretrainedConfig))} if kind == PRETRAINED else set()
    config = _config({name: value for name, value in content.items() if name not in of_body})
    if probed is not None:  # first, since a body may be made of this model
        check_belongs(config, probed, str(folder))
    if kind != PRETRAINED:
        return own_decoder(config)
    of_model = PretrainedConfig(**{name: content[name] for name in content.keys() & (of_body - {"kind"})})
    return Decoder(Trunk(config), empty_body(of_model, config, probed), config, adapter=adapter)


def _config(content: dict[str, Any]) -> DecoderConfig:
    ranges = (part.split("-") for part in content.get("tokens", "").split(",") if part)
    tokens = tuple(token for ends in ranges for token in range(int(ends[0]), int(ends[-1]) + 1))
    return DecoderConfig(**content | {"tokens": tokens})


def _ranges(tokens: Sequence[int]) -> str:
    """Sorted tokens in few letters: `3,7-12,15`."""
    starts = [token for token, before in zip(tokens, (-2, *tokens), strict=False) if token != before + 1]
    ends = [token for token, after in zip(tokens, (*tokens[1:], -2), strict=False) if after != token + 1]
    both = zip(starts, ends, strict=True)
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in both)
