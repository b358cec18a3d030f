"""Replacing activations during a forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from inversionview.probed.access import ACCESS, cut, point_of
from inversionview.probed.conventions import Folded, Raw
from inversionview.probed.hooks import Edit, Point
from inversionview.probed.norms import added_by_heads
from inversionview.probed.parts import Parts
from inversionview.probed.views import View, replaced
from inversionview.sites import Site


@dataclass(frozen=True, eq=False)
class Patch:
    """One site's activation replaced at one position of each input.

    `positions` is an index for all inputs or `[batch]`; `value` is `[width]` or `[batch, width]` of the site, in
    the convention of the model it is given to. With `rows`, distinct indices into the batch, these inputs alone are
    patched, and `positions` and `value` are theirs. That they fit is checked by the model. At a view `x` becomes
    `x + decode(value) - decode(encode(x))`, so that what the view does not hold stays.
    """

    site: Site | str
    positions: int | Tensor
    value: Tensor
    rows: Tensor | None = None


class Write(NamedTuple):
    """A checked patch of some rows of a batch; `value` fits the site's width and the model's device and type."""

    site: Site
    """The model's own site."""
    views: tuple[View, ...]
    """From that site to the one that `value` is for."""
    rows: Tensor
    positions: Tensor
    """One a row."""
    value: Tensor

    def places(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Index of what it writes in `[batch, pos, width]` on a device."""
        return self.rows.to(device), self.positions.to(device)

    def into(self, tensor: Tensor, convention: Raw | Folded) -> None:
        """Write the value over the site's own `[batch, pos, width]` in place."""
        places = self.places(tensor.device)
        tensor[places] = self.over(tensor[places], convention)

    def over(self, values: Tensor, convention: Raw | Folded) -> Tensor:
        """What the site's own values `[row, width]` become."""
        new = self.value.to(values.device)
        if self.views:
            new = replaced(convention.read(self.site, values), self.views, new)
        return convention.to_raw(self.site, new)


def edits(writes: Sequence[Write], batch: int, parts: Parts, convention: Raw | Folded) -> list[tuple[Point, Edit]]:
    """What the forward must be changed by for these writes; of two at one place, the last wins."""
    by_site: dict[Site, list[Write]] = {}
    for write in writes:
        by_site.setdefault(write.site, []).append(write)
    first, then, results, last = [], [], [], []
    for site, here in by_site.items():
        match ACCESS[site.kind].form:
            case "in place":
                then.append((point_of(site, parts), _overwrite(here, batch, parts, convention)))
            case "stream":
                norm_input, mlp_output, block_output = _mid_edits(here, parts, convention)
                then.append(norm_input)
                last.append(mlp_output)  # what MLP patches made of it
                first.append(block_output)  # for resid_post patches to overwrite
            case "result" | "added":
                results.extend(_head_edits(here, parts, convention))  # of what patches made of z
    return first + then + results + last


def _overwrite(writes: Sequence[Write], batch: int, parts: Parts, convention: Raw | Folded) -> Edit:
    # Position embeddings come once for all inputs.
    return lambda tensor: _written(tensor.expand(batch, -1, -1), writes, parts, convention)


def _written(tensor: Tensor, writes: Sequence[Write], parts: Parts, convention: Raw | Folded) -> Tensor:
    new = tensor.clone(memory_format=torch.contiguous_format)
    for write in writes:
        write.into(cut(write.site, parts, new), convention)
    return new


def _mid_edits(writes: Sequence[Write], parts: Parts, convention: Raw | Folded) -> tuple[tuple[Point, Edit], ...]:
    """Patches of resid_mid, which no module puts out: written into what the MLP's norm sees, and into the block's sum.

    Changing the attention's output by the difference instead would lose the value's last bits, many in bf16.
    """
    site = writes[0].site
    mid = point_of(site, parts)
    seen: list[Tensor] = []

    def norm_input(tensor: Tensor) -> Tensor:
        seen[:] = [_written(tensor, writes, parts, convention)]
        return seen[0]

    def mlp_output(tensor: Tensor) -> None:
        seen[0] = seen[0] + tensor * parts.multipliers.get("mlp_out", 1.0)

    def block_output(tensor: Tensor) -> Tensor:
        new = tensor.clone()
        for write in writes:
            places = write.places(tensor.device)
            new[places] = seen[0][places]
        return new

    return (
        (mid, norm_input),
        (point_of(Site("mlp_out", site.layer), parts), mlp_output),
        (point_of(Site("resid_post", site.layer), parts), block_output),
    )


def _head_edits(writes: Sequence[Write], parts: Parts, convention: Raw | Folded) -> list[tuple[Point, Edit]]:
    """Patches of one head's result, or of what it adds: the projection's output, or attention's, changes by as much."""
    site, seen = writes[0].site, list[Tensor]()
    layer, head, before = site.layer or 0, site.head or 0, point_of(site, parts)
    is_result = ACCESS[site.kind].form == "result"
    after = before._replace(before=False) if is_result else point_of(Site("attn_out", layer), parts)

    def remember(tensor: Tensor) -> None:
        seen[:] = [tensor]

    def change(output: Tensor) -> Tensor:
        # Of the places that are written alone, each once: as many heads may be patched, each in rows of its own.
        places = [write.places(output.device) for write in writes]
        written = torch.zeros(output.shape[:2], dtype=torch.bool, device=output.device)
        for place in places:
            written[place] = True
        index = written.flatten().cumsum(0).view_as(written) - 1
        z = seen[0][written.to(seen[0].device)]
        if is_result:
            result: Tensor = cut(site, parts, z) @ parts.output_weight(layer)[head]
        else:
            result = added_by_heads(parts, layer, [head], z)[0].to(output.device)
        new = result.clone()
        for write, place in zip(writes, places, strict=True):
            new[index[place]] = write.over(new[index[place]], convention)
        changed = output.clone()
        changed[written] += new - result
        return changed

    return [(before, remember), (after, change)]
