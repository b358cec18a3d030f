"""What a reading says, answer first: the words of every surface, made here once.

How well a feature is known goes by its share of its entropy, with the thresholds of the map: known, partly, a little
(from `LITTLE` on), nothing. What was not measured is none of these, and the answer says why it was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inversionview.errors import UserError
from inversionview.report.estimates import bits_row, rounded_inputs
from inversionview.report.folding import excerpt
from inversionview.report.reading import input_of, visible
from inversionview.results.estimates import FeatureBits, Pattern
from inversionview.results.map import KNOWN_SHARE, LEAST_BITS, LITTLE, PARTLY, UNASKED
from inversionview.results.reading import Reading
from inversionview.sites import Site

LINES = 4
"""Features that are known, or known partly, which have lines of their own."""
_NAMED = 3
"""Features that the sentence names of those known, and of those known partly."""
NAMES = 10
"""Names in a row."""
ONE_VALUE = 0.995
"""Share of the members from which on they all have one value, as far as words go."""
VALUES = 4
"""Values that are told of a feature."""
_WIDEST = 60
"""Characters of the values of a feature."""
MISSES = 3
_HEAD = 100
"""Characters of the input in the head line."""


@dataclass(frozen=True)
class Line:
    """A feature, and how well it is known."""

    text: str
    share: float | None
    """Of its entropy, in [0, 1]; None where the line names several features."""
    share_words: str
    detail: str
    """Bits of bits, with their interval."""


@dataclass(frozen=True)
class PatternLine:
    """What some of the members share."""

    share: float
    share_words: str
    words: str
    examples: tuple[str, ...]
    of_query: bool


@dataclass(frozen=True)
class Miss:
    """An input that is just not a member."""

    distance_words: str
    input: str
    differs: str
    """What it has in place of what the members share."""
    sample: int
    """Index into the samples of the reading."""


@dataclass(frozen=True)
class Answer:
    """What a reading says, in the order in which it is told everywhere."""

    head: str
    """Site, position and input."""
    about: str
    """What the site is, and the study."""
    sentence: str
    in_words: str
    """A rule over features, with how many of the inputs that fit it are members; empty where there was no search."""
    in_words_detail: str
    """All scores of it."""
    knows: tuple[Line, ...]
    partly: tuple[Line, ...]
    little: tuple[Line, ...]
    nothing: str
    """Names of the features that the activation says nothing of."""
    members: str
    """How many inputs look the same, and how many of them were found."""
    patterns: tuple[PatternLine, ...]
    no_pattern: str
    """Where there are none, why."""
    rows: str
    """How typical rows are drawn."""
    misses: tuple[Miss, ...]
    trust: str
    trust_level: str
    not_measured: str
    """Why what is known of features was not measured; empty where it was. That is not little."""


def answer_of(reading: Reading) -> Answer:
    """Say what an activation knows, what its members share, and how far to trust it."""
    asked = {column.name for column in reading.features}
    told = [f for f in reading.bits if f.of >= LEAST_BITS and (f.name in asked or f.name not in UNASKED)]
    known = sorted((f for f in told if f.share >= KNOWN_SHARE), key=lambda f: (-round(f.bits, 2), f.name))
    partly = _between(told, PARTLY, KNOWN_SHARE)
    little = _between(told, LITTLE, PARTLY)
    nothing = sorted(f.name for f in told if f.share < LITTLE)
    not_measured = "" if told else _why_not_measured(reading)
    patterns, explanation = reading.patterns, reading.explanation
    return Answer(
        head=_head(reading),
        about=f"{_site_words(reading.site)}, {reading.study}",
        sentence=_sentence(reading, known, partly, little, not_measured),
        in_words="" if explanation is None else explanation.line,
        in_words_detail="" if explanation is None else explanation.scores_line,
        knows=_lines(known, _known, reading.exact),
        partly=_lines(partly, _partly, reading.exact),
        little=tuple(_line(f, f.name, reading.exact) for f in little[:NAMES]),
        nothing=_listed(nothing, NAMES),
        members=_members(reading),
        patterns=() if patterns is None else tuple(map(pattern_line, patterns.found)),
        no_pattern="" if patterns is None else patterns.why_not,
        rows=_rows(reading),
        misses=_misses(reading),
        trust=_trust(reading, not_measured),
        trust_level="" if reading.trust is None else reading.trust.level,
        not_measured=not_measured,
    )


def place(reading: Reading) -> str:
    """Site and position: `a0.2 at "="`."""
    at = reading.query.at
    if not reading.query.tokens:
        return reading.site if reading.position_rule == "any" else f"{reading.site} at {_quoted(at)}"
    if at.isdigit():
        return f"{reading.site} at token {at} ({visible(reading.query.tokens[reading.query.position])})"
    return f"{reading.site} at {_quoted(at)}"


def _site_words(site: str) -> str:
    try:
        return Site.named(site).words
    except UserError:  # of a file that somebody else has written
        return site


def _quoted(at: str) -> str:
    return at if any(character.isalnum() for character in at) else f'"{visible(at)}"'


def _head(reading: Reading) -> str:
    query = reading.query
    if not query.tokens:
        return f"{place(reading)} of a vector of your own"
    words = excerpt(query.tokens[1:-1], query.position - 1, _HEAD)
    return f"{place(reading)} of “{words}”" if " " in words else f"{place(reading)} of {words}"


def _between(told: Sequence[FeatureBits], least: float, below: float) -> list[FeatureBits]:
    return sorted((f for f in told if least <= f.share < below), key=lambda f: (-round(f.share, 2), f.name))


def _lines(features: Sequence[FeatureBits], words: Callable[[FeatureBits], str], exact: bool) -> tuple[Line, ...]:
    """A line for each of the first, and one that names the others."""
    lines = [_line(feature, words(feature), exact) for feature in features[:LINES]]
    if others := features[LINES:]:
        lines.append(Line(f"and {_listed([_short(feature) for feature in others], NAMES)}", None, "", ""))
    return tuple(lines)


def _line(feature: FeatureBits, text: str, exact: bool) -> Line:
    share = max(0.0, min(1.0, feature.share))
    return Line(text, share, f"{share:.0%}", " ".join(filter(None, bits_row(feature, exact=exact))))


def _known(feature: FeatureBits) -> str:
    """A value where there is one (`sum of the hundreds digits = 14 (F1+S1)`), else those that are left."""
    value = _only_value(feature)
    if not value:
        return _partly(feature)
    if not feature.about:
        return f"{feature.name} = {value}"
    name = "" if feature.name in feature.about else f" ({feature.name})"
    return f"{feature.about} = {value}{name}"


def _partly(feature: FeatureBits) -> str:
    """The values that are left, with their weights: `F1 is 6 or 8 (51 : 49)`."""
    values, others = _values_left(feature)
    if not values:
        return feature.name
    shares = [f"{100 * share:.0f}" if share >= 0.005 else "<1" for _, share in values]
    shares += [f"{100 * others:.0f}"] if others >= 0.005 else []
    names = [*(value for value, _ in values), *(["another value"] if others >= 0.005 else [])]
    return f"{feature.name} is {_alternatives(names)} ({' : '.join(shares)})"


def _short(feature: FeatureBits) -> str:
    """A feature within a sentence: `F1+S1 = 14`, or `F1 (6 or 8)`."""
    if feature.share >= KNOWN_SHARE and (value := _only_value(feature)):
        return f"{feature.name} = {value}"
    values, others = _values_left(feature)
    names = [value for value, _ in values]
    return f"{feature.name} ({_alternatives(names)})" if 1 < len(names) <= 3 and others < 0.005 else feature.name


def _only_value(feature: FeatureBits) -> str:
    """The value that as good as all members have; the query's own, where theirs are not told."""
    if not feature.left:
        return feature.value
    value, share = feature.left[0]
    return value if share >= ONE_VALUE else ""


