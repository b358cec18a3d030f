"""Proposals by retrieval: the inputs of a corpus whose activations are nearest to the one that is read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from inversionview.bank.passes import read_parts
from inversionview.criterion import DEFAULT, Criterion
from inversionview.errors import UserError
from inversionview.preimage.sources.proposals import Draws
from inversionview.probed.coordinates import Coordinates
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Query
from inversionview.shapes import PositionMask, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task
from inversionview.tasks.positions import eligible_role

_KEPT_VALUES = 2**28
"""Activation values that indexes kept in memory may hold together: 1 GiB."""

IndexKind = Literal["flat", "ivf"]
_Key = tuple[Site, str | None]
"""A site and a role; None is for all eligible positions."""


class _Index(NamedTuple):
    """The activations of a corpus for one key."""

    vectors: Any
    """The faiss index."""
    owners: Int[np.ndarray, " vector"]
    """Which row of the corpus each vector is of."""
    n_inputs: int
    """Inputs that have a vector here."""


@dataclass(eq=False, kw_only=True)
class RetrievalSource:
    """The `n` inputs of a corpus that are nearest to the activation, nearest first, each at its best position.

    Nothing is random but the default corpus. The corpus is run when a site or role is first asked for, and its
    activations are kept.
    Raises `UserError` for settings that cannot be, or without faiss (the extra `retrieval`).
    """

    probed: ProbedModel
    task: Task
    n: int
    """Inputs a query."""
    criterion: Criterion = DEFAULT
    """Its ε does not matter."""
    corpus: Tokens | None = None
    """Inputs to look among; repeats count once. Without it, `size` draws from the prior's held-out side."""
    size: int = 65536
    seed: int = 0
    """Of the corpus, where it is drawn."""
    index: str = "flat"
    """`flat` compares with every activation. `ivf` clusters them first and looks into the nearest clusters only, which
    misses some and pays from some hundred thousand activations on."""
    name: str = "retrieval"
    forwards: int = field(default=0, init=False)
    """Inputs run through the probed model so far: the corpus, once for each call that asks for new sites or roles."""
    _kept: OrderedDict[_Key, _Index] = field(default_factory=OrderedDict, init=False, repr=False)
    _coordinates: Coordinates = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _faiss()
        self._coordinates = Coordinates(self.probed)
        if self.index not in get_args(IndexKind):
            raise UserError(f"unknown index {self.index!r}: use {' or '.join(get_args(IndexKind))}")
        for what, number in (("n", self.n), ("size", self.size)):
            if number < 1:
                raise UserError(f"{what} must be at least 1, not {number}")
        if self.corpus is None:
            generator = torch.Generator().manual_seed(self.seed)
            self.corpus = self.task.sample(self.size, generator=generator, split="held-out")
        self.corpus = _distinct(self.corpus, self.task)
        if len(self.corpus) < self.n:
            raise UserError(self._too_few(len(self.corpus)))

    @property
    def density(self) -> None:
        """There is none: what is proposed is not drawn."""

    def propose(
        self, activations: Float[Tensor, "query width"], queries: Sequence[Query], generators: Sequence[Generator]
    ) -> Draws:
        """The nearest inputs of every query. Raises `UserError` where too few of the corpus have the query's role."""
        assert self.corpus is not None
        same = self.criterion.position_rule == "same"
        keys = [(Site.named(query.site), query.role if same else None) for query in queries]
        indexes = self._indexes(list(dict.fromkeys(keys)))
        nearest = torch.empty(len(queries), self.n, dtype=torch.long)
        for i, key in enumerate(keys):
            if indexes[key].n_inputs < self.n:
                raise UserError(self._too_few(indexes[key].n_inputs, key[1]))
            z_q = self._coordinates.of(key[0], activations[i, : self.probed.width(key[0])])
            nearest[i] = torch.from_numpy(self._search(indexes[key], z_q))
        return Draws(self.corpus[nearest], torch.full(nearest.shape, torch.nan))

    def _too_few(self, there_are: int, role: str | None = None) -> str:
        what = "distinct inputs" + (f" with the position {role}" if role else "")
        return f"n is {self.n}, but the corpus has {there_are} {what}: ask for fewer, or give a larger corpus"

    def _search(self, index: _Index, z_q: Float[Tensor, " width"]) -> Int[np.ndarray, " candidate"]:
        """Rows of the corpus, nearest first.

        One query at a time: faiss compares many with a matrix product, which loses small distances to rounding and
        makes a query's result depend on the others.
        """
        vector = self._comparable(z_q.float()[None]).numpy()
        reach = self.n
        while True:
            vectors = index.vectors.search(vector, min(reach, len(index.owners)), params=self._probe(index, reach))[1][
                0
            ]
            owners = index.owners[vectors[vectors >= 0]]
            first = np.sort(np.unique(owners, return_index=True)[1])[: self.n]
            if len(first) == self.n:
                nearest: Int[np.ndarray, " candidate"] = owners[first]
                return nearest
            reach *= 2

    def _probe(self, index: _Index, reach: int) -> Any:
        """How many clusters an `ivf` index looks into: one in sixteen, and enough to find `reach` vectors."""
        if self.index == "flat":
            return None
        share = max(1 / 16, 4 * reach / len(index.owners))
        return _faiss().SearchParametersIVF(nprobe=min(index.vectors.nlist, 1 + int(share * index.vectors.nlist)))

    def _indexes(self, keys: Sequence[_Key]) -> dict[_Key, _Index]:
        missing = [key for key in keys if key not in self._kept]
        if missing:
            self._kept.update(self._make(missing))
        for key in keys:
            self._kept.move_to_end(key)
        indexes = {key: self._kept[key] for key in keys}
        while len(self._kept) > 1 and sum(map(_values, self._kept.values())) > _KEPT_VALUES:
            self._kept.popitem(last=False)
        return indexes

    def _make(self, keys: Sequence[_Key]) -> dict[_Key, _Index]:
        """Indexes of sites and roles, from one pass over the corpus."""
        assert self.corpus is not None
        allowed = {role: self._allowed(self.corpus, role) for _, role in keys}
        wanted = torch.stack([*allowed.values()]).any(dim=0)
        columns = wanted.any(dim=0).nonzero()[:, 0]
        places = torch.where(wanted[:, columns], columns, -1)
        owners: dict[_Key, list[Tensor]] = {key: [] for key in keys}
        vectors: dict[_Key, list[Tensor]] = {key: [] for key in keys}
        sites = list(dict.fromkeys(site for site, _ in keys))
        for part in read_parts(self.probed, self.corpus, places, sites):
            for site in sites:
                z = part.vectors(site)
                finite = z.isfinite().all(dim=2)  # what overflows is near nothing
                for key in keys:
                    if key[0] == site:
                        there = allowed[key[1]][part.rows][:, columns] & finite
                        owners[key].append(part.rows[there.nonzero()[:, 0]])
                        vectors[key].append(self._comparable(z[there]))
        self.forwards += len(self.corpus)
        return {key: self._in_order(vectors[key], owners[key]) for key in keys}

    def _in_order(self, vectors: Sequence[Tensor], owners: Sequence[Tensor]) -> _Index:
        """An index of vectors in the order of the corpus, whatever the order in which it was run."""
        if not vectors:
            return self._built(torch.empty(0, 1), torch.empty(0, dtype=torch.long))
        whole, of = torch.cat([*vectors]), torch.cat([*owners])
        order = of.argsort(stable=True)
        return self._built(whole[order], of[order])

    def _built(self, vectors: Float[Tensor, "vector width"], owners: Int[Tensor, " vector"]) -> _Index:
        faiss = _faiss()
        width = vectors.shape[1]
        flat = faiss.IndexFlatL2(width) if self.criterion.metric == "euclidean" else faiss.IndexFlatIP(width)
        index = flat
        if self.index == "ivf" and len(vectors):
            clusters = max(1, min(int(4 * len(vectors) ** 0.5), len(vectors) // 39))  # faiss wants 39 a cluster
            index = faiss.IndexIVFFlat(flat, width, clusters, flat.metric_type)
            index.train(vectors.numpy())
        index.add(vectors.numpy())
        return _Index(index, owners.numpy(), len(np.unique(owners.numpy())))

    def _allowed(self, tokens: Tokens, role: str | None) -> PositionMask:
        """The positions of each input that may match: that of the role, or all eligible ones."""
        if role is None:
            return self.task.eligible(tokens)
        positions = eligible_role(self.task, tokens, role)
        return torch.arange(tokens.shape[1]) == positions[:, None]  # -1 is no position

    def _comparable(self, z: Float[Tensor, "vector width"]) -> Float[Tensor, "vector width"]:
        """Vectors whose Euclidean distance, or inner product for the cosine, orders them as the metric does."""
        if self.criterion.metric == "euclidean":
            return z
        return torch.nn.functional.normalize(z, eps=torch.finfo(torch.float32).tiny)


def _distinct(corpus: Tokens, task: Task) -> Int[Tensor, "input wide"]:
    """The corpus without repeats, in its order, as wide as the task's longest input."""
    if corpus.shape[1] > task.max_length:
        raise UserError(f"the corpus has {corpus.shape[1]} positions, but inputs have {task.max_length} at most")
    wide = torch.nn.functional.pad(corpus, (0, task.max_length - corpus.shape[1]), value=task.pad)
    first = np.unique(wide.numpy(), axis=0, return_index=True)[1]
    return wide[torch.from_numpy(np.sort(first))]


def _values(index: _Index) -> int:
    return len(index.owners) * int(index.vectors.d)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise UserError("retrieval needs faiss: pip install faiss-cpu") from error
    return faiss
