"""Forwards of which only a part is run: later positions, later layers, the logits of a few tokens.

A patch at one position and layer changes nothing before it. So a run is made once, with the keys and values of its
first positions and what every layer puts out at the others; and of each patched run only what the patch can reach.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from inversionview.shapes import Positions, Tokens

Forward = Callable[..., Any]
Instead = Mapping[nn.Module, Callable[[Forward], Forward]]
"""What is run in place of some modules' own forwards, made of these."""


@dataclass(frozen=True, eq=False)
class CleanRun:
    """Some inputs that were run once, and what is kept of it for later runs of them under many patches."""

    tokens: Tokens
    start: int
    """The first position that is run again; 0 where the model keeps no keys and values."""
    cache: Any
    """Keys and values of the positions before, as the model's library has them; None where there are none."""
    outputs: tuple[Any, ...]
    """What each layer's block put out from there on: the residual stream, alone or first in a tuple."""

    def options(self, rows: Positions, layer: int) -> dict[str, Any]:
        """What a forward of these rows from this layer on is told. It grows a cache of its own, not the one kept."""
        if self.cache is None:
            return {}
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(part) for part in self.cache.layers]
        for part in cache.layers[layer:]:
            part.batch_select_indices(rows.to(part.keys.device))
        return {"past_key_values": cache, "use_cache": True}


@contextmanager
def running(instead: Instead) -> Iterator[None]:
    """Run something else than these modules' forwards in this thread, made of each one's own forward.

    Hooks act as ever, and other threads run the modules as they are.
    """
    thread = threading.get_ident()

    def replaced(own: Forward, other: Forward) -> Forward:
        return lambda *args, **kwargs: (other if threading.get_ident() == thread else own)(*args, **kwargs)

    with ExitStack() as after:
        for module, make in instead.items():
            before = module.__dict__.get("forward")  # of its own, as accelerate gives it one
            module.__dict__["forward"] = replaced(module.forward, make(module.forward))
            after.callback(_put_back, module, before)
        yield


def _put_back(module: nn.Module, before: Any) -> None:
    if before is None:
        del module.__dict__["forward"]
    else:
        module.__dict__["forward"] = before


def recording(blocks: Sequence[nn.Module], outputs: list[Any]) -> Instead:
    """Keep what every block puts out."""

    def kept(own: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            outputs.append(own(*args, **kwargs))
            return outputs[-1]

        return forward

    return dict.fromkeys(blocks, kept)


def from_layer(blocks: Sequence[nn.Module], layer: int, run: CleanRun, rows: Positions) -> Instead:
    """Skip the blocks before a layer; the last of them gives what it gave in the clean run."""

    def skipped(index: int) -> Callable[[Forward], Forward]:
        def forward(stream: Tensor, *args: Any, **kwargs: Any) -> Any:
            kept, rest = _parted(run.outputs[index])
            new = kept[rows.to(kept.device)] if index == layer - 1 else stream
            return new if rest is None else (new, *rest)

        return lambda own: forward

    return {block: skipped(index) for index, block in enumerate(blocks[:layer])}


def _parted(output: Any) -> tuple[Tensor, tuple[Any, ...] | None]:
    return (output[0], output[1:]) if isinstance(output, tuple) else (output, None)


def only_tokens(head: nn.Linear, tokens: Int[Tensor, "batch token"], columns: Int[Tensor, "batch place"]) -> Instead:
    """Have the unembedding give `[batch, place, token]`: some tokens' logits, in fp32, at some columns of the stream.

    What the model makes of its logits after that, a scale or a cap, is the same for each and acts on these.
    """

    def forward(stream: Tensor) -> Tensor:
        rows = torch.arange(len(stream), device=stream.device)[:, None]
        there, chosen = stream[rows, columns.to(stream.device)].float(), tokens.to(head.weight.device)
        logits = torch.einsum("bpd,btd->bpt", there, head.weight[chosen].float())
        return logits if head.bias is None else logits + head.bias[chosen].float()[:, None]

    return {head: lambda own: forward}
