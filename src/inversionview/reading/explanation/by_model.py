"""What a language model says of the members of a preimage, which inputs it takes to fit, and inputs that it writes.

What it is shown and what it answers is data: texts go into the prompts as JSON between two marks that no text can hold,
and of an answer nothing is run. Answers are read leniently, as models do not keep to a form.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any, NamedTuple

from inversionview.expressions import MAX_LENGTH
from inversionview.reading.explanation.endpoint import MOST_TOKENS, EmptyAnswerError, Endpoint, Message

MOST_CHARACTERS = 500
"""Of the words of an explanation."""
MOST_VALUES = 20
"""Of a feature, that are shown."""
_MOST_STARTS = 200
"""Places of an answer at which JSON may begin that are looked at."""
_MOST_WRITTEN_TOKENS = 16_000
_JOINERS = "\u200c\u200d"  # invisible, but some scripts are not written without them
_STRING = r'"(?:[^"\\]|\\.)*+"'
_STRING_OR_REST = r'("(?:[^"\\]|\\.)*+)("?)'  # to the end where it is not closed, so that each is read once
_NOTHING = ("", "none", "null", "n/a", "unknown")


class Shown(NamedTuple):
    """What a model is shown of one activation."""

    query: str
    """The query's input, with « and » around the token at the position that is read."""
    task: str
    """One sentence on what the inputs are."""
    role: str
    """What the position is called."""
    members: tuple[str, ...]
    """The nearest first, then spread out."""
    near_misses: tuple[str, ...]
    random: tuple[str, ...]
    bits: tuple[str, ...] = ()
    """Lines such as "F1+S1: 4.1 of 4.1 bits known"."""
    features: Mapping[str, tuple[str, ...]] = {}
    """The names of the values of each feature; where there are none, no expression is asked for."""


class Proposal(NamedTuple):
    """What a model proposes."""

    words: str
    """One line; empty where the answer says nothing."""
    expression: str | None
    """As the model wrote it, to be compiled by who uses it: it may be no expression at all."""
    raw: str
    """The whole answer, without control characters."""


def propose(shown: Shown, endpoint: Endpoint) -> Proposal:
    """Have a model say in one sentence what the members share and the near misses lack; raises as `Endpoint.ask`."""
    form: dict[str, str] = {"words": "one sentence"}
    if shown.features:
        form["expression"] = "a condition, or null"
    prompt = _prompt(
        "explain",
        data=_data(_sheet(shown)),
        expression=_text("expression") if shown.features else "",
        form=json.dumps(form),
    )
    answer = _answer(prompt, endpoint, MOST_TOKENS)
    words, expression = _read_proposal(answer)
    return Proposal(_words(words), _expression(expression, shown.features), _printable(answer))


def detect(words: str, texts: Sequence[str], endpoint: Endpoint, together: int = 10) -> list[bool | None]:
    """Have a model say which texts an explanation fits, so many in one request; raises as `Endpoint.ask`.

    One for each text: None where the answer about it cannot be read. A model may lean to some places of a list, so
    give texts that fit and others in mixed order.
    """
    fits: list[bool | None] = []
    for start in range(0, len(texts), together):
        some = texts[start : start + together]
        numbered = {str(i): text for i, text in enumerate(some, 1)}
        prompt = _prompt("detect", data=_data({"statement": words, "inputs": numbered}))
        chosen = _read_numbers(_answer(prompt, endpoint, MOST_TOKENS), len(some))
        fits += [None if chosen is None else i in chosen for i in range(1, len(some) + 1)]
    return fits


def write(words: str, example: str, n: int, endpoint: Endpoint) -> list[str]:
    """Have a model write inputs that fit an explanation, in the form of an example; raises as `Endpoint.ask`.

    At most `n`, all different and none the example itself; fewer where two requests do not give as many.
    """
    written: list[str] = []
    for _ in range(2):
        missing = n - len(written)
        if missing <= 0:
            break
        data = {"statement": words, "example": example} | ({"not_again": written} if written else {})
        most_tokens = min(_MOST_WRITTEN_TOKENS, MOST_TOKENS + missing * (len(example) + 10))
        answer = _answer(_prompt("write", data=_data(data), n=str(missing)), endpoint, most_tokens)
        new = [text for text in map(_printable, _read_strings(answer)) if text.strip() and text != example]
        written = list(dict.fromkeys([*written, *new]))[:n]
    return written


# What is asked


