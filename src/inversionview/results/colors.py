"""Token colours that are made when they are asked for: of a thousand candidates a dozen are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import Any, overload

import numpy as np
from jaxtyping import Bool, Float, Int

Make = Callable[[Int[np.ndarray, " row"]], Float[np.ndarray, "row pos"]]


class _Made:
    """What was made so far."""

    def __init__(self, shape: tuple[int, int], make: Make) -> None:
        self.values = np.full(shape, np.nan)
        self.known = np.zeros(shape[0], dtype=bool)
        self.make, self.lock = make, Lock()

    def at(self, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row pos"]:
        with self.lock:  # two who ask at once would have it made twice
            new = np.unique(rows[~self.known[rows]])
            if len(new):
                self.values[new] = self.make(new)
                self.known[new] = True
        return np.asarray(self.values[rows])


class TokenColors:
    """Colours [candidate, pos], of which `make` gives rows; an array to whoever takes them whole.

    Rows are made once, for all that was cut from this.
    """

    def __init__(self, shape: tuple[int, int], make: Make) -> None:
        self._made, self._rows = _Made(shape, make), np.arange(shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Candidates and positions."""
        return len(self._rows), self._made.values.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self._made.values.nbytes

    @property
    def known(self) -> Bool[np.ndarray, " candidate"]:
        """Which candidates were asked for before."""
        return np.asarray(self._made.known[self._rows])

    def __len__(self) -> int:
        return len(self._rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._made.at(self._rows).astype(dtype or np.float64, copy=False)

    def __getitem__(self, rows: slice | Int[np.ndarray, " row"]) -> TokenColors:
        """Those of some candidates, which are not made before they are asked for."""
        some = object.__new__(TokenColors)
        some._made, some._rows = self._made, self._rows[rows]
        return some

    def of(self, candidate: int, length: int) -> RowColors:
        """Those of the first tokens of one candidate."""
        return RowColors(self._made, int(self._rows[candidate]), length)


class RowColors(Sequence[float]):
    """The colours of one candidate's tokens; behaves as a list does."""

    def __init__(self, made: _Made, row: int, length: int) -> None:
        self._made, self._row, self._length = made, row, length

    @property
    def known(self) -> bool:
        """Whether they were made already."""
        return bool(self._made.known[self._row])

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        return self._list()[index]

    def __iter__(self) -> Iterator[float]:
        return iter(self._list())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(self._list())

    def _list(self) -> list[float]:
        values: list[float] = self._made.at(np.array([self._row]))[0, : self._length].tolist()
        return values


def make_together(rows: Iterable[Sequence[float] | None]) -> None:
    """Make the colours of several candidates at once, before they are looked at one by one."""
    wanted: dict[int, tuple[_Made, list[int]]] = {}
    for one in rows:
        if isinstance(one, RowColors) and not one.known:
            wanted.setdefault(id(one._made), (one._made, []))[1].append(one._row)
    for made, some in wanted.values():
        made.at(np.array(some))
