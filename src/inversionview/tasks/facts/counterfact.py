"""COUNTERFACT (arXiv 2202.05262): facts of its entries, of their prompts about other subjects, and the known facts.

An entry has a fact, with a prompt and paraphrases; neighbourhood prompts, about other subjects with the same true
object; and attribute prompts, about subjects whose object is the one that the entry would have its own changed to. All
of them are true, and InversionView takes all. Which part of a neighbour's prompt is its subject, the file does not say:
it is what stands in the slot of a phrasing of the relation, the longest that fits. `known_1000.json` is a list of other
entries, one prompt for each fact that GPT-2 XL was found to know.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from inversionview.errors import UserError
from inversionview.tasks.facts.tables import Fact, FactTable, Phrasing

_log = logging.getLogger(__name__)

COUNTERFACT = "COUNTERFACT (arXiv 2202.05262)"
KNOWN = "known_id"
"""The field by which an entry of `known_1000.json` is known."""
_UNRELATED = re.compile(r"""\. |Category:\S+ |\.["')] |! """)
"""Ends of what stands before the sentence about the subject in a paraphrase."""


class _Frame(NamedTuple):
    """What stands before a subject, and from there up to the object."""

    before: str
    between: str

    @classmethod
    def around(cls, subject: str, prompt: str) -> _Frame | None:
        """Of a prompt whose last sentence holds the subject once; None for another. What is before it is cut off."""
        before, there, between = prompt.strip().rpartition(subject)
        before = _UNRELATED.split(before)[-1]
        return cls(before, f"{between} ") if there and subject not in before else None

    def subject(self, prompt: str) -> str | None:
        """What stands in the slot of a prompt that goes like this; None where none does."""
        end = len(prompt) + 1 - len(self.between)  # the prompt has no space at its end
        fits = prompt.startswith(self.before) and f"{prompt} ".endswith(self.between)
        middle = prompt[len(self.before) : end] if fits and end > len(self.before) else ""
        return middle if middle and middle == middle.strip() else None


class _Entry(NamedTuple):
    """A fact, the frames in which it is said, and prompts about others: (prompt, object)."""

    fact: Fact
    own: _Frame | None
    """Of its prompt, which holds a slot for the subject."""
    paraphrases: list[_Frame]
    others: list[tuple[str, str]]


def counterfact_table(entries: Sequence[dict[str, Any]], source: str) -> FactTable:
    """The facts of COUNTERFACT's entries and of the prompts about others; `source` is what an error calls them.

    A prompt about others that goes like no phrasing of its relation is left out, and how many are is said. A fact that
    several entries have is one. Raises `UserError` for an entry that is not as published.
    """
    parsed = [_parsed(number, entry, source) for number, entry in enumerate(entries)]
    frames = _frames(parsed)
    said: list[tuple[Fact, _Frame]] = []
    others = left_out = 0
    for entry in parsed:
        said += [(entry.fact, frame) for frame in (entry.own, *entry.paraphrases) if frame is not None]
        for prompt, named in entry.others:
            others += 1
            relation = entry.fact.relation
            subject, frame = _longest(prompt, frames[relation])
            if frame is None:
                left_out += 1
            else:
                said.append((Fact(relation, subject, named, relation), frame))
    if left_out:
        _log.warning(
            "%s of %s neighbourhood and attribute prompts go like no phrasing of their relation, and are left out",
            f"{left_out:,}", f"{others:,}",
        )  # fmt: skip
    return FactTable.of_statements(((fact, Phrasing(*frame)) for fact, frame in said), (COUNTERFACT,))


def _parsed(number: int, entry: dict[str, Any], source: str) -> _Entry:
    try:
        return _known(entry) if KNOWN in entry else _entry(entry)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"entry {number} of {source} is not as in COUNTERFACT: {error!r} is wrong in it") from error


def _entry(entry: dict[str, Any]) -> _Entry:
    rewrite = entry["requested_rewrite"]
    subject, relation = rewrite["subject"], rewrite["relation_id"]
    true, changed = (rewrite[target]["str"].strip() for target in ("target_true", "target_new"))
    frames = [_Frame.around(subject, prompt) for prompt in _prompts(entry, "paraphrase_prompts")]
    others = [(prompt, true) for prompt in _prompts(entry, "neighborhood_prompts")]
    others += [(prompt, changed) for prompt in _prompts(entry, "attribute_prompts")]
    return _Entry(
        Fact(relation, subject, true, relation),
        _Frame.around("{}", rewrite["prompt"]),
        [frame for frame in frames if frame is not None and "{" not in "".join(frame)],
        others,
    )


def _known(entry: dict[str, Any]) -> _Entry:
    relation = entry["relation_id"]
    fact = Fact(relation, entry["subject"], entry["attribute"].strip(), relation)
    return _Entry(fact, _Frame.around(fact.subject, entry["prompt"]), [], [])


def _prompts(entry: dict[str, Any], name: str) -> Iterator[str]:
    given = entry.get(name)
    yield from () if given is None else (prompt.strip() for prompt in given)


def _frames(entries: Sequence[_Entry]) -> dict[str, list[_Frame]]:
    """Of each relation: the frames of its prompts, and those of paraphrases that are said of two subjects or more."""
    subjects: defaultdict[tuple[str, _Frame], set[str]] = defaultdict(set)
    prompts: set[tuple[str, _Frame]] = set()
    for entry in entries:
        if entry.own is not None:
            prompts.add((entry.fact.relation, entry.own))
        for frame in entry.paraphrases:
            subjects[entry.fact.relation, frame].add(entry.fact.subject)
    frames: defaultdict[str, list[_Frame]] = defaultdict(list)
    for relation, frame in sorted(prompts | {key for key, those in subjects.items() if len(those) > 1}):
        frames[relation].append(frame)
    return frames


def _longest(prompt: str, frames: Sequence[_Frame]) -> tuple[str, _Frame | None]:
    """The subject by the frame that leaves least for it."""
    fitting = [(len(subject), subject, frame) for frame in frames if (subject := frame.subject(prompt)) is not None]
    return min(fitting)[1:] if fitting else ("", None)
