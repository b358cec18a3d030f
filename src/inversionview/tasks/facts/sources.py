"""What recipe `facts` is made of: facts of BEAR and COUNTERFACT, and sentences of free texts such as MiniPile.

MiniPile (arXiv 2304.08442) is a data set of Parquet files with the column `text`; of it, as in the paper, the sentences
of at most a hundred characters are taken. COUNTERFACT is one JSON list, or a data set of the same entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from inversionview.errors import UserError
from inversionview.tasks.facts.counterfact import counterfact_table
from inversionview.tasks.facts.files import is_bear, read_facts
from inversionview.tasks.facts.tables import FactTable
from inversionview.tasks.text.files import MOST_TEXTS, counted, iter_rows, iter_texts

LONGEST_SENTENCE = 100
"""Characters; the paper's."""
SHORTEST_SENTENCE = 10
ENTRY = "requested_rewrite"
"""The column by which a row is known as an entry of COUNTERFACT."""
_BOUNDARY = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["')\]]))\s+|\n+""")


class Sources(NamedTuple):
    """Facts, None where there are none, and sentences."""

    table: FactTable | None
    sentences: list[str]


def read_sources(sources: Sequence[str], column: str | None = None) -> Sources:
    """Facts and sentences of folders, files and data sets of the hub; which is which is seen from what is in them.

    A folder with files such as `P36.jsonl` is BEAR; a `.json` file, and rows with `requested_rewrite`, are COUNTERFACT;
    anything else is text, in `column`, by default `text`. Of texts the first 200,000 sentences are taken.
    Raises `UserError` that says what is missing or not as it should be.
    """
    tables, sentences = [], []
    for source in sources:
        table = _facts(source)
        if table is not None:
            tables.append(table)
            continue
        some = counted(islice(short_sentences(iter_texts(source, column)), MOST_TEXTS))
        if not some:
            raise UserError(f"{source} holds no sentence of {SHORTEST_SENTENCE} to {LONGEST_SENTENCE} characters")
        sentences += some
    return Sources(FactTable.merged(tables) if tables else None, sentences)


def short_sentences(texts: Iterable[str]) -> Iterator[str]:
    """The sentences of texts that have 10 to 100 characters; they end at `.`, `!`, `?` or the end of a line."""
    for text in texts:
        for sentence in map(str.strip, _BOUNDARY.split(text)):
            if SHORTEST_SENTENCE <= len(sentence) <= LONGEST_SENTENCE:
                yield sentence


def _facts(source: str) -> FactTable | None:
    """The facts of a source, or None where it is of texts."""
    path = Path(source).expanduser()
    if is_bear(path) or path.suffix.lower() == ".json":
        return read_facts(path)
    rows = iter_rows(source)
    first = next(rows, None)
    if first is None or ENTRY not in first:
        return None
    return counterfact_table([first, *rows], source)
