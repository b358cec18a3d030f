"""Facts in sentences whose last word is the object: `The capital of France is Paris.`

For any tokenizer. The domain is finite: every fact of a table in each of its phrasings, all equally probable.
Source: InversionView (arXiv 2405.17653), section on factual recall, whose model and texts are other ones.
"""

from __future__ import annotations

import difflib
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.files import checked_schema, read_json, write_json
from inversionview.shapes import InputMask, NextTokens, OneInput, PerInput, PositionMask, Positions, Tokens
from inversionview.tasks.base import Feature, Split
from inversionview.tasks.facts.prefixes import PrefixTree
from inversionview.tasks.facts.rows import FactRows, make_rows
from inversionview.tasks.facts.tables import FactTable
from inversionview.tasks.positions import between_begin_and_end
from inversionview.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel

HELD_OUT = 4
"""One phrasing of a fact in so many is held out."""
ROLES = ("subject_first", "subject_last", "relation", "END", "object")
_PRIORITY = ("END", "subject_last", "subject_first", "object", "relation")
"""Which role a position has that plays several."""
_SHOWN = 5


class FactsTask:
    """Uniform over the distinct texts of a table of facts, each a fact in one of its phrasings.

    `subject_first` and `subject_last` are the first and the last token of the subject, `relation` the word by which the
    phrasing names the relation, where one was marked, `END` the position before the object, from which the model
    predicts it, and `object` the object's first token. Held out is about a quarter of the phrasings of each fact, by a
    hash of the text, and never all of them.
    """

    name = "facts"
    columns = ("relation", "subject", "object")

    def __init__(self, vocabulary: Vocabulary, table: FactTable, *, length: int | None = None) -> None:
        """`length`: most tokens of an input, the begin token included; longer ones are left out."""
        self.vocabulary, self.table, self.length = vocabulary, table, length
        self.statements, self.rows = make_rows(vocabulary, table, length)
        self.begin, self.end, self.pad = vocabulary.begin, vocabulary.end, vocabulary.pad
        self.vocab_size, self.max_length = vocabulary.size, self.rows.tokens.shape[1]
        self.size = len(self.statements)
        self.roles = tuple(role for role in ROLES if bool((self.rows.places[role] > 0).any()))
        self._tree = PrefixTree(self.rows.tokens, vocab_size=self.vocab_size, end=self.end, pad=self.pad)
        self._held_out = _held_out([said.text for said in self.statements], self.rows)
        self._sides = {"train": (~self._held_out).nonzero()[:, 0], "held-out": self._held_out.nonzero()[:, 0]}
        if not len(self._sides["held-out"]):
            raise UserError("no fact has a phrasing to hold out: give more facts, and two phrasings or more of each")

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer."""
        return self.vocabulary.tokenizer

    def encode(self, text: str) -> OneInput:
        """Tokens [pos] of one of the texts; its final full stop may be left out. Raises `UserError` for any other."""
        typed = text.strip()
        for said in (typed, f"{typed}."):
            row = self.vocabulary.row(self.vocabulary.ids(said))
            if int(self._tree.index(row[None])[0]) >= 0:
                return row
        raise UserError(f"{typed!r} is not an input of facts: {self._problem(typed)}")

    def decode(self, tokens: OneInput) -> str:
        """The text, without begin, end and padding."""
        return self.vocabulary.text(self.vocabulary.inner(tokens))

    def token_strings(self, tokens: OneInput) -> list[str]:
        """What each token stands for, up to and including the first end token."""
        return self.vocabulary.strings(tokens)

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` inputs [n, pos] uniformly, with replacement."""
        if split == "all":
            return self.rows.tokens[torch.randint(self.size, (n,), generator=generator)]
        side = self._sides[split]
        return self.rows.tokens[side[torch.randint(len(side), (n,), generator=generator)]]

    def index(self, tokens: Tokens) -> Positions:
        """Which of the texts each row is, by its number; -1 where it is none."""
        return self._tree.index(tokens)

    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows are one of the texts, an end token and padding, and nothing else."""
        return self._tree.index(tokens) >= 0

    def log_prior(self, tokens: Tokens) -> PerInput:
        """Minus the logarithm of the number of texts, for each of them."""
        return torch.where(self.contains(tokens), -math.log(self.size), -math.inf).to(torch.float32)

    def enumerate(self, block: int = 65536) -> Iterator[Tokens]:
        """All texts, fact after fact."""
        yield from torch.split(self.rows.tokens, block)

    def next_tokens(self, tokens: Tokens) -> NextTokens:
        """Tokens [batch, pos, vocab] with which what stands up to each position can go on to become a text."""
        return self._tree.next_tokens(tokens)

    def eligible(self, tokens: Tokens) -> PositionMask:
        """Positions strictly between the begin token and the first end token after it."""
        return between_begin_and_end(tokens, self.end)

    def role(self, tokens: OneInput, position: int) -> str:
        """The name of a position, or its index where it has none; of several names the one that says most.

        Raises `UserError` for a position that the input does not have.
        """
        length = len(self.vocabulary.inner(tokens)) + 2
        if not 0 <= position < length:
            raise UserError(f"position {position} is not in {self.decode(tokens)!r}: positions are 0 to {length - 1}")
        row = self._index_of.get(tuple(tokens[:length].tolist()))
        if row is not None:
            for role in _PRIORITY:
                if int(self.rows.places[role][row]) == position:
                    return role
        return str(position)

    def position_of(self, tokens: Tokens, role: str) -> Positions:
        """Index of a role, or of an index that has no name in that input; -1 where an input lacks it.

        Raises `UserError` for a role that facts do not have.
        """
        if role not in ROLES and not (role.isascii() and role.isdigit()):
            raise UserError(f"facts have no position {role!r}; their positions are {' '.join(self.roles)}, or an index")
        row = self._tree.index(tokens)
        places = {name: place.to(row.device)[row.clamp_min(0)] for name, place in self.rows.places.items()}
        if role in ROLES:
            return torch.where(row >= 0, places[role], -1)
        index = int(role)
        inside = self.eligible(tokens)[:, index] if index < tokens.shape[1] else torch.zeros_like(row, dtype=torch.bool)
        named = torch.stack([place == index for place in places.values()]).any(dim=0) & (row >= 0)
        return torch.where(inside & ~named, index, -1)

    def find(self, tokens: OneInput, name: str) -> int:
        """Position of a role in one input, also where `role` calls it by another one of its names; -1 without it."""
        return int(self.position_of(tokens[None], name)[0])

    def is_held_out(self, tokens: Tokens) -> InputMask:
        """Which inputs are phrasings that were held out for their fact."""
        row = self._tree.index(tokens)
        return self._held_out.to(row.device)[row.clamp_min(0)] & (row >= 0)

    def answer_mask(self, tokens: Tokens) -> PositionMask:
        """The object's tokens."""
        row = self._tree.index(tokens)
        first, last = (
            torch.where(row >= 0, place.to(row.device)[row.clamp_min(0)], -1)[:, None]
            for place in (self.rows.places["object"], self.rows.object_last)
        )
        place = torch.arange(tokens.shape[1], device=tokens.device)
        return (place >= first) & (place <= last)

    def change(self, tokens: Tokens, roles: tuple[str, ...], generator: torch.Generator) -> Tokens:
        """Another input with another `subject` in the same phrasing, another `relation` of the same subject (in any
        phrasing of it), or another `phrasing` of the same fact. Raises `UserError` for anything else.
        """
        groups = {"subject": self.rows.phrasing, "relation": self.rows.subject, "phrasing": self.rows.fact}
        if len(set(roles)) != 1 or roles[0] not in groups:
            raise UserError(f"facts can change one of {', '.join(groups)}, not {', '.join(roles) or 'nothing'}")
        row = self._tree.index(tokens)
        drawn = self.rows.tokens[_one_of_the_same(groups[roles[0]], row.clamp_min(0), generator)]
        changed = torch.full_like(tokens, self.pad)
        changed[:, : drawn.shape[1]] = drawn[:, : tokens.shape[1]]
        return torch.where((row >= 0)[:, None], changed, tokens)

    @cached_property
    def features(self) -> dict[str, Feature]:
        """Relation, subject, object, the object's kind and the phrasing; the token at the position, and its index."""
        rows = self.rows
        features = [
            self._looked_up("relation", rows.relation, rows.relations, "what is said of the subject"),
            self._looked_up("subject", rows.subject, rows.subjects, "whom or what the fact is about"),
            self._looked_up("object", rows.object, rows.objects, "what the model has to name"),
            self._looked_up("object kind", rows.kind, rows.kinds, "city, currency, language, ..."),
            self._looked_up("phrasing", rows.phrasing, rows.phrasings, "how it is said"),
            self._token(),
            Feature(
                "position", tuple(str(t) for t in range(self.max_length)), lambda x, t: t, "the index of the position"
            ),
        ]
        return {feature.name: feature for feature in features}

    def save(self, folder: Path) -> None:
        """Write tokenizer and table."""
        self.vocabulary.save(folder / "tokenizer")
        self.table.save(folder / "facts.json")
        write_json(folder / "task.json", {"schema": 1, "length": self.length})

    @classmethod
    def load(cls, folder: Path, probed: Callable[[], ProbedModel] | None = None) -> FactsTask:
        """Read what `save` wrote. Raises `UserError` naming what is missing or damaged."""
        path, what = folder / "task.json", "description of the task"
        described = checked_schema(read_json(path, what), path, f"a {what}", 1)
        table = FactTable.load(folder / "facts.json")
        return cls(Vocabulary.load(folder / "tokenizer"), table, length=described.get("length"))

    @cached_property
    def _index_of(self) -> dict[tuple[int, ...], int]:
        """One look at a single row is much faster here than in the tree."""
        inner = [tuple(self.vocabulary.inner(row)) for row in self.rows.tokens]
        return {(self.begin, *ids, self.end): i for i, ids in enumerate(inner)}

    def _looked_up(self, name: str, codes: Positions, values: tuple[str, ...], about: str) -> Feature:
        def compute(tokens: Tokens, positions: Positions) -> Positions:
            return codes.to(tokens.device)[self._tree.index(tokens).clamp_min(0)]

        return Feature(name, values, compute, about)

    def _token(self) -> Feature:
        used = torch.unique(self.rows.tokens)
        names = [repr(self.vocabulary.text([token])) for token in used.tolist()]
        distinct = [
            name if names.count(name) == 1 else f"{name} ({token})"
            for name, token in zip(names, used.tolist(), strict=True)
        ]

        def compute(tokens: Tokens, positions: Positions) -> Positions:
            there = tokens.gather(1, positions[:, None])[:, 0]
            return torch.searchsorted(used.to(there.device), there).clamp_max(len(used) - 1)

        return Feature("token", tuple(distinct), compute, "what stands there")

    def _problem(self, typed: str) -> str:
        """At which word a text leaves the domain, and what could stand there."""
        ids = self.vocabulary.ids(typed)
        if not ids:
            return f"it is empty; one is {self.statements[0].text!r}"
        row = torch.tensor([[self.begin, *ids]])
        known = int((self._tree.nodes(row)[0] >= 0).sum())
        before = self.vocabulary.text(ids[: known - 1])
        possible = self._tree.next_tokens(row[:, :known])[0, -1].nonzero()[:, 0].tolist()
        words = [self.vocabulary.text([token]) for token in possible if token != self.end]
        if not words:
            return f"it goes on after {before!r}"
        instead = " ".join(typed[len(before) :].split(" ")[:2])
        near = difflib.get_close_matches(instead[: max(len(word) for word in words)], words, n=_SHOWN, cutoff=0.3)
        shown = ", ".join(repr(word) for word in (near or words[:_SHOWN]))
        where = f"after {before!r} comes" if before else "it begins with"
        more = f" or {len(words) - _SHOWN} others" if len(words) > _SHOWN else ""
        return f"{where} {shown}{more}, not {instead!r}" if instead else f"it stops, and {where} {shown}{more}"


def _held_out(texts: Sequence[str], rows: FactRows) -> InputMask:
    """A quarter of the texts by their hash, but of each fact the one with the largest hash stays for training."""
    hashes = torch.tensor([zlib.crc32(text.encode()) for text in texts])
    largest = torch.full((int(rows.fact.max()) + 1,), -1).scatter_reduce(0, rows.fact, hashes, "amax")
    return (hashes % HELD_OUT == 0) & (hashes != largest[rows.fact])


def _one_of_the_same(groups: Int[Tensor, " input"], of: Positions, generator: torch.Generator) -> Positions:
    """For each row of `of` a random row of its group, itself included."""
    order = groups.argsort(stable=True)
    count = torch.bincount(groups)
    start = count.cumsum(0) - count
    group = groups[of]
    offset = (torch.rand(len(of), generator=generator) * count[group]).long()
    return order[start[group] + offset]
