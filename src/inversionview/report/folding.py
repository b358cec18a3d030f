"""Texts cut at tokens, never inside a word: what all share is folded, and what is asked about stays in sight."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby, pairwise

from rich.cells import cell_len

from inversionview.report.reading import printable

FOLD = "…"
_LONGEST = 8
"""Tokens of a word; what has more is no word but a script without spaces, and is cut between any tokens."""
_SAVES = 4
"""Cells of the shortest run that is folded because all share it."""


def words_of(tokens: Sequence[str]) -> list[range]:
    """The words of a text, as ranges of token indices that together are all of them."""
    starts = [i for i in range(len(tokens)) if i == 0 or _begins_word(tokens[i - 1], tokens[i])]
    words = [range(start, end) for start, end in pairwise([*starts, len(tokens)])]
    return [part for word in words for part in ([word] if len(word) <= _LONGEST else (range(i, i + 1) for i in word))]


def folded(
    tokens: Sequence[str], position: int, room: int, *, keep: Collection[int] = (), shared: Collection[int] = ()
) -> list[int | None]:
    """The tokens to be shown in `room` cells, by index, and None for each run that is left out.

    Runs of `shared` tokens are left out first, then the words that are farthest from the position and from tokens to
    `keep`, at last those to keep; the word at the position (-1: none) stays whatever its width.
    """
    words = words_of(tokens)
    widths = [sum(cell_len(printable(tokens[i])) for i in word) for word in words]
    here = {n for n, word in enumerate(words) if position in word}
    kept = {n for n, word in enumerate(words) if any(i in word for i in keep)} - here
    free = [n for n in range(len(words)) if n not in here | kept]
    hidden = [False] * len(words)
    common = {n for n in free if all(i in shared for i in words[n])}
    for is_common, run in groupby(range(len(words)), key=common.__contains__):
        together = list(run)
        if is_common and sum(widths[n] for n in together) >= _SAVES:
            hidden[together[0] : together[-1] + 1] = [True] * len(together)
    room -= sum(width for width, gone in zip(widths, hidden, strict=True) if not gone)
    room -= sum(gone for gone, _ in groupby(hidden))
    anchors = (here | kept) or {0}
    free.sort(key=lambda n: -min(abs(n - anchor) for anchor in anchors))
    centre = min(here, default=0)
    for n in [*free, *sorted(kept, key=lambda n: -abs(n - centre))]:
        if room >= 0:
            break
        if not hidden[n]:
            beside = sum(0 <= m < len(words) and hidden[m] for m in (n - 1, n + 1))
            room += widths[n] - cell_len(FOLD) * (1 - beside)
            hidden[n] = True
    return list(_indices(words, hidden))


def excerpt(tokens: Sequence[str], position: int, room: int) -> str:
    """A text as one reads it, around a position where it has not room enough."""
    parts = [FOLD if i is None else printable(tokens[i]) for i in folded(tokens, position, room)]
    return "".join(parts).strip()


def places(tokens: Sequence[str], values: Iterable[str]) -> set[int]:
    """Indices of the tokens that spell one of some values, as whole words."""
    starts, text = [0], ""
    for token in tokens:
        text += token
        starts.append(len(text))
    found: set[int] = set()
    for value in {value for value in values if value}:
        at = text.find(value)
        while at >= 0:
            end = at + len(value)
            if not (text[max(0, at - 1) : at].isalnum() or text[end : end + 1].isalnum()):
                found |= {i for i in range(len(tokens)) if starts[i] < end and starts[i + 1] > at}
            at = text.find(value, at + 1)
    return found


def _begins_word(before: str, token: str) -> bool:
    if not token or not before:  # a piece of the character that a token beside it shows whole
        return False
    if token[0] in "'’" and len(token) > 1:
        return not before[-1].isalnum()
    return not (before[-1].isalnum() and token[0].isalnum())


def _indices(words: Sequence[range], hidden: Sequence[bool]) -> Iterator[int | None]:
    for is_hidden, run in groupby(range(len(words)), key=hidden.__getitem__):
        if is_hidden:
            yield None
        else:
            yield from (i for n in run for i in words[n])
