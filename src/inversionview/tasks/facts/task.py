"""Facts of given data sets in sentences whose last word is the object: `The capital of France is Paris.`

For any tokenizer; each fact may have phrasings of its own, as in COUNTERFACT, and its subject several names, as in
BEAR. The template `facts` has those that the package brings. The domain is finite: every fact of a table in each of its
phrasings, by each name of its subject. All of these texts are equally probable, so a fact with more of them weighs
more.
Source: InversionView (arXiv 2405.17653), section on factual recall, whose model and texts are other ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.files import write_json
from inversionview.shapes import InputMask, OneInput, PositionMask, Positions, Tokens
from inversionview.tasks.base import Feature, Start, read_description
from inversionview.tasks.facts.rows import FactRows, make_rows
from inversionview.tasks.facts.tables import FactTable
from inversionview.tasks.listed import ListedTask
from inversionview.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel

HELD_OUT = 4
"""One phrasing of a fact in so many is held out."""
ROLES = ("subject_first", "subject_last", "relation", "END", "object")
_PRIORITY = ("END", "subject_last", "subject_first", "object", "relation")
"""Which role a position has that plays several."""


class FactsTask(ListedTask):
    """Uniform over the distinct texts of a table of facts, each a fact in one of its phrasings, by one of its names.

    `subject_first` and `subject_last` are the first and the last token of the subject, `relation` the word by which the
    phrasing names the relation, where one was marked, `END` the position before the object, from which the model
    predicts it, and `object` the object's first token. Held out is about a quarter of the phrasings of each fact, by a
    hash of the text, and never all of them; with a phrasing of a fact all names of its subject are, and all facts of
    the same relation and object that share a name with it.
    """

    name = "fact-table"
    about = "Facts about the world: what is known of a subject, and of what is asked about it?"
    columns = ("relation", "subject", "object")
    start = Start("The currency of Japan is the yen.", (("a0.1", "END"), ("a3.0", "END"), ("m0", "END")))
    vocabulary: Vocabulary

    def __init__(self, vocabulary: Vocabulary, table: FactTable, *, length: int | None = None) -> None:
        """`length`: most tokens of an input, the begin token included; longer ones are left out."""
        self.table, self.length = table, length
        self.statements, self.rows = make_rows(vocabulary, table, length)
        held_out = _held_out([said.split_by for said in self.statements], self.rows)
        if not bool(held_out.any()):
            raise UserError("no fact has a phrasing to hold out: give more facts, and two phrasings or more of each")
        places = {role: self.rows.places[role] for role in _PRIORITY}
        super().__init__(vocabulary, self.rows.tokens, held_out=held_out, places=places)
        self.roles = tuple(role for role in ROLES if role in self.roles)

    def position_of(self, tokens: Tokens, role: str) -> Positions:
        """Index of a role, or of an index that has no name in that input; -1 where an input lacks it.

        Raises `UserError` for a role that facts do not have.
        """
        if role not in ROLES and not (role.isascii() and role.isdigit()):
            raise UserError(f"facts have no position {role!r}; their positions are {' '.join(self.roles)}, or an index")
        return super().position_of(tokens, role)

    def find(self, tokens: OneInput, name: str) -> int:
        """Position of a role in one input, also where `role` calls it by another one of its names; -1 without it."""
        return int(self.position_of(tokens[None], name)[0])

    def answer_mask(self, tokens: Tokens) -> PositionMask:
        """The object's tokens."""
        first, last = (
            self._of_row(column, tokens, -1)[:, None] for column in (self.rows.places["object"], self.rows.object_last)
        )
        place = torch.arange(tokens.shape[1], device=tokens.device)
        return (place >= first) & (place <= last)

    def change(self, tokens: Tokens, roles: tuple[str, ...], generator: torch.Generator) -> Tokens:
        """Another input with another `subject` in the same phrasing, another `relation` of the same subject (in any
        phrasing of it), or another `phrasing` of the same fact, by the same name; and where subjects have several,
        another `name` in the same phrasing. Raises `UserError` for anything else.
        """
        groups = self._groups
        if len(set(roles)) != 1 or roles[0] not in groups:
            raise UserError(f"facts can change one of {', '.join(groups)}, not {', '.join(roles) or 'nothing'}")
        row = self.index(tokens)
        drawn = self.rows.tokens[_one_of_the_same(groups[roles[0]], row.clamp_min(0), generator)]
        changed = torch.full_like(tokens, self.pad)
        changed[:, : drawn.shape[1]] = drawn[:, : tokens.shape[1]]
        return torch.where((row >= 0)[:, None], changed, tokens)

    @cached_property
    def _groups(self) -> dict[str, Positions]:
        """For each change: inputs of one group differ in that alone, as far as it goes."""
        rows = self.rows
        same_name, same_phrasing = (
            torch.unique(torch.stack([rows.fact, kept], dim=1), dim=0, return_inverse=True)[1]
            for kept in (rows.name, rows.phrasing)
        )
        groups = {"subject": rows.phrasing, "relation": rows.subject, "phrasing": same_name}
        return {**groups, "name": same_phrasing} if self._has_aliases else groups

    @property
    def _has_aliases(self) -> bool:
        return any(fact.aliases for fact in self.table.facts)

    @cached_property
    def features(self) -> dict[str, Feature]:
        """Relation, subject, object, the object's kind and the phrasing; the token at the position, and its index; and
        where subjects have several names, which it is.
        """
        rows = self.rows
        features = [
            self.looked_up("relation", rows.relation, rows.relations, "what is said of the subject"),
            self.looked_up("subject", rows.subject, rows.subjects, "whom or what the fact is about"),
            self.looked_up("object", rows.object, rows.objects, "what the model has to name"),
            self.looked_up("object kind", rows.kind, rows.kinds, "city, currency, language, ..."),
            self.looked_up("phrasing", rows.phrasing, rows.phrasings, "how it is said"),
        ]
        if self._has_aliases:
            features.append(
                self.looked_up("name", rows.name, rows.names, "by which of its names the subject is called")
            )
        return {feature.name: feature for feature in features} | super().features

    def save(self, folder: Path) -> None:
        """Write tokenizer and table."""
        self.vocabulary.save(folder / "tokenizer")
        self.table.save(folder / "facts.json")
        write_json(folder / "task.json", {"schema": 1, "length": self.length})

    @classmethod
    def load(cls, folder: Path, probed: Callable[[], ProbedModel] | None = None) -> FactsTask:
        """Read what `save` wrote. Raises `UserError` naming what is missing or damaged."""
        described = read_description(folder)
        table = FactTable.load(folder / "facts.json")
        return cls(Vocabulary.load(folder / "tokenizer"), table, length=described.get("length"))


def _held_out(texts: Sequence[str], rows: FactRows) -> InputMask:
    """A quarter of the texts by their hash; of facts told alike the one with the largest hash stays for training."""
    hashes = torch.tensor([zlib.crc32(text.encode()) for text in texts])
    largest = torch.full((int(rows.first.max()) + 1,), -1).scatter_reduce(0, rows.first, hashes, "amax")
    return (hashes % HELD_OUT == 0) & (hashes != largest[rows.first])


def _one_of_the_same(groups: Int[Tensor, " input"], of: Positions, generator: torch.Generator) -> Positions:
    """For each row of `of` a random row of its group, itself included."""
    order = groups.argsort(stable=True)
    count = torch.bincount(groups)
    start = count.cumsum(0) - count
    group = groups[of]
    offset = (torch.rand(len(of), generator=generator) * count[group]).long()
    return order[start[group] + offset]