def _values_left(feature: FeatureBits) -> tuple[list[tuple[str, float]], float]:
    """The values that most members have, as many as there is room for, and the share of all others."""
    values: list[tuple[str, float]] = []
    for value, share in feature.left[:VALUES]:
        if values and (len(value) + sum(len(name) for name, _ in values) > _WIDEST or _sum(values) >= ONE_VALUE):
            break
        values.append((value, share))
    return values, max(0.0, 1 - _sum(values)) if values else 0.0


def _sum(values: Sequence[tuple[str, float]]) -> float:
    return sum(share for _, share in values)


def _alternatives(names: Sequence[str]) -> str:
    if any(", " in name for name in names):
        return " or ".join(names)
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _sentence(
    reading: Reading,
    known: Sequence[FeatureBits],
    partly: Sequence[FeatureBits],
    little: Sequence[FeatureBits],
    not_measured: str,
) -> str:
    where = place(reading)
    if not_measured:
        return f"What {where} knows was not measured, which is not to say that it is little: {not_measured}."
    parts = [f"knows {_and(known)}"] if known else []
    if partly:
        parts.append(f"{'' if known else 'knows '}partly {_and(partly)}")
    if not parts:
        most = f"; most of all {little[0].name} ({little[0].share:.0%})" if little else ""
        return f"{where} knows no named feature to half of its entropy{most}."
    return f"{where} {'; '.join(parts)}."