def _text(name: str) -> str:
    return (files("inversionview.reading.explanation") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")


def _prompt(name: str, **parts: str) -> str:
    return Template(_text(name)).substitute(parts)


def _sheet(shown: Shown) -> dict[str, Any]:
    sheet: dict[str, Any] = {
        "task": shown.task,
        "position": shown.role,
        "query": shown.query,
        "members": shown.members,
        "near_misses": shown.near_misses,
        "random": shown.random,
    }
    if shown.bits:
        sheet["measured"] = shown.bits
    if shown.features:
        sheet["features"] = {name: _some(values) for name, values in shown.features.items()}
    return sheet


def _some(values: tuple[str, ...]) -> str:
    named = ", ".join(map(_quoted, values[:MOST_VALUES]))
    return named if len(values) <= MOST_VALUES else f"{named}, ... ({len(values)} in all)"


def _quoted(value: str) -> str:
    return value if re.fullmatch("-?[0-9]+", value) else f'"{value}"'


def _data(document: Mapping[str, Any]) -> str:
    """As JSON without a single "<": with it a text could end the data, or write a token of the model's own format."""
    return json.dumps(document, ensure_ascii=False, indent=1).replace("<", "\\u003c")


def _answer(prompt: str, endpoint: Endpoint, most_tokens: int) -> str:
    """What a model answers, without what it thinks first; empty where it answers nothing."""
    try:
        text = endpoint.ask([Message("user", prompt)], most_tokens=most_tokens).text
    except EmptyAnswerError:
        return ""
    thought, _, said = text.rpartition("</think>")
    return "" if not thought and said.lstrip().startswith("<think>") else said.strip()


# What is answered


def _documents(text: str) -> Iterator[Any]:
    """The JSON objects and lists in a text, outermost and in order, whatever stands around them."""
    decoder, place = json.JSONDecoder(), 0
    for _ in range(_MOST_STARTS):
        start = re.compile(r"[\[{]").search(text, place)
        if start is None:
            return
        try:
            document, place = decoder.raw_decode(text, start.start())
            yield document
        except (ValueError, RecursionError):
            place = start.end()


def _last(text: str, wanted: Callable[[Any], bool]) -> Any:
    """The last such document: models try answers out before they give one."""
    return next((document for document in reversed(list(_documents(text))) if wanted(document)), None)


def _lists(text: str) -> list[list[Any]]:
    """The lists in a text, by themselves or in an object."""
    within = ((document.values() if isinstance(document, dict) else [document]) for document in _documents(text))
    return [one for several in within for one in several if isinstance(one, list)]


def _read_proposal(answer: str) -> tuple[Any, Any]:
    document = _last(answer, lambda document: isinstance(document, dict) and "words" in document)
    if document is not None:
        return document["words"], document.get("expression")
    if (begun := re.search(rf'"words"\s*:\s*({_STRING})', answer)) is not None:  # and broken off after that
        return _decoded(begun[1]), None
    return ("" if answer.startswith(("{", "[", "```")) else answer), None


def _decoded(string: str) -> str:
    try:
        return str(json.loads(string, strict=False))
    except ValueError:
        return ""


def _words(words: Any) -> str:
    line = " ".join(_printable(words).split()) if isinstance(words, str) else ""
    if line.lower().strip(" .") in _NOTHING or not any(letter.isalnum() for letter in line):
        return ""
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 3]}..."


def _expression(expression: Any, features: Mapping[str, tuple[str, ...]]) -> str | None:
    if not features or not isinstance(expression, str):
        return None
    text = " ".join(_printable(expression).splitlines()).strip()
    within = re.fullmatch("`([^`]*)`", text)
    if within is not None and within[1] not in features:  # marked as code, rather than a name in backticks
        text = within[1].strip()
    return text if text.lower() not in _NOTHING and len(text) <= MAX_LENGTH else None


def _read_numbers(answer: str, n: int) -> set[int] | None:
    """Which of the numbers 1 to n an answer lists; None where it lists none or others."""
    lists = _lists(answer) or _lists(f"[{answer.strip(' .')}]" if answer else "")
    numbers = [_number(one) for one in lists[-1]] if lists else [None]
    chosen = {number for number in numbers if number is not None and 1 <= number <= n}
    return chosen if len(chosen) == len(set(numbers)) else None


def _number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return value if isinstance(value, int) else int(value) if re.fullmatch("[0-9]{1,6}", value) else None


def _read_strings(answer: str) -> list[str]:
    lists = [one for one in _lists(answer) if any(isinstance(text, str) for text in one)]
    if lists:
        return [text for text in lists[-1] if isinstance(text, str)]
    if "[" in answer:  # broken off
        begun = re.findall(_STRING_OR_REST, answer.partition("[")[2])
        return [_decoded(string + end) for string, end in begun if end]
    points = (re.fullmatch(r"\s*(?:[0-9]+[.)]|[-*•])\s(.+)", line) for line in answer.splitlines())
    texts = [point[1].strip("`") for point in points if point]
    return [_decoded(text) if re.fullmatch(_STRING, text) else text for text in texts]


def _printable(text: str) -> str:
    """The text without what cannot be seen and may act: control characters, and those that turn the direction."""
    return "".join(
        letter for letter in text if letter in "\n\t" or letter in _JOINERS or unicodedata.category(letter)[0] != "C"
    )
