"""What can follow in rows that training asks about many times, each found once while there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from inversionview.shapes import Tokens

MASK_BYTES = 2**27
"""Memory of the masks that are kept."""

Following = Bool[Tensor, "batch pos class"]


class Remembered:
    """What `ask` says of rows [batch, pos], kept by row; where there is no room for more, all is forgotten first.

    A walk along a template's phrasings takes longer than a step of a small decoder, and an input comes again with each
    position and each site that is read of it.
    """

    def __init__(self, ask: Callable[[Tokens], Following]) -> None:
        self._ask = ask
        self._places: dict[bytes, int] = {}
        self._kept: Following | None = None

    def __call__(self, rows: Tokens) -> Following:
        """What `ask` says of these rows."""
        keys = [row.tobytes() for row in rows.cpu().numpy()]
        if self._kept is not None and not self._fits(self._kept, rows, keys):
            self._places, self._kept = {}, None
        new = self._new(keys)
        if new:
            found = self._ask(rows[list(new.values())])
            if self._kept is None:
                room = MASK_BYTES // max(1, found[0].numel())
                if room < len(new):
                    return self._ask(rows)
                self._kept = found.new_empty(room, *found.shape[1:])
            start = len(self._places)
            self._kept[start : start + len(new)] = found
            self._places |= {key: start + number for number, key in enumerate(new)}
        if self._kept is None:
            return self._ask(rows)
        return self._kept[torch.tensor([self._places[key] for key in keys], device=self._kept.device)]

    def _new(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Of the rows that were not seen, each once, where it stands."""
        return {key: number for number, key in enumerate(keys) if key not in self._places}

    def _fits(self, kept: Tensor, rows: Tokens, keys: Sequence[bytes]) -> bool:
        alike = kept.shape[1] == rows.shape[1] and kept.device == rows.device
        return alike and len(self._places) + len(self._new(keys)) <= len(kept)
