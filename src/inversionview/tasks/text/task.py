"""Free text, for any model and tokenizer: windows of given texts, or texts sampled from the probed model itself.

An input is a begin token, some tokens of text, an end token. Two kinds of prior:

- of given texts, all distinct windows equally; what else could be said has no density, so nothing about sizes is known;
- of the model itself, at temperature 1 and without special tokens: the first token from a table of what begins a
  sentence, so that not all texts begin alike, then the model's own distribution. Every text has a known probability.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.files import read_tensors, write_atomic, write_tensors
from inversionview.seeds import seeded
from inversionview.shapes import InputMask, OneInput, PerInput, Positions, Tokens
from inversionview.tasks.base import Feature, Split, Task, read_description
from inversionview.tasks.positions import first_end
from inversionview.tasks.text.features import window_features, word_feature
from inversionview.tasks.text.sampling import Starts, affordable, block_rows, log_density, sample_texts
from inversionview.tasks.text.windows import LEAST_TOKENS, cut_windows
from inversionview.tasks.vocabulary import Vocabulary, used_in
from inversionview.tasks.words import occurrence

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel

FEWEST = 100
"""Distinct windows below which nothing could be learned from them."""
_MOST_NEW, _FEWEST_NEW = 10_240, 256
"""Draws up to which a small and a large model write new texts; more come from those that were kept."""


class Unwritten(NamedTuple):
    """Texts that a model is to write when one of them is first needed."""

    width: int
    """Of an input, the begin and the end token included."""
    write: Callable[[], tuple[Tokens, Starts]]
    """Gives the texts, and with which tokens they begin."""


class TextTask(Task):
    """Windows of text of at most `length` tokens, the begin token included.

    Positions have no names but their index; `position_of` also takes `first`, `last`, and a whole word: `dog` is the
    last token of its first occurrence, `dog#2` of its second. Made by `from_texts` or `sampled`.
    """

    name = "text"
    about = "Any text in a language model."
    columns = ("token",)
    other_tokens = True

    def __init__(
        self,
        vocabulary: Vocabulary,
        windows: Tokens | Unwritten,
        *,
        starts: Starts | None = None,
        probed: Callable[[], ProbedModel] | None = None,
        words: Sequence[str] = (),
        dropped: tuple[int, int] = (0, 0),
    ) -> None:
        """`dropped`: how many windows of how many were not tokenised again as they are, and are not among these."""
        self.vocabulary, self._probed = vocabulary, probed
        self.words, self.dropped = tuple(words), dropped
        self._given = windows if isinstance(windows, Unwritten) else (windows.long(), starts)
        self._is_of_model = isinstance(windows, Unwritten) or starts is not None
        self.max_length = windows.width if isinstance(windows, Unwritten) else windows.shape[1]
        self.roles = tuple(str(t) for t in range(1, self.max_length - 1))
        self._added: dict[str, Feature] = {}
        if not isinstance(windows, Unwritten):
            self._sides  # noqa: B018  (too few are known at once)

    @classmethod
    def from_texts(
        cls, vocabulary: Vocabulary, texts: Sequence[str], length: int = 20, *, words: Sequence[str] = ()
    ) -> TextTask:
        """Of the distinct windows that `cut_windows` cuts of these texts; `note` says how many it had to drop.

        Raises `UserError` where fewer than a hundred are left.
        """
        _check_length(length)
        windows = cut_windows(vocabulary, texts, length)
        if len(windows.tokens) < FEWEST:
            raise UserError(
                f"the texts give {len(windows.tokens)} different windows of up to {length - 1} tokens, too few to "
                f"learn from: give at least {FEWEST}"
            )
        return cls(vocabulary, windows.tokens, words=words, dropped=(windows.dropped, windows.cut))

    @classmethod
    def sampled(
        cls, probed: ProbedModel, length: int = 20, *, n: int = 100_000, seed: int = 0, words: Sequence[str] = ()
    ) -> TextTask:
        """Of texts sampled from the probed model when one is first needed, which takes minutes for a large one.

        `n` of them are kept, and the training draws from these.
        Raises `UserError` for a model that has fewer positions than the windows, or fewer tokens than the tokenizer.
        """
        _check_length(length)
        vocabulary = Vocabulary.of(probed)
        _check_model(probed, length)

        def write() -> tuple[Tokens, Starts]:
            generator = seeded(seed)
            starts = Starts.of(probed, vocabulary, generator)
            return sample_texts(probed, vocabulary, starts, n=n, width=length + 1, generator=generator), starts

        return cls(vocabulary, Unwritten(length + 1, write), probed=lambda: probed, words=words)

    @cached_property
    def _texts(self) -> tuple[Tokens, Starts | None]:
        return self._given.write() if isinstance(self._given, Unwritten) else self._given

    @property
    def windows(self) -> Tokens:
        """The texts that are kept [window, pos]."""
        return self._texts[0]

    @property
    def starts(self) -> Starts | None:
        """With which tokens the texts of a model begin; None where texts were given."""
        return self._texts[1]

    @cached_property
    def _sides(self) -> dict[str, Tensor]:
        """The rows of the windows on each side of the split."""
        held_out = self.is_held_out(self.windows)
        sides = {"train": (~held_out).nonzero()[:, 0], "held-out": held_out.nonzero()[:, 0]}
        if not all(len(side) for side in sides.values()):
            raise UserError(f"{len(held_out)} different windows of text are too few to hold some out: give more texts")
        return sides

    @cached_property
    def used_tokens(self) -> Int[Tensor, " used"]:
        """Those of the texts for training; any other text may hold others."""
        return used_in(self.training_inputs, self.vocabulary)

    @property
    def training_inputs(self) -> Tokens:
        """The windows on the training side of the split."""
        return self.windows[self._sides["train"]]

    @property
    def note(self) -> str:
        """How positions count where the tokenizer has no BOS token of its own, and what of the texts was dropped."""
        notes = []
        if not self.vocabulary.has_bos:
            begin = self.tokenizer.convert_ids_to_tokens(self.begin)
            notes += [
                f"the tokenizer has no BOS token: {begin} stands at position 0, and a text's own tokens count from 1"
            ]
        dropped, cut = self.dropped
        if dropped:
            notes += [
                f"{dropped:,} of {cut:,} windows of the texts were dropped ({dropped / cut:.1%}): they hold what the "
                "tokenizer does not know, or are not tokenised again as they are, wherever they are cut"
            ]
        return "; ".join(notes)

    def encode(self, text: str) -> OneInput:
        """Tokens [pos] of a text.

        Raises `UserError` where it is empty, longer than the windows, or has what the tokenizer does not know.
        """
        ids, most = self.vocabulary.ids(text), self.max_length - 2
        if not ids:
            raise UserError("the text is empty: give at least one token")
        if len(ids) > most:
            shown = self.vocabulary.text(ids[:most])
            raise UserError(f"the text has {len(ids)} tokens, and inputs here have {most} at most: end it at {shown!r}")
        return self.vocabulary.row(self.vocabulary.known_ids(text))

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` inputs [n, pos] with replacement.

        Of a model's own texts, one side of the split comes from those that were kept, and without a split new ones are
        drawn from the model where that is at hand, so that they are independent of what was trained on.
        """
        if split == "all" and self._is_of_model and self._probed is not None and n <= _MOST_NEW:
            probed = self._probed()
            if n <= affordable(_MOST_NEW, _FEWEST_NEW, probed):
                width, starts = self.max_length, self.starts
                assert starts is not None
                return sample_texts(probed, self.vocabulary, starts, n=n, width=width, generator=generator)
        if split == "all":
            return self.windows[torch.randint(len(self.windows), (n,), generator=generator)]
        side = self._sides[split]
        return self.windows[side[torch.randint(len(side), (n,), generator=generator)]]

    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows are text between begin and end; of given texts, only what is tokenised again as it is."""
        right = self.vocabulary.well_formed(tokens) & (first_end(tokens, self.end) < self.max_length)
        if not self._is_of_model and bool(right.any()):
            rows = right.nonzero()[:, 0]
            right[rows] = self.vocabulary.is_canonical(tokens[rows]).to(right.device)
        return right

    def log_prior(self, tokens: Tokens) -> PerInput:
        """log p(x) in nats; NaN inside the domain of given texts, which has no density."""
        inside = self.contains(tokens)
        log_prior = torch.full((len(tokens),), -torch.inf)
        if self.starts is None or self._probed is None:
            log_prior[inside] = torch.nan
        elif bool(inside.any()):
            probed, width = self._probed(), self.max_length
            rows = torch.split(tokens[inside], block_rows(width, self.vocab_size))
            log_prior[inside] = torch.cat([log_density(probed, self.vocabulary, self.starts, r, width) for r in rows])
        return log_prior

    def position_of(self, tokens: Tokens, role: str) -> Positions:
        """Index of `first`, `last`, an index, or a word such as `dog` or `dog#2`; -1 where an input lacks it."""
        eligible = self.eligible(tokens)
        if role == "last":
            return (eligible * torch.arange(1, tokens.shape[1] + 1, device=tokens.device)).amax(dim=1) - 1
        if role == "first" or role.isdecimal():
            index = 1 if role == "first" else int(role)
            within = eligible[:, index] if 0 < index < tokens.shape[1] else torch.zeros(len(tokens), dtype=torch.bool)
            return torch.where(within.to(tokens.device), index, -1)
        return torch.tensor([self.find(row, role) for row in tokens], device=tokens.device)

    def find(self, tokens: OneInput, name: str) -> int:
        """Position of `first`, `last`, or of the last token of a word (`dog`, `dog#2`) in one input; -1 without it."""
        if name in ("first", "last"):
            return int(self.position_of(tokens[None], name)[0])
        return self.vocabulary.find(tokens, *occurrence(name))

    @cached_property
    def _own_features(self) -> dict[str, Feature]:
        of_window = window_features(self.vocabulary, self.max_length, self.position_of)
        return of_window | {f"has:{word}": word_feature(word, self.vocabulary, self.decode) for word in self.words}

    @property
    def features(self) -> dict[str, Feature]:
        """Tokens at and before the position, position, length, words that occur, and what was added."""
        return self._own_features | self._added

    def add_feature(self, feature: Feature) -> None:
        """Let a feature of one's own be read like the others. Raises `UserError` for a name that is there."""
        if feature.name in self.features:
            raise UserError(f"there is a feature {feature.name!r} already: give another name")
        self._added[feature.name] = feature

    def save(self, folder: Path) -> None:
        """Write tokenizer, windows and start table."""
        self.vocabulary.save(folder / "tokenizer")
        tensors = {"windows": self.windows.int()}
        if self.starts is not None:
            tensors["starts"] = self.starts.log_probs
        write_tensors(folder / "texts.safetensors", tensors)
        described = {"schema": 1, "words": self.words, "dropped": self.dropped}
        write_atomic(folder / "task.json", json.dumps(described, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path, probed: Callable[[], ProbedModel] | None = None) -> TextTask:
        """Read what `save` wrote. Raises `UserError` naming what is missing or damaged."""
        described = read_description(folder)
        tensors = read_tensors(folder / "texts.safetensors")
        if "windows" not in tensors:
            raise UserError(f"{folder / 'texts.safetensors'} is damaged: it has no windows of text")
        starts = Starts(tensors["starts"]) if "starts" in tensors else None
        vocabulary = Vocabulary.load(folder / "tokenizer")
        dropped, cut = described.get("dropped", (0, 0))
        return cls(
            vocabulary, tensors["windows"], starts=starts, probed=probed, words=described.get("words", ()),
            dropped=(dropped, cut),
        )  # fmt: skip


def _check_length(length: int) -> None:
    if length < 1 + LEAST_TOKENS:
        raise UserError(f"a window needs at least {1 + LEAST_TOKENS} tokens, the begin token included, not {length}")


def _check_model(probed: ProbedModel, length: int) -> None:
    """Raise for a model that cannot write such texts, before it is run."""
    if probed.max_length < length + 1:
        most = probed.max_length - 1
        raise UserError(f"the model has {probed.max_length} positions: the length must be at most {most}, not {length}")
