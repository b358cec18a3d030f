"""Between the tokens of a task and those that a decoder writes: mostly the same, else by way of the text.

A text counts once: for what its canonical tokens, those that a tokenizer gives it, are worth. Draws in other tokens are
misses, and rows of the task in other tokens have no probability; so densities of rows sum to at most one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.shapes import InputMask, Positions, Tokens
from inversionview.tasks.positions import first_end
from inversionview.tasks.vocabulary import Vocabulary

OwnTokens = Int[Tensor, "batch own_pos"]


class OwnRows(NamedTuple):
    """Rows of a task in a decoder's own tokens."""

    tokens: OwnTokens
    homes: OwnTokens
    """The task's position [batch, pos] of the token in which each own token ends: begin's at 0, end's at its own."""
    exact: InputMask
    """Which rows stand for their text alone, and fit."""


class SameTokens:
    """The task's tokens are the decoder's: nothing is changed on the way."""

    def to_own(self, tokens: Tokens) -> OwnRows:
        homes = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        return OwnRows(tokens, homes, torch.ones(len(tokens), dtype=torch.bool, device=tokens.device))

    def to_task(self, tokens: OwnTokens) -> tuple[Tokens, InputMask]:
        return tokens, torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)

    def cut(self, rows: OwnRows, lengths: Positions) -> Positions:
        return lengths

    def spread(
        self, log_probs: Float[Tensor, "temperature batch own_pos"], rows: OwnRows, width: int
    ) -> Float[Tensor, "temperature batch pos"]:
        return log_probs


class Retokenised:
    """A task's vocabulary, a decoder's own one, and the longest row of each, begin and end included.

    Raises `UserError` for tokenizers that do not say where in a text their tokens stand.
    """

    def __init__(self, task: Vocabulary, own: Vocabulary, task_length: int, own_length: int) -> None:
        if not (task.tokenizer.is_fast and own.tokenizer.is_fast):
            raise UserError("a tokenizer does not say where in a text its tokens stand: it must be a fast one")
        self.task, self.own = task, own
        self.task_length, self.own_length = task_length, own_length

    def to_own(self, tokens: Tokens) -> OwnRows:
        """The task's rows in own tokens; one that is too long is cut, and not exact."""
        ids = [self.task.inner(row) for row in tokens.cpu()]
        texts = [self.task.text(row) for row in ids]
        rows, homes, exact = [], [], []
        spans = zip(ids, texts, _spans(self.task, texts), _spans(self.own, texts), strict=True)
        for given, text, (theirs, their_ends), (ours, our_ends) in spans:
            place = torch.searchsorted(torch.tensor(their_ends), torch.tensor(our_ends)) + 1
            home = torch.cat([torch.zeros(1, dtype=torch.long), place, torch.tensor([len(their_ends) + 1])])
            rows.append(self.own.row(ours, self.own_length)[: self.own_length])
            homes.append(_padded(home, self.own_length))
            exact.append(theirs == given and len(ours) + 2 <= self.own_length and self.own.text(ours) == text)
        sizes = (len(texts), self.own_length)
        is_exact = torch.tensor(exact, dtype=torch.bool) & self.task.well_formed(tokens.cpu())
        own, places = (torch.cat([torch.empty(0, dtype=torch.long), *part]).view(sizes) for part in (rows, homes))
        return OwnRows(own.to(tokens.device), places.to(tokens.device), is_exact.to(tokens.device))

    def to_task(self, tokens: OwnTokens) -> tuple[Tokens, InputMask]:
        """Own rows in the task's tokens, and which of them are: the others become a row that holds nothing."""
        tokens, device = tokens.cpu(), tokens.device
        good = self.own.well_formed(tokens) & self.own.is_canonical(tokens)
        texts = [self.own.text(self.own.inner(row)) for row in tokens]
        rows = []
        for i, ids in enumerate(self.task.all_ids(texts)):
            good[i] &= len(ids) + 2 <= self.task_length
            rows.append(self.task.row(ids if good[i] else [], self.task_length))
        task_rows = torch.stack(rows)
        # What the task's tokens say must be the text itself: some tokenizers change it (case, spaces, unknown letters).
        again = [self.task.text(self.task.inner(row)) for row in task_rows]
        good &= torch.tensor([a == b for a, b in zip(again, texts, strict=True)])
        task_rows[~good] = self.task.row([], self.task_length)
        return task_rows.to(device), good.to(device)

    def cut(self, rows: OwnRows, lengths: Positions) -> Positions:
        """How many own tokens, at least one, end within the first `lengths` tokens of the task after begin."""
        own_end = first_end(rows.tokens, self.own.end)
        last = torch.where(own_end > 0, own_end, self.own_length - 1)[:, None]
        place = torch.arange(self.own_length, device=lengths.device)
        within = (rows.homes <= lengths[:, None].to(rows.homes.device)) & (place > 0) & (place <= last)
        return within.sum(dim=1).clamp(min=1)

    def spread(
        self, log_probs: Float[Tensor, "temperature batch own_pos"], rows: OwnRows, width: int
    ) -> Float[Tensor, "temperature batch pos"]:
        """Log-probabilities of own tokens, each added where it ends in the task's; minus infinity for no exact row."""
        device = log_probs.device
        homes = rows.homes.to(device).clamp(max=width - 1).expand(len(log_probs), -1, -1)
        spread = torch.zeros(*log_probs.shape[:2], width, device=device).scatter_add(2, homes, log_probs)
        spread[:, ~rows.exact.to(device), width - 1] = -torch.inf
        return spread


TokenAdapter = SameTokens | Retokenised
"""Takes rows of a task to a decoder's own tokens, and back."""


def _spans(vocabulary: Vocabulary, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """The tokens of each text, and where in it each of them ends."""
    cut = vocabulary.tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False, return_offsets_mapping=True
    )
    pairs = zip(cut["input_ids"], cut["offset_mapping"], strict=True)
    return [(list(ids), [end for _, end in offsets]) for ids, offsets in pairs]


def _padded(row: Tensor, width: int) -> Tensor:
    padding = torch.full((max(0, width - len(row)),), int(row[-1]), dtype=torch.long)
    return torch.cat([row, padding])[:width]
