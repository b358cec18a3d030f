"""A few short sentences of indirect object identification, by the bundled template with other phrases and words."""

from __future__ import annotations

import functools
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from inversionview.tasks.template.file import Declared, bundled, read_template
from inversionview.tasks.template.task import TemplateTask
from inversionview.tasks.vocabulary import Vocabulary, word_tokenizer

OPENINGS = ("When {A} met {B} in the {place},", "In the {place} one day, {A} saw {B}, and")
ENDINGS = (" {S} gave the {object} to {IO}.", " the {object} went from {S} to {IO}.")
WORDS = {
    "names": ("Alice", "Brian", "Carol", "David"),
    "places": ("garden", "school"),
    "objects": ("book", "ring", "map"),
}


def short(words: Mapping[str, Sequence[str]] = WORDS, endings: Sequence[str] = ENDINGS) -> Declared:
    """The template with these phrases and words."""
    text = bundled()["ioi"].read_text(encoding="utf-8")
    for part, phrases in (("opening", OPENINGS), ("ending", endings)):
        text = re.sub(rf"(?m)^{part} = \[\n(?:    .*\n)+\]", f"{part} = {json.dumps(list(phrases))}", text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ioi.toml"
        path.write_text(text, encoding="utf-8")
        return read_template(path, lists=words)


@functools.cache
def words() -> TemplateTask:
    declared = short()
    return TemplateTask.of(declared, Vocabulary(word_tokenizer(declared.words)))
