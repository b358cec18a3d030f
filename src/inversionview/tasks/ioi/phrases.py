"""What sentences of indirect object identification are made of: openings, endings, names, places and objects.

All of it is our own. Every opening goes with every ending, and each ending names the indirect object last.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

from inversionview.errors import UserError

OPENING_SLOTS, ENDING_SLOTS = ("{A}", "{B}", "{place}"), ("{S}", "{object}", "{IO}")


class Phrases(NamedTuple):
    """Openings, in which two names and a place stand, and endings, which start with a space and end in `{IO}.`."""

    openings: tuple[str, ...]
    endings: tuple[str, ...]

    def checked(self) -> Phrases:
        """The same. Raises `UserError` for a phrase that lacks a slot or has it where it must not stand."""
        for phrase in self.openings:
            if sorted(_slots(phrase)) != sorted(OPENING_SLOTS) or phrase.index("{A}") > phrase.index("{B}"):
                raise UserError(f"an opening has {{A}}, then {{B}}, and {{place}}, each once, not {phrase!r}")
            if phrase[:1] in ("{", " ", "") or "{A} {B}" in phrase:
                raise UserError(f"an opening starts with a word, and has one between its names, not {phrase!r}")
        for phrase in self.endings:
            if sorted(_slots(phrase)) != sorted(ENDING_SLOTS) or not phrase.startswith(" "):
                raise UserError(f"an ending starts with a space and has {{S}}, {{object}}, {{IO}} once, not {phrase!r}")
            if not phrase.endswith(" {IO}.") or phrase.endswith("} {IO}."):
                raise UserError(f"an ending ends with a word and {{IO}}., not {phrase!r}")
        return self


def _slots(phrase: str) -> list[str]:
    return re.findall(r"\{\w*\}", phrase)


_BUNDLED = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text(encoding="utf-8"))
PHRASES = Phrases(tuple(_BUNDLED["openings"]), tuple(_BUNDLED["endings"]))
SMALL_NAMES, SMALL_PLACES, SMALL_OBJECTS = (tuple(words) for words in _BUNDLED["small"].values())
NAMES, PLACES, OBJECTS = (
    (*small, *more) for small, more in zip(_BUNDLED["small"].values(), _BUNDLED["more"].values(), strict=True)
)
