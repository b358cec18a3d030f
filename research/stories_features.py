"""Features of the story texts beside the tokens around a position: words and names so far, and how a text began."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from inversionview.shapes import Positions, Tokens
from inversionview.tasks.base import Feature
from inversionview.tasks.text.task import TextTask

COUNTED = 3000
"""Texts of the study in which words are counted."""
WORDS, NAMES = 12, 6
"""So many words are features, and so many names are values of one."""
SEEN = "seen "


def add_features(task: TextTask) -> list[str]:
    """Add to the task a feature for each of the words in most of its texts, the latest name, and the first token.

    Gives the names of all features that the page tells about.
    """
    for word in common_words(task):
        task.add_feature(_seen(task, word))
    task.add_feature(_latest_name(task, common_names(task)))
    token = task.features["token"]
    task.add_feature(Feature("first token", token.values, lambda tokens, positions: tokens[:, 1], "the first token"))
    return ["token", "token-1", "token-2", "first token", "name", *_words_of(task), "length"]


def common_words(task: TextTask) -> list[str]:
    """The words that stand in most of the texts."""
    counts: Counter[str] = Counter()
    for text in _texts(task):
        counts.update(set(re.findall(r"(?<!\S)[A-Za-z]+", text)))
    return [word for word, _ in counts.most_common(WORDS)]


def common_names(task: TextTask) -> list[str]:
    """The words with a capital that follow “named” most often."""
    counts = Counter(name for text in _texts(task) for name in re.findall(r"named ([A-Z][a-z]+)\b(?=.)", text))
    return [name for name, _ in counts.most_common(NAMES)]


def _texts(task: TextTask) -> list[str]:
    return [task.decode(row) for row in task.windows[:COUNTED]]


def _words_of(task: TextTask) -> list[str]:
    return [name for name in task.features if name.startswith(SEEN)]


def _seen(task: TextTask, word: str) -> Feature:
    ends = WordEnds(task, word)

    def compute(tokens: Tokens, positions: Positions) -> Positions:
        return ends.of(tokens, positions).any(dim=1).long()

    return Feature(f"{SEEN}{word}", ("no", "yes"), compute, f"whether {word!r} occurs up to the position")


def _latest_name(task: TextTask, names: Sequence[str]) -> Feature:
    ends = [WordEnds(task, name) for name in names]

    def compute(tokens: Tokens, positions: Positions) -> Positions:
        place = torch.arange(tokens.shape[1])
        last = torch.stack([torch.where(name.of(tokens, positions), place, 0).amax(dim=1) for name in ends])
        place_of_name, which = last.max(dim=0)
        return torch.where(place_of_name > 0, which + 1, 0)

    return Feature("name", ("none", *names), compute, "the latest of these names up to the position")


class WordEnds:
    """Where a whole word ends, in tokens: a longer word that begins with it is another one."""

    def __init__(self, task: TextTask, word: str) -> None:
        self.pieces = torch.tensor(task.vocabulary.ids(word))
        names = task.tokenizer.convert_ids_to_tokens(list(range(task.vocab_size)))
        self.goes_on = torch.tensor([name[:1].isalpha() for name in names])
        """Of the vocabulary: letters that go on a word."""

    def of(self, tokens: Tokens, positions: Positions) -> Bool[Tensor, "batch pos"]:
        """Its last tokens up to the positions, of which nothing after is seen."""
        n, place = len(self.pieces), torch.arange(tokens.shape[1])
        ends = torch.zeros(tokens.shape, dtype=torch.bool)
        ends[:, n - 1 :] = (tokens.unfold(1, n, 1) == self.pieces).all(dim=2)
        longer = torch.zeros_like(ends)
        longer[:, :-1] = self.goes_on[tokens[:, 1:]] & (place[:-1] < positions[:, None])
        return ends & ~longer & (place <= positions[:, None])
