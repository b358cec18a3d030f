"""The texts of a table of facts as rows of tokens, with what is known of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from inversionview.errors import UserError
from inversionview.shapes import Positions, Tokens
from inversionview.tasks.facts.tables import FactTable, Statement
from inversionview.tasks.listed import coded
from inversionview.tasks.vocabulary import Vocabulary


@dataclass(frozen=True)
class FactRows:
    """All inputs [input, pos], and of each the codes of what it says; `relations[code]` is a name."""

    tokens: Tokens
    places: Mapping[str, Positions]
    """Position of each role in every input, -1 where it lacks it."""
    object_last: Positions
    fact: Positions
    first: Positions
    """The first fact that is told alike; see `tables.Statement`."""
    relation: Positions
    subject: Positions
    object: Positions
    kind: Positions
    phrasing: Positions
    name: Positions
    relations: tuple[str, ...]
    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    kinds: tuple[str, ...]
    phrasings: tuple[str, ...]
    names: tuple[str, ...]
    """By which the subjects are called."""


def make_rows(vocabulary: Vocabulary, table: FactTable, length: int | None) -> tuple[list[Statement], FactRows]:
    """The texts that are no longer than `length` tokens (begin included), and their rows.

    Raises `UserError` for a tokenizer that does not say where its tokens stand, or where no text is left.
    """
    statements = list(table.statements())
    ids, offsets = _tokenised(vocabulary, [said.text for said in statements])
    short = [i for i, row in enumerate(ids) if length is None or len(row) < length]
    if not short:
        raise UserError(f"none of {len(statements)} texts of facts has fewer than {length} tokens")
    statements, ids, offsets = ([part[i] for i in short] for part in (statements, ids, offsets))  # type: ignore[assignment]
    width = max(map(len, ids)) + 2
    spans = {
        name: torch.tensor([_span(at, getattr(said, name)) for said, at in zip(statements, offsets, strict=True)])
        for name in ("subject", "object", "relation")
    }
    places = {
        "subject_first": spans["subject"][:, 0],
        "subject_last": spans["subject"][:, 1],
        "relation": spans["relation"][:, 1],
        "END": spans["object"][:, 0] - 1,
        "object": spans["object"][:, 0],
    }
    facts = [table.facts[said.fact] for said in statements]
    relation, relations = coded([fact.relation for fact in facts])
    subject, subjects = coded([fact.subject for fact in facts])
    object_, objects = coded([fact.object for fact in facts])
    kind, kinds = coded([fact.kind for fact in facts])
    phrasing, phrasings = coded([str(table.phrasings[said.phrasing]) for said in statements])
    name, names = coded([said.name for said in statements])
    return statements, FactRows(
        tokens=torch.stack([vocabulary.row(row, width) for row in ids]),
        places=places, object_last=spans["object"][:, 1], fact=torch.tensor([said.fact for said in statements]),
        first=torch.tensor([said.first for said in statements]), relation=relation, subject=subject, object=object_,
        kind=kind, phrasing=phrasing, name=name, relations=relations, subjects=subjects, objects=objects, kinds=kinds,
        phrasings=phrasings, names=names,
    )  # fmt: skip


def _tokenised(vocabulary: Vocabulary, texts: Sequence[str]) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
    """Tokens of each text, and at which characters each token stands."""
    if not getattr(vocabulary.tokenizer, "is_fast", False):
        raise UserError("facts need a fast tokenizer, which says at which characters its tokens stand")
    encoded: Any = vocabulary.tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )
    return list(encoded["input_ids"]), list(encoded["offset_mapping"])


def _span(offsets: Sequence[tuple[int, int]], characters: tuple[int, int] | None) -> tuple[int, int]:
    """Positions of the first and the last token that share a character with a part of the text; -1 without it."""
    if characters is None:
        return -1, -1
    start, stop = characters
    shared = [position for position, (a, b) in enumerate(offsets, start=1) if a < stop and b > start]
    return (shared[0], shared[-1]) if shared else (-1, -1)
