"""Indirect object identification: `When Alice saw Paul in the garden, Paul gave the book to Alice.`

For any tokenizer, in sentences of our own writing. Each of two names stands in a sentence twice, and the last word,
which the model has to predict, is the one that was named once before: the indirect object (IO), not the subject (S).
Source: Wang et al. (arXiv 2211.00593), and InversionView (arXiv 2405.17653), section on IOI.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inversionview.errors import UserError
from inversionview.files import write_json
from inversionview.shapes import InputMask, NextTokens, OneInput, PerInput, PositionMask, Positions, Tokens
from inversionview.tasks.base import Feature, Split, Start, Task, read_description
from inversionview.tasks.ioi.features import HELD_OUT, ioi_features, pairs_held_out, phrases_held_out
from inversionview.tasks.ioi.frames import Frames, Sentences
from inversionview.tasks.ioi.phrases import Phrases
from inversionview.tasks.mistakes import where_it_leaves
from inversionview.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel

ENUMERATED = 2_000_000
"""Most inputs of a domain that is enumerated."""
ROLES = ("IO", "S1", "S1+1", "place", "S2", "object", "END", "answer")
CHANGES = ("IO", "S", "S1", "S2", "order", "place", "object")


class IoiTask(Task):
    """Uniform over all sentences: opening, ending, two names, which of them is S, which comes first, place, object.

    `IO` and `S1` are the names in the opening, `S1+1` the position behind S1, `S2` the second S, `END` the position
    before the final IO, from which the model predicts it, and `answer` that IO; `place` and `object` are these words.
    Held out are sentences whose two names are a pair that is held out, in whichever part, and those whose opening,
    ending, place and object are a combination that is; the feature `held out` says which.
    """

    name = "ioi"
    about = "Two people, one of whom is named again: who is given something?"
    start = Start(
        "When Alice saw Paul in the garden, Paul gave the book to Alice.",
        (("a1.3", "END"), ("a0.3", "END"), ("m1", "END")),
    )
    columns = ("IO", "S", "order")
    roles = ROLES

    def __init__(
        self,
        vocabulary: Vocabulary,
        names: Sequence[str],
        places: Sequence[str],
        objects: Sequence[str],
        phrases: Phrases,
    ) -> None:
        """Takes of these words those that are one token. Raises `UserError` as `Frames` does."""
        self.vocabulary = vocabulary
        self.frames = Frames(vocabulary, phrases, names, places, objects)
        self.max_length = self.frames.rows.shape[1]
        frames = self.frames
        n = len(frames.names)
        self._radix = (len(frames.templates), n, n - 1, 2, len(frames.places), len(frames.objects))
        self._count = math.prod(self._radix)
        self.size = self._count if self._count <= ENUMERATED else None
        self._pairs_out, self._phrases_out = pairs_held_out(frames), phrases_held_out(frames)

    def encode(self, text: str) -> OneInput:
        """Tokens [pos] of a sentence; its final full stop may be left out. Raises `UserError` for any other text."""
        typed = text.strip()
        for said in (typed, f"{typed}."):
            row = self.vocabulary.row(self.vocabulary.ids(said))
            if bool(self.contains(row[None])[0]):
                return row
        raise UserError(f"{typed!r} is not an input of ioi: {where_it_leaves(self, typed, self.frames.rows[0])}")

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` inputs [n, pos] uniformly, with replacement."""
        kept: list[Tokens] = []
        missing = n
        while missing > 0:
            drawn = Sentences(*self._drawn(missing * (1 if split == "all" else 2) + 8, generator))
            if split != "all":
                right = (self._held_out(drawn) > 0) == (split == "held-out")
                drawn = Sentences(*(part[right] for part in drawn))
            kept.append(self.frames.write(Sentences(*(part[:missing] for part in drawn))))
            missing -= len(kept[-1])
        return torch.cat(kept) if kept else self.frames.rows[:0]

    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows are one of the sentences, an end token and padding, and nothing else."""
        return self.frames.read(tokens)[1]

    def log_prior(self, tokens: Tokens) -> PerInput:
        """Minus the logarithm of the number of sentences, for each of them."""
        return torch.where(self.contains(tokens), -math.log(self._count), -math.inf).to(torch.float32)

    def enumerate(self, block: int = 65536) -> Iterator[Tokens]:
        """All sentences, frame after frame. Raises `UserError` where they are more than 2,000,000."""
        if self.size is None:
            raise UserError(f"the {self._count:,} sentences are too many to enumerate; at most {ENUMERATED:,} are")
        for start in range(0, self.size, block):
            yield self.frames.write(self._numbered(torch.arange(start, min(start + block, self.size))))

    def next_tokens(self, tokens: Tokens) -> NextTokens:
        """Tokens [batch, pos, vocab] with which what stands up to each position can go on to become a sentence."""
        return self.frames.next_tokens(tokens)

    def places(self, tokens: Tokens) -> dict[str, Positions]:
        """Position [batch] of each role, -1 in rows that are no sentence."""
        sentences, inside = self.frames.read(tokens)
        slots = self.frames.slots.to(tokens.device)[sentences.frame]
        first, second, place, s2, thing, answer = slots.unbind(1)
        io, s1 = torch.where(sentences.s_first > 0, second, first), torch.where(sentences.s_first > 0, first, second)
        places = dict(zip(ROLES, (io, s1, s1 + 1, place, s2, thing, answer - 1, answer), strict=True))
        return {role: torch.where(inside, position, -1) for role, position in places.items()}

    def is_held_out(self, tokens: Tokens) -> InputMask:
        """Which sentences have a pair of names or a combination of phrases that was held out."""
        sentences, inside = self.frames.read(tokens)
        return (self._held_out(sentences) > 0) & inside

    def answer_mask(self, tokens: Tokens) -> PositionMask:
        """The final IO."""
        place = torch.arange(tokens.shape[1], device=tokens.device)
        return place == self.position_of(tokens, "answer")[:, None]

    @cached_property
    def features(self) -> dict[str, Feature]:
        """The names, their order and positions, place, object and phrases, what is held out, and the token there."""
        return ioi_features(self.frames, self._held_out, self.max_length)

    def change(self, tokens: Tokens, roles: tuple[str, ...], generator: torch.Generator) -> Tokens:
        """Draw anew the name `IO` or `S` wherever it stands (`S1` says the same), `place`, `object`, or the `order` of
        the names in the opening; `S2` says which of the two names it is, so that the answer may become the other.

        Raises `UserError` for anything else.
        """
        unknown = [role for role in roles if role not in CHANGES]
        if unknown or not roles:
            raise UserError(f"ioi can change {', '.join(CHANGES)}, not {', '.join(unknown) or 'nothing'}")
        sentences, inside = self.frames.read(tokens)
        for role in dict.fromkeys("S" if role == "S1" else role for role in roles):
            sentences = self._changed(sentences, role, generator)
        return self._written(sentences, inside, tokens)

    def flip(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """The other name at S2, so that IO and S change their parts and the answer is the other one.

        The usual contrast of this task: nothing else differs, in the opening nothing at all.
        """
        sentences, inside = self.frames.read(tokens)
        return self._written(_swapped(sentences), inside, tokens)

    def save(self, folder: Path) -> None:
        """Write tokenizer, words and phrases."""
        self.vocabulary.save(folder / "tokenizer")
        frames = self.frames
        words = {"names": frames.names, "places": frames.places, "objects": frames.objects}
        write_json(folder / "task.json", {"schema": 1, **words, **frames.phrases._asdict()})

    @classmethod
    def load(cls, folder: Path, probed: Callable[[], ProbedModel] | None = None) -> IoiTask:
        """Read what `save` wrote. Raises `UserError` naming what is missing or damaged."""
        path, described = folder / "task.json", read_description(folder)
        lists = []
        for name in ("names", "places", "objects", "openings", "endings"):
            words = described.get(name)
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise UserError(f"{path} is damaged: {name} is no list of words")
            lists.append(tuple(words))
        names, places, objects, openings, endings = lists
        return cls(Vocabulary.load(folder / "tokenizer"), names, places, objects, Phrases(openings, endings))

    def _held_out(self, sentences: Sentences) -> Positions:
        """0 to 3 [batch], as `HELD_OUT` names them."""
        device = sentences.frame.device
        pair = self._pairs_out.to(device)[sentences.io, sentences.s].long()
        phrases = self._phrases_out.to(device)[sentences.frame, sentences.place, sentences.object].long()
        return pair * HELD_OUT.index("pair") + phrases * HELD_OUT.index("phrases")

    def _drawn(self, n: int, generator: torch.Generator) -> Sentences:
        parts = [torch.randint(size, (n,), generator=generator) for size in self._radix]
        return _with_two_names(parts)

    def _numbered(self, index: Positions) -> Sentences:
        parts = []
        for size in reversed(self._radix):
            parts.append(index % size)
            index = index // size
        return _with_two_names(parts[::-1])

    def _changed(self, sentences: Sentences, role: str, generator: torch.Generator) -> Sentences:
        n, frames = len(sentences.frame), self.frames

        def drawn(size: int) -> Tensor:
            return torch.randint(size, (n,), generator=generator).to(sentences.frame.device)

        if role == "IO":
            return sentences._replace(io=_other_than(sentences.s, drawn(len(frames.names) - 1)))
        if role == "S":
            return sentences._replace(s=_other_than(sentences.io, drawn(len(frames.names) - 1)))
        if role == "S2":
            swap = drawn(2) > 0
            pairs = zip(_swapped(sentences), sentences, strict=True)
            return Sentences(*(torch.where(swap, other, same) for other, same in pairs))
        if role == "order":
            return sentences._replace(s_first=drawn(2))
        return sentences._replace(**{role: drawn(len(frames.places if role == "place" else frames.objects))})

    def _written(self, sentences: Sentences, inside: InputMask, tokens: Tokens) -> Tokens:
        """These sentences, as wide as `tokens`, and `tokens` itself where it was none."""
        made = self.frames.write(Sentences(*(part.cpu() for part in sentences))).to(tokens.device)
        changed = torch.full_like(tokens, self.pad)
        width = min(made.shape[1], tokens.shape[1])
        changed[:, :width] = made[:, :width]
        return torch.where(inside[:, None], changed, tokens)


def _with_two_names(parts: Sequence[Positions]) -> Sentences:
    """Sentences whose S was numbered among the names other than IO."""
    frame, io, s, s_first, place, thing = parts
    return Sentences(frame, io, _other_than(io, s), s_first, place, thing)


def _other_than(name: Positions, index: Positions) -> Positions:
    """The index-th of the names that are not `name`."""
    return index + (index >= name).long()


def _swapped(sentences: Sentences) -> Sentences:
    """IO and S in each other's part, and the opening as it was."""
    return sentences._replace(io=sentences.s, s=sentences.io, s_first=1 - sentences.s_first)
