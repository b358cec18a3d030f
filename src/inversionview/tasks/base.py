"""The protocol that every input domain follows, and the named features its inputs have."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.files import checked_schema, read_json
from inversionview.shapes import InputMask, NextTokens, OneInput, OtherInput, PerInput, PositionMask, Positions, Tokens
from inversionview.tasks.positions import between_begin_and_end
from inversionview.tasks.vocabulary import Symbols

HELD_OUT = 10
Split = Literal["all", "train", "held-out"]


@dataclass(frozen=True)
class Feature:
    """A named property of an input (at a position), as an integer code.

    `compute(tokens [batch, pos], positions [batch])` gives codes [batch]; `values[code]` is the code's name. An input
    that lacks the property has the code of the value "none". It is only asked about inputs of the domain.
    """

    name: str
    values: tuple[str, ...]
    compute: Callable[[Tokens, Positions], Positions]
    about: str


class Start(NamedTuple):
    """What to look at first: an input, and sites with the positions at which they are read there."""

    input: str
    places: tuple[tuple[str, str], ...]


class Task(Protocol):
    """One input domain with its prior: what the probed model was trained on, and what its preimages are sets of.

    Token arrays are [batch, pos]: the begin token, the input, the end token, then padding. Positions count from the
    begin token at 0. A class of one's own derives from this one, sets `name`, `vocabulary` and `max_length`, and has
    `encode`, `sample` and `contains`; everything below those is given, and may be replaced. `tasks.listed.ListedTask`
    has all of it, for inputs that can be listed.
    """

    name: str
    """What results and errors call it."""
    vocabulary: Symbols
    """Its tokens, and which of them stand before, after and behind an input."""
    max_length: int
    """Positions of the longest input, begin and end included."""

    @abstractmethod
    def encode(self, text: str) -> OneInput:
        """Tokens [pos] of an input as a user types it, begin and end added.

        Raises `UserError` showing where, when it does not tokenise or is not in the domain.
        """

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` inputs from the prior, restricted to one side of the split."""

    @abstractmethod
    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows are in the domain; a malformed row is not."""

    one_in: int = HELD_OUT
    """One input in so many is held out, where a task has no rule of its own."""
    size: int | None = None
    """Number of inputs in the domain; None where it is not finite or not known."""
    roles: tuple[str, ...] = ()
    """Names of positions, in order."""
    columns: tuple[str, ...] = ()
    """Names of the features that are shown beside inputs where no others are asked for."""
    start: Start | None = None
    other_tokens: bool = False
    """Whether inputs may hold other tokens than `used_tokens`, as any text may."""

    @property
    def used_tokens(self) -> Int[Tensor, " used"] | None:
        """The tokens that inputs are written in, sorted, with begin, end and padding; None: all of the vocabulary."""
        return None

    @property
    def training_inputs(self) -> Tokens | None:
        """All inputs for training, of which `sample` draws each equally often; None where they are not kept."""
        return None

    @property
    def kind(self) -> str:
        """What `get_task` knows it by, where it is opened again."""
        return self.name

    @property
    def about(self) -> str:
        """A sentence for people who have not seen it before."""
        return f"Inputs of the task {self.name}."

    @property
    def features(self) -> Mapping[str, Feature]:
        """Named features, by name."""
        return {}

    @property
    def vocab_size(self) -> int:
        """Number of tokens, begin, end and padding included."""
        return self.vocabulary.size

    @property
    def begin(self) -> int:
        """The token before every input."""
        return self.vocabulary.begin

    @property
    def end(self) -> int:
        """The token after every input."""
        return self.vocabulary.end

    @property
    def pad(self) -> int:
        """The token that fills a row after its end."""
        return self.vocabulary.pad

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer, or None."""
        return getattr(self.vocabulary, "tokenizer", None)

    def decode(self, tokens: OneInput) -> str:
        """The input as a user would type it, without begin, end and padding; works on malformed rows."""
        return self.vocabulary.text(self.vocabulary.inner(tokens))

    def token_strings(self, tokens: OneInput) -> list[str]:
        """One string a position, up to and including the first end token."""
        return self.vocabulary.strings(tokens)

    def log_prior(self, tokens: Tokens) -> PerInput:
        """log p(x) in nats; minus infinity outside the domain, NaN in one that has no density.

        Without a definition of its own, that of a uniform prior where the size is known.
        """
        inside = math.nan if self.size is None else -math.log(self.size)
        return torch.where(self.contains(tokens), inside, -math.inf).to(torch.float32)

    def enumerate(self, block: int = 65536) -> Iterator[Tokens]:
        """The whole domain in blocks of at most `block` inputs, in a fixed order; `UserError` where it has no end."""
        raise UserError(f"the inputs of {self.name} cannot be enumerated: read a sample")

    def eligible(self, tokens: Tokens) -> PositionMask:
        """Positions that may be queried and matched: strictly between the begin token and the first end token."""
        return between_begin_and_end(tokens, self.end)

    def places(self, tokens: Tokens) -> Mapping[str, Positions]:
        """Position [batch] of every role, -1 in inputs that lack it; where several are one, the first one names it."""
        return {}

    def role(self, tokens: OneInput, position: int) -> str:
        """The role that a position of this input plays, its index where it has none.

        Raises `UserError` for a position that the input does not have.
        """
        length = len(self.vocabulary.inner(tokens)) + 2
        if not 0 <= position < length:
            raise UserError(f"position {position} is not in {self.decode(tokens)!r}: positions are 0 to {length - 1}")
        for role, place in self.places(tokens[None]).items():
            if int(place[0]) == position:
                return role
        return str(position)

    def roles_at(self, tokens: Tokens, positions: Positions) -> list[str]:
        """The role of one position of each input; all inputs are read together where the task has no `role` of its own.

        Raises `UserError` as `role` does.
        """
        at = positions.tolist()
        if type(self).role is not Task.role:
            return [self.role(row, position) for row, position in zip(tokens, at, strict=True)]
        roles = [str(position) for position in at]
        for role, places in reversed(list(self.places(tokens).items())):
            for row in (places == positions).nonzero()[:, 0].tolist():
                roles[row] = role
        return roles

    def position_of(self, tokens: Tokens, role: str) -> Positions:
        """Position [batch] that plays `role`, or has this index and no role; -1 where an input lacks it.

        Raises `UserError` for a role that no input has.
        """
        places = self.places(tokens)
        if role in places:
            return places[role]
        if not (role.isascii() and role.isdigit()):
            raise UserError(
                f"{self.name} has no position {role!r}; its positions are {' '.join(self.roles)}, or an index"
            )
        index = int(role)
        if index >= tokens.shape[1]:
            return torch.full_like(tokens[:, 0], -1)
        there = self.eligible(tokens)[:, index]
        for place in places.values():
            there = there & (place != index)
        return torch.where(there, index, -1)

    def is_held_out(self, tokens: Tokens) -> InputMask:
        """Which inputs of the domain are on the held-out side of the task's one split.

        Without a definition of its own, one in `one_in` by a hash of its tokens; an input is always on one side.
        """
        inside = self.eligible(tokens).long()
        mixed = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
        for column, there in zip((tokens + 1).unbind(1), inside.unbind(1), strict=True):
            mixed = torch.where(there > 0, (mixed * 1_000_003 + column * 7919) % 2_147_483_647, mixed)
        return mixed * 2_654_435_761 % 4_294_967_296 % self.one_in == 0

    def answer_mask(self, tokens: Tokens) -> PositionMask:
        """Positions that the probed model has to predict: the answer, and the end token where it closes the answer.

        Without a definition of its own, the last token of the input.
        """
        place = torch.arange(tokens.shape[1], device=tokens.device)
        last = (self.eligible(tokens) * (place + 1)).amax(dim=1) - 1
        return place == last[:, None]


