"""Facts and free texts together, as the decoder of the paper's factual recall is trained on: a text is a fact or none.

The domain is all texts, as in `text`; those that say a fact of the table have its roles and its features, all others
have their indices, and `none` where a fact would be.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.files import write_json
from inversionview.shapes import InputMask, OneInput, PositionMask, Positions, Tokens
from inversionview.tasks.base import Feature, Split, Task, read_description
from inversionview.tasks.facts.task import ROLES, FactsTask
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from inversionview.tasks.words import forms

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel

FACT_SHARE = 0.5
"""Share of the inputs that are facts; the others are windows of text."""
_OF_FACTS = ("relation", "subject", "object", "object kind", "phrasing", "name")


class FactsAndTextsTask(Task):
    """Half of the inputs are facts in one of their phrasings, half are windows of text; in the same tokens.

    `--at` takes a fact's roles, an index, `first`, `last` or a word. There is no density, since free texts have none.
    """

    name = "facts-and-texts"
    about = "Facts about the world, and any other text: what is known of a subject?"
    start = FactsTask.start
    columns = ("relation", "subject", "object")
    other_tokens = True

    def __init__(self, facts: FactsTask, texts: TextTask) -> None:
        """Both of one tokenizer. Texts that say a fact are left to `facts`, which knows on which side they are."""
        kept = texts.windows[facts.index(texts.windows) < 0]
        self.facts, self.texts = facts, TextTask(texts.vocabulary, kept, words=texts.words, dropped=texts.dropped)
        self.vocabulary: Vocabulary = texts.vocabulary
        self.max_length = max(texts.max_length, facts.max_length)
        self.roles = facts.roles

    @cached_property
    def used_tokens(self) -> Int[Tensor, " used"]:
        """Those of all facts, and of the texts for training."""
        used: Tensor = torch.unique(torch.cat([self.facts.used_tokens, self.texts.used_tokens]))
        return used

    @property
    def note(self) -> str:
        """What is said of the texts."""
        return self.texts.note

    def encode(self, text: str) -> OneInput:
        """Tokens [pos] of a fact, whose final full stop may be left out, or of any other text.

        Raises `UserError` where it is empty, too long, or has what the tokenizer does not know.
        """
        for said in (form + stop for form in forms(text.strip()) for stop in ("", ".")):
            row = self.vocabulary.row(self.vocabulary.ids(said))
            if int(self.facts.index(row[None])[0]) >= 0:
                return row
        return self.texts.encode(text)

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` inputs [n, pos] with replacement, each of them a fact or a text."""
        is_fact = torch.rand(n, generator=generator) < FACT_SHARE
        rows = torch.full((n, self.max_length), self.pad)
        for task, chosen in ((self.facts, is_fact), (self.texts, ~is_fact)):
            drawn = task.sample(int(chosen.sum()), generator=generator, split=split)
            rows[chosen, : drawn.shape[1]] = drawn
        return rows

    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows say a fact, or are any other text that is tokenised again as it is."""
        return self._is_fact(tokens) | self.texts.contains(tokens)

    def role(self, tokens: OneInput, position: int) -> str:
        """The role of a fact's position, or the index. Raises `UserError` for a position that the input lacks."""
        task = self.facts if int(self.facts.index(tokens[None])[0]) >= 0 else self.texts
        return task.role(tokens, position)

    def position_of(self, tokens: Tokens, role: str) -> Positions:
        """Position of a role, which only facts have, of an index without a role, or of what `text` can find."""
        if role in ROLES:
            return self.facts.position_of(tokens, role)
        of_texts = self.texts.position_of(tokens, role)
        if not role.isdecimal():
            return of_texts
        return torch.where(self._is_fact(tokens), self.facts.position_of(tokens, role), of_texts)

    def find(self, tokens: OneInput, name: str) -> int:
        """Position of a fact's role, or of `first`, `last` or a word, in one input; -1 without it."""
        if name in ROLES:
            return self.facts.find(tokens, name)
        return self.texts.find(tokens, name)

    def is_held_out(self, tokens: Tokens) -> InputMask:
        """Facts as task `facts` holds them out, other texts as `text` does."""
        return torch.where(self._is_fact(tokens), self.facts.is_held_out(tokens), self.texts.is_held_out(tokens))

    def answer_mask(self, tokens: Tokens) -> PositionMask:
        """A fact's object, and the last token of any other text."""
        is_fact = self._is_fact(tokens)[:, None]
        return torch.where(is_fact, self.facts.answer_mask(tokens), self.texts.answer_mask(tokens))

    def change(self, tokens: Tokens, roles: tuple[str, ...], generator: torch.Generator) -> Tokens:
        """Another fact with another `subject`, `relation`, `phrasing` or `name`, as in `facts`; other texts stay."""
        return self.facts.change(tokens, roles, generator)

    @cached_property
    def features(self) -> dict[str, Feature]:
        """Of facts their relation, subject, object, the object's kind and the phrasing, and whether there is one; and
        what `text` has.
        """
        of_facts = {name: self._or_none(self.facts.features[name]) for name in _OF_FACTS if name in self.facts.features}
        said = Feature("fact", ("no", "yes"), lambda x, t: self._is_fact(x).long(), "whether it says a fact")
        return {said.name: said} | of_facts | self.texts.features

    def save(self, folder: Path) -> None:
        """Write both tasks."""
        for task in (self.facts, self.texts):
            (folder / task.name).mkdir()
            task.save(folder / task.name)
        write_json(folder / "task.json", {"schema": 1})

    @classmethod
    def load(cls, folder: Path, probed: Callable[[], ProbedModel] | None = None) -> FactsAndTextsTask:
        """Read what `save` wrote. Raises `UserError` naming what is missing or damaged."""
        read_description(folder)
        return cls(FactsTask.load(folder / FactsTask.name), TextTask.load(folder / TextTask.name))

    def _is_fact(self, tokens: Tokens) -> InputMask:
        return self.facts.index(tokens) >= 0

    def _or_none(self, feature: Feature) -> Feature:
        none = len(feature.values)

        def compute(tokens: Tokens, positions: Positions) -> Positions:
            return torch.where(self._is_fact(tokens), feature.compute(tokens, positions), none)

        return Feature(feature.name, (*feature.values, "none"), compute, feature.about)
