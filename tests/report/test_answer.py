"""What a reading says, in words: made-up readings of each kind, with the words that they get."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from inversionview.report.answer import Answer, Line, answer_of
from inversionview.results.estimates import FeatureBits, Interval, Pattern, Patterns, Trust
from tests.report.examples import addition, as_reading, estimated, exact, text


def feature(name: str, share: float, *, of: float = 4.0, **more: Any) -> FeatureBits:
    more.setdefault("interval", (share * of - 0.1, share * of + 0.1))
    return FeatureBits(name, share * of, of, share * of, **more)


def said(document: dict[str, Any], **changes: Any) -> Answer:
    return answer_of(dataclasses.replace(as_reading(document), **changes))


HEAD = [
    feature("F1+S1", 1.0, value="14", about="sum of the hundreds digits", left=(("14", 1.0),), interval=(3.9, 4.0)),
    feature("A1", 0.999, of=2.0, value="1", left=(("1", 0.9999),)),
    feature("F1", 0.68, of=3.17, value="6", left=(("6", 0.508), ("8", 0.492))),
    feature("S1", 0.68, of=3.17, value="8", left=(("8", 0.508), ("6", 0.492))),
    feature("A2", 0.39, value="4", left=(("4", 0.6), ("5", 0.4))),
    feature("F2", 0.02, value="1", left=(("1", 0.1), ("2", 0.1))),
    feature("S2", -0.03, value="6"),
    feature("position", 1.0, value="8", left=(("8", 1.0),)),
]
PATTERNS = Patterns(
    (
        Pattern("6··+8··", 0.508, Interval(0.505, 0.511), 450, ("616+825=1441", "655+804=1459"), True),
        Pattern("8··+6··", 0.492, Interval(0.46, 0.52), 430, ("862+665=1527",), False),
    )
)


def test_a_sampled_reading_says_what_is_known_with_its_values() -> None:
    answer = said(estimated(), bits=HEAD, patterns=PATTERNS, trust=Trust("good", "size within 2%"), weighted=True)
    assert answer.head == 'a0.0 at "=" of 615+861=1476'
    assert answer.about == "head 0 of layer 0, addition"
    assert answer.sentence == 'a0.0 at "=" knows F1+S1 = 14 and A1 = 1; partly F1 (6 or 8) and S1 (8 or 6).'
    assert answer.knows == (
        Line("sum of the hundreds digits = 14 (F1+S1)", 1.0, "100%", "4.00 of 4.00 (3.90 to 4.00)"),
        Line("A1 = 1", 0.999, "100%", "2.00 of 2.00 (1.89 to 2.10)"),
    )
    assert [line.text for line in answer.partly] == ["F1 is 6 or 8 (51 : 49)", "S1 is 8 or 6 (51 : 49)"]
    assert [(line.text, line.share_words) for line in answer.little] == [("A2", "39%")]
    assert answer.nothing == "F2, S2"
    assert answer.members == "about 6,400 of 810,000 inputs; 420 found, each run again"
    assert [line.share_words for line in answer.patterns] == ["51%", "49 ± 3%"]
    assert answer.patterns[0].examples == ("616+825=1441", "655+804=1459")
    assert (answer.trust, answer.trust_level) == ("good: size within 2%", "good")
    assert answer.rows == "typical: drawn by weight"
    assert answer.not_measured == ""


@pytest.mark.parametrize(
    ("share", "block"),
    [
        (0.9, "knows"), (0.8999, "partly"), (0.5, "partly"), (0.4999, "little"), (0.39, "little"), (0.1, "little"),
        (0.0999, "nothing"), (-0.2, "nothing"),
    ],
)  # fmt: skip
def test_how_well_a_feature_is_known_goes_by_its_share(share: float, block: str) -> None:
    answer = said(addition(), bits=[feature("F1", share, value="6", left=(("6", 0.9), ("8", 0.1)))])
    told = [name for name in ("knows", "partly", "little", "nothing") if getattr(answer, name)]
    assert told == [block]


def test_partly_known_is_never_one_value() -> None:
    for left in ((("6", 0.51), ("8", 0.49)), (("6", 0.9), ("8", 0.06), ("7", 0.04)), ()):
        [line] = said(addition(), bits=[feature("F1", 0.6, value="6", left=left)]).partly
        assert "=" not in line.text
    assert line.text == "F1"


def test_a_known_feature_whose_members_have_several_values_names_them() -> None:
    [line] = said(addition(), bits=[feature("F1", 0.91, value="8", left=(("6", 0.97), ("8", 0.03)))]).knows
    assert line.text == "F1 is 6 or 8 (97 : 3)", "the query's own value is the seldom one"


def test_values_beyond_those_told_are_counted_together() -> None:
    left = tuple((str(i), 0.2 - 0.02 * i) for i in range(6))
    [line] = said(addition(), bits=[feature("F1", 0.6, left=left)]).partly
    assert line.text == "F1 is 0, 1, 2, 3 or another value (20 : 18 : 16 : 14 : 32)"
    pairs = (("Alice, Paul", 0.5), ("Alice, Bob", 0.5))
    [line] = said(addition(), bits=[feature("names", 0.6, left=pairs)]).partly
    assert line.text == "names is Alice, Paul or Alice, Bob (50 : 50)"


def test_nothing_known_to_half_says_what_is_known_best() -> None:
    answer = said(addition(), bits=[feature("F1", 0.39), feature("F2", 0.2), feature("S1", -0.1)])
    assert answer.sentence == 'a0.0 at "=" knows no named feature to half of its entropy; most of all F1 (39%).'
    assert "little" not in answer.sentence


def test_how_an_input_is_written_is_told_only_where_it_is_asked_for() -> None:
    unasked = [feature(name, 1.0, value="8") for name in ("held out", "position", "token")]
    document = addition()
    answer = said(document, bits=[*unasked, feature("IO position", 1.0, value="3")])
    assert [line.text for line in answer.knows] == ["IO position = 3"]
    document["features"][0]["name"] = "token"
    assert [line.text for line in said(document, bits=unasked).knows] == ["token = 8"]


def test_many_features_share_a_line() -> None:
    bits = [feature(f"N{i}", 1.0, of=9.0 - i, value=str(i)) for i in range(7)]
    *lines, last = said(addition(), bits=bits).knows
    assert [line.text for line in lines] == ["N0 = 0", "N1 = 1", "N2 = 2", "N3 = 3"]
    assert (last.text, last.share) == ("and N4 = 4, N5 = 5, N6 = 6", None)
    answer = said(addition(), bits=[feature(f"N{i}", 0.0) for i in range(12)])
    assert answer.nothing == "N0, N1, N10, N11, N2, N3, N4, N5, N6, N7 and 2 more"


def test_an_exact_reading_is_exact() -> None:
    answer = said(exact())
    assert answer.members == "exactly 6,394 of 810,000 inputs; every one was run"
    assert answer.knows[0].detail == "4.09 of 4.09"
    assert answer.nothing == "C3, F2+S2"


def test_not_measured_is_not_little_and_says_why() -> None:
    document = estimated()
    document["size"] |= {"why_not": "no source of these draws has a known density", "inputs": None}
    answer = said(document, bits=[])
    assert answer.not_measured == "no source of these draws has a known density"
    assert answer.sentence == (
        'What a0.0 at "=" knows was not measured, which is not to say that it is little: '
        "no source of these draws has a known density."
    )
    assert answer.members == "420 found, each run again; how many there are is not known"
    assert (answer.knows, answer.partly, answer.little, answer.nothing) == ((), (), (), "")


def test_no_members_says_so() -> None:
    document = addition(draws=60)
    for sample in document["samples"]:
        sample["inside"] = False
    document["counts"]["inside"] = 0
    answer = said(document)
    assert answer.not_measured == "no input was found inside ε = 0.1"
    assert answer.members.startswith("none found inside ε = 0.1")
    assert answer.rows == ""
    assert len(answer.misses) == 3


def test_a_vector_has_no_input() -> None:
    document = estimated()
    document["query"] = {"tokens": [], "position": -1, "at": "="}
    answer = said(document, bits=[feature("F1+S1", 1.0, left=(("14", 1.0),))])
    assert answer.head == 'a0.0 at "=" of a vector of your own'
    assert answer.sentence == 'a0.0 at "=" knows F1+S1 = 14.'
    anywhere = said(document | {"query": document["query"] | {"at": "any position"}, "position_rule": "any"})
    assert anywhere.head == "a0.0 of a vector of your own"


def test_free_text_is_cut_around_the_token_that_is_read() -> None:
    document = text(length=60)
    answer = said(document)
    token = document["query"]["tokens"][45]
    assert answer.head.startswith(f"x5.post at token 45 ({token.replace(' ', '·')}) of “…")
    assert token in answer.head.partition(" of ")[2]
    assert len(answer.head) < 140
    assert answer.head.endswith("”")
    assert answer.about == "residual stream after layer 5, text"


def test_misses_are_the_nearest_and_show_that_they_are_outside() -> None:
    document = addition()
    near = sorted(
        (sample for sample in document["samples"] if sample["in_domain"] and not sample["inside"]),
        key=lambda sample: sample["distance"],
    )
    near[0] |= {"distance": 0.10004, "differs": "F1 = 7"}
    first, *_ = misses = said(document).misses
    assert len(misses) == 3
    assert (first.distance_words, first.differs) == ("0.10004", "F1 = 7")
    assert first.input == "".join(near[0]["tokens"][1:-1])
    assert document["samples"][first.sample] is near[0]


def test_rows_without_weights_say_so() -> None:
    assert said(estimated(), weighted=False).rows == "typical: drawn evenly, as weights are not known"


@pytest.mark.parametrize(
    ("share", "interval", "words"),
    [
        (0.508, (0.505, 0.511), "51%"), (0.5, (0.46, 0.53), "50 ± 4%"), (0.999, (0.97, 1.0), "≥ 97%"),
        (1.0, (0.999, 1.0), "100%"), (0.001, (0.0, 0.002), "<1%"), (0.25, None, "25%"),
    ],
)  # fmt: skip
def test_the_share_of_a_pattern_has_its_error(share: float, interval: tuple[float, float] | None, words: str) -> None:
    pattern = Pattern("6··", share, None if interval is None else Interval(*interval), 9, (), False)
    [line] = said(estimated(), patterns=Patterns((pattern,))).patterns
    assert line.share_words == words


def test_no_pattern_is_said() -> None:
    answer = said(estimated(), patterns=Patterns(why_not="no pattern: nothing is shared"))
    assert (answer.patterns, answer.no_pattern) == ((), "no pattern: nothing is shared")