@runtime_checkable
class Constrained(Protocol):
    """A task that knows which tokens can come next, so that a decoder need not learn it and draws inputs only."""

    def next_tokens(self, tokens: Tokens, start: int = 0) -> NextTokens:
        """Tokens [batch, pos, used] with which what stands up to each position can go on to become an input.

        In the order of the task's `used_tokens`; of all its tokens where that is None. All of them where the input has
        ended, or what is there is no beginning of one. Only positions from `start` on are given: a decoder that draws
        asks about the last one.
        """
        ...


@runtime_checkable
class Editable(Protocol):
    """A task whose inputs can be changed a little, which lets a random walk explore a preimage."""

    def edit(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """Change each input [batch, pos] of the domain at random, into another one of the domain, or leave it.

        Symmetric: from x to y is as probable as from y to x. All randomness comes from `generator`, on the CPU.
        """
        ...


@runtime_checkable
class Contrastable(Protocol):
    """A task that can change an input at named positions, so that a run can be patched with what it changes."""

    def change(self, tokens: Tokens, roles: tuple[str, ...], generator: torch.Generator) -> Tokens:
        """Draw anew what stands at `roles` of each input [batch, pos], and redo the answer.

        A draw may give what was there before, and may lead out of the domain. All randomness comes from `generator`, on
        the CPU. Raises `UserError` for positions that cannot be changed.
        """
        ...


@runtime_checkable
class Flippable(Protocol):
    """A task with a least change of an input that is worth patching."""

    def flip(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """Make this change in each input [batch, pos], and redo the answer; one that cannot be changed stays."""
        ...


@runtime_checkable
class Conditional(Protocol):
    """A task that can draw from its prior given what inputs share with another one, and knows how rare that is.

    So q(x) = p(x) / mass where x shares it, and 0 elsewhere: a source of known density for narrow preimages.
    """

    @property
    def conditions(self) -> Mapping[str, str]:
        """What may be given to be shared, by name, in words."""
        ...

    @property
    def neighbourhood(self) -> str:
        """The condition to draw around an input by, so that what is found is like it."""
        ...

    def sample_given(self, name: str, tokens: OtherInput, n: int, *, generator: torch.Generator) -> Tokens:
        """Draw `n` inputs from the prior, given that they share `name` with this input of the domain."""
        ...

    def log_mass(self, name: str, tokens: OtherInput) -> float:
        """How probable it is under the prior, in nats, that an input shares `name` with this one; exact."""
        ...

    def agrees(self, name: str, tokens: OtherInput, others: Tokens) -> InputMask:
        """Which inputs of the domain share `name` with this one."""
        ...


@runtime_checkable
class Restrictable(Protocol):
    """A task too large to enumerate, of which a part can be: the inputs that share something with an input."""

    @property
    def restrictions(self) -> Mapping[str, str]:
        """What may be given, by name, and which inputs are left: `inputs` goes before these words."""
        ...

    def given(self, tokens: OneInput, name: str) -> Task:
        """These inputs as a task that can enumerate, with the whole task's prior given that an input is one of them.

        It lists them sorted by token ids. Raises `UserError` for a name that is none, or too many inputs.
        """
        ...


def restricted(task: Task, tokens: OneInput, name: str) -> Task:
    """The part of a task that `Restrictable.given` gives. Raises `UserError` for a task that has none."""
    if not isinstance(task, Restrictable):
        raise UserError(f"no part of {task.name} can be enumerated by itself, given {name}: leave that out")
    return task.given(tokens, name)


@runtime_checkable
class Findable(Protocol):
    """A task in whose inputs positions can be found by more than their roles."""

    def find(self, tokens: OneInput, name: str) -> int:
        """Position of what `name` says in this input, or -1. Raises `UserError` for a name that says nothing."""
        ...


@runtime_checkable
class Configured(Protocol):
    """A task that is made of more than its name: a tokenizer, texts, a table. A study keeps it in its folder `task`.

    Its class has `load(folder, probed)`, which reads what `save` wrote; `probed` gives the study's model when called.
    """

    def save(self, folder: Path) -> None:
        """Write all that the task is made of into a folder that is there and empty."""
        ...


def read_description(folder: Path) -> dict[str, Any]:
    """`task.json` of a task that was kept. Raises `UserError` naming it when it is missing or damaged."""
    path, what = folder / "task.json", "description of the task"
    return checked_schema(read_json(path, what), path, f"a {what}", 1)
