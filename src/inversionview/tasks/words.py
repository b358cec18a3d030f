"""Words in a text: where one stands whole, and how its n-th occurrence is written."""

from __future__ import annotations

import re
import unicodedata

from inversionview.errors import UserError

_NUMBERED = re.compile(r"(.+)#([0-9]+)", re.DOTALL)
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Scripts that put no space between words, as their characters' names begin."""


def occurrence(name: str) -> tuple[str, int]:
    """A word and which of its occurrences: `dog` and `dog#1` are the first, `dog#2` the second.

    Only digits behind the last `#` are a number: `C#` and `#dog` are words, and so are `#2` and, as `dog#2#1`, `dog#2`.
    Raises `UserError` where it is 0.
    """
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        return name, 1
    word, number = numbered[1], int(numbered[2])
    if number < 1:
        raise UserError(f"occurrences count from 1: write {word}#1 for the first {word!r}, or {name}#1 for {name!r}")
    return word, number


def ends(text: str, word: str) -> list[int]:
    """Behind which character of a text each occurrence of a whole word, or of words, ends, composed or decomposed.

    A letter, digit or mark beside it would make it a part of another word, but for scripts that put no spaces.
    """
    wanted = re.compile("|".join(map(re.escape, sorted(forms(word), key=len, reverse=True))))
    at, found = 0, []
    while word and (one := wanted.search(text, at)):
        is_whole = not (_joined(text, one.start()) or _joined(text, one.end()))
        found += [one.end()] if is_whole else []
        at = one.end() if is_whole else one.start() + 1
    return found


def forms(text: str) -> list[str]:
    """A text as it is, then with its accented letters composed, then with them decomposed, where these differ."""
    return list(dict.fromkeys((text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))))


def _joined(text: str, place: int) -> bool:
    """Whether a word goes on from the character before this place to the one at it."""
    return 0 < place < len(text) and _is_of_word(text[place - 1]) and _goes_on(text[place - 1], text[place])


def _goes_on(before: str, after: str) -> bool:
    if unicodedata.category(after).startswith("M"):
        return True
    unspaced = (unicodedata.name(character, "").startswith(_UNSPACED) for character in (before, after))
    return _is_of_word(after) and not any(unspaced)


def _is_of_word(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")
