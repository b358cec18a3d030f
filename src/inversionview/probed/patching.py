"""Replacing activations during a forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from inversionview.probed.architectures import Parts
from inversionview.probed.conventions import Folded, Raw
from inversionview.probed.hooks import Edit, Point
from inversionview.probed.taps import point_of
from inversionview.sites import Site


@dataclass(frozen=True, eq=False)
class Patch:
    """One site's activation replaced at one position of each input.

    `positions` is an index for all inputs or `[batch]`; `value` is `[d_model]` or `[batch, d_model]`, in the
    convention of the model it is given to. That they fit is checked by the model.
    """

    site: Site | str
    positions: int | Tensor
    value: Tensor


class Write(NamedTuple):
    """A checked patch: `positions` are `[batch]`, `value` fits the model's device and type."""

    site: Site
    positions: Tensor
    value: Tensor

    def into(self, tensor: Tensor) -> None:
        """Write the value over `[batch, pos, d_model]` in place."""
        device = tensor.device
        tensor[torch.arange(tensor.shape[0], device=device), self.positions.to(device)] = self.value.to(device)


def edits(writes: Sequence[Write], batch: int, parts: Parts, convention: Raw | Folded) -> list[tuple[Point, Edit]]:
    """What the forward must be changed by for these writes; of two at one place, the last wins."""
    by_site: dict[Site, list[Write]] = {}
    for write in writes:
        by_site.setdefault(write.site, []).append(write)
    first, then, last = [], [], []
    by_layer: dict[int, list[Write]] = {}
    for site, here in by_site.items():
        if site.kind == "head" and site.layer is not None:
            by_layer.setdefault(site.layer, []).extend(here)
        elif site.kind == "resid_mid":
            norm_input, mlp_output, block_output = _mid_edits(here, parts)
            then.append(norm_input)
            last.append(mlp_output)  # what MLP patches made of it
            first.append(block_output)  # for resid_post patches to overwrite
        else:
            then.append((point_of(site, parts), _overwrite(here, batch)))
    for layer, here in by_layer.items():
        then.extend(_head_edits(layer, here, parts, convention))
    return first + then + last


def _overwrite(writes: Sequence[Write], batch: int) -> Edit:
    return lambda tensor: _written(tensor.expand(batch, -1, -1), writes)  # position embeddings come once for all


def _written(tensor: Tensor, writes: Sequence[Write]) -> Tensor:
    new = tensor.clone()
    for write in writes:
        write.into(new)
    return new


def _mid_edits(writes: Sequence[Write], parts: Parts) -> tuple[tuple[Point, Edit], ...]:
    """Patches of resid_mid, which no module puts out: written into what the MLP's norm sees, and into the block's sum.

    Changing the attention's output by the difference instead would lose the value's last bits, many in bf16.
    """
    site = writes[0].site
    mid = point_of(site, parts)
    seen: list[Tensor] = []

    def norm_input(tensor: Tensor) -> Tensor:
        seen[:] = [_written(tensor, writes)]
        return seen[0]

    def mlp_output(tensor: Tensor) -> None:
        seen[0] = seen[0] + tensor

    def block_output(tensor: Tensor) -> Tensor:
        new = tensor.clone()
        for write in writes:
            rows, at = torch.arange(tensor.shape[0], device=tensor.device), write.positions.to(tensor.device)
            new[rows, at] = seen[0][rows, at]
        return new

    return (
        (mid, norm_input),
        (point_of(Site("mlp_out", site.layer), parts), mlp_output),
        (point_of(Site("resid_post", site.layer), parts), block_output),
    )


def _head_edits(
    layer: int, writes: Sequence[Write], parts: Parts, convention: Raw | Folded
) -> list[tuple[Point, Edit]]:
    projection = parts.layers[layer].projection
    seen: list[Tensor] = []

    def remember(z: Tensor) -> None:
        seen[:] = [z.view(*z.shape[:-1], parts.n_heads, parts.d_head)]

    def change(output: Tensor) -> Tensor:
        for head in {write.site.head for write in writes}:
            assert head is not None
            result = seen[0][..., head, :] @ parts.output_weight(layer)[head]
            new = result.clone()
            for write in writes:
                if write.site.head == head:
                    value = convention.head_to_raw(layer, head, write.value.to(new.device))
                    write._replace(value=value).into(new)
            output = output + (new - result)
        return output

    return [(Point(projection, before=True), remember), (Point(projection, before=False), change)]
