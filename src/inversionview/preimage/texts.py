"""Texts of inputs that are made when they are asked for: an exact preimage may hold half a million."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

import numpy as np
import torch
from jaxtyping import Int

from inversionview.shapes import OneInput

T = TypeVar("T")


class Repeated(Sequence[T], Generic[T]):
    """One thing, `n` times; behaves as a tuple does, and takes no memory."""

    def __init__(self, item: T, n: int) -> None:
        self._item, self._n = item, n

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if isinstance(index, slice):
            return (self._item,) * len(range(*index.indices(self._n)))
        range(self._n)[index]  # raises where a tuple would
        return self._item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(other) == self._n and all(item == self._item for item in other)

    def __hash__(self) -> int:
        return hash(tuple(self))


class Decoded(Sequence[T], Generic[T]):
    """What `decode` makes of each row of `tokens` `[candidate, pos]`; behaves as a tuple does."""

    def __init__(self, tokens: Int[np.ndarray, "candidate pos"], decode: Callable[[OneInput], T]) -> None:
        self._tokens, self._decode = tokens, decode
        self._all: tuple[T, ...] | None = None

    def __len__(self) -> int:
        return len(self._tokens)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if self._all is not None:
            return self._all[index]
        if isinstance(index, slice):
            return Decoded(self._tokens[index], self._decode)
        return self._decode(torch.from_numpy(self._tokens[index]))

    def __iter__(self) -> Iterator[T]:
        if self._all is None:
            self._all = tuple(map(self._decode, torch.from_numpy(self._tokens)))
        return iter(self._all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))
