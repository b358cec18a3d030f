"""Sources by name, beside the decoder and the prior: those of this package, of others, and of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inversionview.criterion import Criterion
from inversionview.decoder.model import Decoder
from inversionview.errors import UserError
from inversionview.preimage.sources.edits import EditSource
from inversionview.preimage.sources.proposals import Source, given_sources
from inversionview.preimage.sources.retrieval import RetrievalSource
from inversionview.preimage.sources.widened import Frequencies, widened_sources
from inversionview.probed.model import ProbedModel
from inversionview.registry import Registry
from inversionview.tasks.base import Task


@dataclass(frozen=True)
class Wanted:
    """What a source may be made of."""

    probed: ProbedModel
    task: Task
    decoder: Decoder | None
    criterion: Criterion
    """With a measured ε: one for all queries, or one for each."""
    n: int
    """Draws a query, of all that the name stands for together."""
    name: str
    """As it was asked for, such as `cosine:0.9`."""
    frequencies: Frequencies | None = None
    """How often tokens occur, for a source that asks."""

    @property
    def argument(self) -> str:
        """What comes after the colon; empty where there is none."""
        return self.name.partition(":")[2]

    def needed_decoder(self) -> Decoder:
        """The decoder. Raises `UserError` where there is none."""
        if self.decoder is None:
            raise UserError(f"{self.name} draws from a decoder, and there is none: leave it out, or train one")
        return self.decoder


Maker = Callable[[Wanted], Sequence[Source]]


def _retrieval(wanted: Wanted) -> list[Source]:
    return [RetrievalSource(probed=wanted.probed, task=wanted.task, n=wanted.n, criterion=wanted.criterion)]


def _edits(wanted: Wanted) -> list[Source]:
    return [
        EditSource(
            probed=wanted.probed, task=wanted.task, n=wanted.n, criterion=wanted.criterion, decoder=wanted.decoder
        )
    ]


def _given(wanted: Wanted) -> Sequence[Source]:
    return given_sources(wanted.task, wanted.name, wanted.n)


def _widened(wanted: Wanted) -> Sequence[Source]:
    return widened_sources(wanted.name, wanted.needed_decoder(), wanted.task, wanted.n, wanted.frequencies)


SOURCES: Registry[Maker] = Registry(
    "source",
    "inversionview.sources",
    {
        "retrieval": _retrieval,
        "edits": _edits,
        "given": _given,
        "cosine": _widened,
        "varied": _widened,
        "unrepeated": _widened,
    },
)
"""What makes each; entry points of the group `inversionview.sources` are among them."""


def register_source(name: str, make: Maker) -> None:
    """Let readings draw from a source of your own: `also=[name]`, or `name:argument`, calls `make`.

    Raises `UserError` for a name that another one has, or that holds a colon or a comma.
    """
    if not name or set(name) & set(":,"):
        raise UserError(f"a source's name is written in lists and before a colon, so {name!r} may hold neither , nor :")
    SOURCES.register(name, make)


def make_sources(wanted: Wanted) -> Sequence[Source]:
    """The sources that a name stands for. Raises `UserError` that says which there are, and as their makers do."""
    return SOURCES.find(wanted.name.partition(":")[0])(wanted)
