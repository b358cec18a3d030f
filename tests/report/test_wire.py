"""Documents as they go to a browser."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import Any

import numpy as np
import pytest

from inversionview.report.answer import answer_of
from inversionview.report.estimates import bits_row
from inversionview.report.reading import facts, settings, source_lines
from inversionview.report.wire import pack_causal, pack_map, pack_reading, with_colors
from inversionview.results.colors import TokenColors
from inversionview.results.reading import Reading
from tests.report.causal import document
from tests.report.examples import addition, addition_map, as_map, as_reading, estimated, exact, pack, text, told


def unpacked(packed: dict) -> list[list[str]]:
    """What `unpack` in `wire.js` does."""
    return [[packed["strings"][i] for i in sample["tokens"]] for sample in packed["samples"]]


@pytest.mark.parametrize("reading", [addition(), estimated(), exact(), text(length=60, samples=4)])
def test_a_packed_reading_is_the_reading(reading: dict[str, Any]) -> None:
    document = json.loads(json.dumps(pack(reading)))
    assert unpacked(document) == [sample["tokens"] for sample in reading["samples"]]
    assert len(set(document["strings"])) == len(document["strings"])
    for small, sample in zip(document["samples"], reading["samples"], strict=True):
        assert small["distance"] == pytest.approx(sample["distance"], rel=1e-3)
        assert small["inside"] == sample["inside"]
    for small, column in zip(document["features"], reading.get("features", []), strict=True):
        assert [document["strings"][i] for i in small["values"]] == column["values"]
    for name in ("query", "counts", "epsilon", "sources"):
        assert document[name] == reading[name]


def test_what_is_hidden_is_made_visible_once() -> None:
    reading = addition(draws=3)
    reading["samples"][0]["tokens"] = [" a", "\u202e", "\n", *reading["samples"][0]["tokens"][3:]]
    reading["study"] = reading["features"][0]["name"] = "a b\u202e"
    packed = pack(reading)
    assert [packed["shown"][i] for i in packed["samples"][0]["tokens"]][:3] == ["·a", "⟨202E⟩", "↵"]
    assert [packed["strings"][i] for i in packed["samples"][0]["tokens"]][:3] == [" a", "\u202e", "\n"]
    assert packed["study"] == packed["features"][0]["name"] == "a b⟨202E⟩"
    assert [packed["strings"][i] for i in packed["query_ids"]] == reading["query"]["tokens"]


@pytest.mark.parametrize("distance", [0.1, 0.10000001, 0.099999999, 0.100049])
def test_rounding_moves_no_distance_over_epsilon(distance: float) -> None:
    reading = addition(draws=3)
    reading["samples"][0] |= {"distance": distance, "inside": distance <= 0.1}
    (first, *_) = pack(reading)["samples"]
    assert (first["distance"] <= 0.1) == (distance <= 0.1)


def test_what_is_not_a_number_is_none() -> None:
    reading = addition(draws=3)
    reading["samples"][0] |= {"log_prob": float("nan"), "token_distances": [None, float("inf"), 1.23456]}
    (first, *_) = pack(reading)["samples"]
    assert (first["log_prob"], first["token_distances"]) == (None, [None, None, 1.235])


def test_the_words_are_those_of_the_other_drawings() -> None:
    reading = estimated()
    words = pack(reading)["words"]
    answer = answer_of(as_reading(reading))
    assert (words["heading"], words["sentences"]) == (answer.head, [answer.sentence])
    assert words["answer"] == json.loads(json.dumps(dataclasses.asdict(answer)))
    assert words["facts"] == [list(fact) for fact in facts(as_reading(reading))]
    assert words["settings"] == [list(row) for row in settings(as_reading(reading))]
    assert [(*row["cells"], row["bar"]) for row in words["tables"]["sources"]["rows"]] == source_lines(
        as_reading(reading)
    )
    rows = [row["cells"] for row in words["tables"]["bits"]["rows"]]
    assert [cells[:4] for cells in rows] == [
        [known.name, *bits_row(known, exact=False)] for known in as_reading(reading).bits
    ]


def test_maps_and_causal_checks_carry_their_words() -> None:
    packed = pack_map(as_map(addition_map()))
    assert packed["words"]["heading"] == "addition: what each activation knows, in bits"
    assert [cell["best"] for cell in packed["cells"]] == [cell["best"] for cell in addition_map()["cells"]]
    causal = pack_causal(document())
    assert causal["words"]["sentences"]
    features = causal["words"]["tables"]["features"]
    assert len(features["rows"][0]["cells"]) == len(features["columns"])
    json.dumps([packed, causal])


@pytest.mark.parametrize("most", [20, 60, 200, 700])
def test_what_is_kept_of_a_large_reading_is_typical_near_and_still_itself(most: int) -> None:
    reading = told()
    random.Random(0).shuffle(reading["typical"])
    inputs = ["".join(sample["tokens"]) for sample in reading["samples"]]
    packed = pack(reading, most_tokens=14 * most)
    kept = ["".join(tokens) for tokens in unpacked(packed)]
    assert len(kept) == len(set(kept)) == most
    assert kept == [one for one in inputs if one in set(kept)], "nearest first, as before"
    typical = [inputs[i] for i in reading["typical"]]
    assert [kept[i] for i in packed["typical"]] == typical[: len(packed["typical"])]
    assert len(packed["typical"]) >= min(most // 3, len(typical))
    assert inputs[: most // 3] == kept[: most // 3], "and the nearest"
    values = [packed["strings"][i] for i in packed["features"][0]["values"]]
    assert values == [f"{one[1]}+{one[5]}" for one in kept]
    misses = [
        one
        for one, sample in zip(inputs, reading["samples"], strict=True)
        if sample["in_domain"] and not sample["inside"]
    ]
    told_of = packed["words"]["answer"]["misses"]
    assert [kept[miss["sample"]] for miss in told_of] == misses[:3]
    assert [miss["input"] for miss in told_of] == [one[1:-1] for one in misses[:3]]


def test_a_reading_that_is_small_enough_is_kept_whole() -> None:
    assert pack(told(), most_tokens=14 * len(told()["samples"])) == pack(told())


def whole(reading: dict[str, Any]) -> Reading:
    """The same with every field of its samples."""
    plain = as_reading(reading)
    return dataclasses.replace(plain, samples=[dataclasses.replace(sample) for sample in plain.samples])


def with_lazy_colors(reading: dict[str, Any]) -> tuple[Reading, list[list[int]]]:
    """A reading whose token colours are made as they are asked for, and which rows were."""
    plain, asked = whole(reading), []
    values = [sample.colors for sample in plain.samples]
    width = max(map(len, values))

    def make(rows: np.ndarray) -> np.ndarray:
        asked.append(rows.tolist())
        return np.array([[*values[i], *[0.0] * (width - len(values[i]))] for i in rows])

    colors = TokenColors((len(values), width), make)
    samples = [
        dataclasses.replace(sample, colors=colors.of(i, len(sample.tokens))) for i, sample in enumerate(plain.samples)
    ]
    return dataclasses.replace(plain, samples=samples), asked


def test_colours_that_are_made_later_are_packed_as_if_they_had_been_there() -> None:
    reading, asked = with_lazy_colors(addition())
    assert asked == []
    assert pack_reading(reading) == pack_reading(whole(addition()))
    assert asked == [list(range(len(reading.samples)))]


def test_a_page_has_the_colours_of_what_is_shown_first_and_says_so() -> None:
    reading, asked = with_lazy_colors(told())
    packed, all_colored = pack_reading(reading, most_colored=7), pack_reading(whole(told()))
    colored = [i for i, sample in enumerate(packed["samples"]) if sample["colors"] is not None]
    assert asked == [colored]
    assert len(colored) == 7
    assert set(reading.typical[:2]) <= set(colored)
    assert any(not reading.samples[i].inside and reading.samples[i].in_domain for i in colored)
    for i in colored:
        assert packed["samples"][i] == all_colored["samples"][i]
    assert "7 rows have colours" in packed["colors_about"]
    assert pack_reading(reading, most_colored=0)["samples"][colored[0]]["colors"] is not None, "what is there is kept"
    assert pack_reading(reading, most_colored=10_000)["samples"] == all_colored["samples"]


def test_a_reading_without_colours_gets_them_afterwards() -> None:
    colored = whole(addition())
    bare = dataclasses.replace(colored, samples=[dataclasses.replace(one, colors=None) for one in colored.samples])
    width = max(len(sample.tokens) for sample in colored.samples)
    colors = np.array([[*sample.colors, *[0.0] * (width - len(sample.tokens))] for sample in colored.samples])
    assert with_colors(pack_reading(bare), colors) == pack_reading(colored)
