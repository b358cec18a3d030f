"""What a reading says, in a terminal: a label in front, shares and bars at the right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.text import Text

from inversionview.report.answer import Answer, Line, PatternLine
from inversionview.report.reading import printable
from inversionview.report.terminal_lines import shortened

LABEL = 9
"""Cells of the labels, `A LITTLE` being the longest."""
BAR = 10
PATTERNS = 5
"""Patterns that have lines of their own."""
_EXAMPLES = 3


def answer_lines(answer: Answer, width: int) -> list[Text]:
    """The head, the sentence, what is known and how well, and what the members share; none wider than `width`."""
    lines = [*_head(answer, width), *labelled("", answer.sentence, width, indent=0)]
    lines += labelled("IN WORDS", answer.in_words, width)
    for label, told in (("KNOWS", answer.knows), ("PARTLY", answer.partly)):
        for i, line in enumerate(told):
            lines += _feature("" if i else label, line, width)
    little = "; ".join(f"{line.text} {line.share_words}" for line in answer.little)
    lines += labelled("A LITTLE", little, width)
    lines += labelled("NOT", answer.nothing, width)
    lines += labelled("MEMBERS", answer.members, width)
    lines += _patterns(answer.patterns, width)
    return [*lines, *labelled("", answer.no_pattern, width)]


def last_lines(answer: Answer, width: int, *, misses: bool = True) -> list[Text]:
    """The nearest inputs that are no members, and how far to trust all this."""
    lines = []
    for i, miss in enumerate(answer.misses if misses else ()):
        start = f"{miss.distance_words}  "
        end = f"  {printable(miss.differs)}" if miss.differs else ""
        room = max(width - LABEL - len(start) - cell_len(end), width // 2)
        line = Text.assemble("" if i else ("MISSES", "bold"))
        line.append(" " * (LABEL - line.cell_len) + start + shortened(printable(miss.input), room) + end)
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    return [*lines, *labelled("TRUST", answer.trust, width)]


def labelled(label: str, words: str, width: int, *, indent: int = LABEL) -> list[Text]:
    """Words behind a label, wrapped between words; nothing where there are no words."""
    if not words:
        return []
    lines = wrapped(printable(words), max(1, width - indent))
    return [
        Text.assemble(("" if i else label.ljust(indent), "bold"), " " * (indent if i else 0), line)
        for i, line in enumerate(lines)
    ]


def wrapped(words: str, width: int) -> list[str]:
    """Lines of whole words; a word that is wider than a line is broken."""
    lines = [""]
    for word in words.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = word
        while cell_len(lines[-1]) > width:
            lines[-1:] = _broken(lines[-1], width)
    return lines


def _broken(word: str, width: int) -> tuple[str, str]:
    cut = next((i for i in range(1, len(word)) if cell_len(word[: i + 1]) > width), len(word))
    return word[:cut], word[cut:]


def _head(answer: Answer, width: int) -> list[Text]:
    head, about = printable(answer.head), printable(answer.about)
    space = width - cell_len(head) - cell_len(about)
    if space >= 2:
        return [Text.assemble((head, "bold"), " " * space, (about, "dim"))]
    lines = [Text(line, style="bold") for line in wrapped(head, width)]
    return [*lines, *(Text(line, style="dim") for line in wrapped(about, width))]


def _feature(label: str, line: Line, width: int) -> Iterator[Text]:
    """The words of a feature, with its share and a bar beside their first line, where these have room."""
    bar = "" if line.share is None else f"{line.share_words:>6}  {'█' * round(BAR * line.share)}"
    right = 8 + BAR if width >= 60 else 6 if width >= 40 else 0
    texts = wrapped(printable(line.text), max(1, width - LABEL - right))
    for i, words in enumerate(texts):
        text = Text.assemble((label.ljust(LABEL) if not i else " " * LABEL, "bold"), words)
        if not i and right:
            text.append(" " * (width - right - text.cell_len) + (bar if right > 6 else bar[:6]))
        text.rstrip()
        yield text


def _patterns(patterns: Sequence[PatternLine], width: int) -> Iterator[Text]:
    """A line a pattern, with as many whole examples as there is room for."""
    shown = patterns[:PATTERNS]
    shares = max([LABEL - 2, *(len(line.share_words) for line in shown)])
    room = width - shares - 2
    most = max((cell_len(printable(line.words)) for line in shown), default=0)
    column = min(most, max(room // 2, min(most, room)))
    for line in shown:
        words = shortened(printable(line.words), room)
        text = Text.assemble(line.share_words.rjust(shares), "  ", (words, "bold"))
        text.append(" " * (column - cell_len(words)))
        for example in map(printable, line.examples[:_EXAMPLES]):
            if text.cell_len + 3 + cell_len(example) <= width:
                text.append(f"   {example}", "dim")
        text.rstrip()
        yield text
    if left := patterns[PATTERNS:]:
        share = sum(line.share for line in left)
        yield Text(f"{share:.0%}".rjust(shares) + f"  {len(left)} more patterns", style="dim")