def _and(features: Sequence[FeatureBits]) -> str:
    names = [_short(feature) for feature in features[:_NAMED]]
    if left := len(features) - len(names):
        names.append(f"{left} more")
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _listed(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _why_not_measured(reading: Reading) -> str:
    if not reading.counts.inside:
        return f"no input was found inside ε = {reading.epsilon:g}"
    if reading.size is not None and reading.size.why_not:
        return reading.size.why_not
    if not reading.bits:
        return f"no bits about features were computed at ε = {reading.epsilon:g}"
    return "no feature that is named tells these inputs apart"


def _members(reading: Reading) -> str:
    """How many inputs look the same; "each run again": no other is called a member."""
    inside, size, epsilon = reading.counts.inside, reading.size, reading.epsilon
    part = f" {reading.given}" if reading.given else ""
    if reading.exact:
        return f"exactly {inside:,} of {reading.counts.in_domain:,} inputs{part}; every one was run"
    if not inside:
        return f"none found inside ε = {epsilon:g}, of {reading.counts.in_domain:,} inputs that were run"
    found = f"{inside:,} found, {'each ' if inside > 1 else ''}run again"
    if size is None or size.inputs is None or size.why_not:
        return f"{found}; how many there are is not known"
    of = "" if size.domain is None else f" of {size.domain:,}"
    return f"about {rounded_inputs(size):,}{of} inputs{part}; {found}"


def pattern_line(pattern: Pattern) -> PatternLine:
    """What some of the members share, in words."""
    examples = tuple(pattern.examples)
    return PatternLine(pattern.share, _share(pattern), pattern.words, examples, pattern.of_query)


def _share(pattern: Pattern) -> str:
    share, interval = pattern.share, pattern.interval
    apart = 0.0 if interval is None else max(share - interval.low, interval.high - share)
    if interval is not None and apart >= 0.005 and round(share, 2) == 1:
        return f"≥ {interval.low:.0%}"
    error = f" ± {100 * apart:.0f}" if apart >= 0.005 else ""
    return f"{100 * share:.0f}{error}%" if share >= 0.005 else "<1%"


def _trust(reading: Reading, not_measured: str) -> str:
    if reading.trust is None:
        return ""
    reason = reading.warning or reading.trust.reason
    return (
        f"{reading.trust.level}, for the reason above" if reason == not_measured else f"{reading.trust.level}: {reason}"
    )


def _rows(reading: Reading) -> str:
    if not reading.counts.inside:
        return ""
    if not reading.weighted:
        return "typical: drawn evenly, as weights are not known"
    return "typical: drawn by weight"


def _misses(reading: Reading) -> tuple[Miss, ...]:
    near = [i for i, sample in enumerate(reading.samples) if sample.in_domain and not sample.inside]
    near = [i for i in near if reading.samples[i].distance is not None]
    near.sort(key=lambda i: reading.samples[i].distance or 0.0)
    return tuple(_miss(reading, i) for i in near[:MISSES])


def _miss(reading: Reading, i: int) -> Miss:
    sample = reading.samples[i]
    return Miss(_beyond(sample.distance or 0.0, reading.epsilon), input_of(sample.tokens), sample.differs, i)


def _beyond(distance: float, epsilon: float) -> str:
    """A distance with two decimals, or as many more as show that it is more than epsilon."""
    return next((w for d in range(2, 9) if float(w := f"{distance:.{d}f}") > epsilon), f"{distance:g}")
