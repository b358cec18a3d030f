"""A few short sentences of indirect object identification, in a vocabulary of whole words."""

from __future__ import annotations

import functools

from inversionview.tasks.ioi.phrases import Phrases
from inversionview.tasks.ioi.task import IoiTask
from inversionview.tasks.vocabulary import Vocabulary, word_tokenizer

SHORT = Phrases(
    openings=("When {A} met {B} in the {place},", "In the {place} one day, {A} saw {B}, and"),
    endings=(" {S} gave the {object} to {IO}.", " the {object} went from {S} to {IO}."),
)
WORDS = (("Alice", "Brian", "Carol", "David"), ("garden", "school"), ("book", "ring", "map"))


@functools.cache
def words() -> IoiTask:
    filled = dict.fromkeys(("A", "B", "S", "IO", "place", "object"), "Alice")
    texts = [phrase.format(**filled) for part in SHORT for phrase in part]
    texts += [f" {word}" for kind in WORDS for word in kind]
    return IoiTask(Vocabulary(word_tokenizer(texts)), *WORDS, SHORT)
