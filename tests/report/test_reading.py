from __future__ import annotations

import dataclasses

import pytest

from inversionview.report import reading as plain
from tests.report.examples import addition, as_reading


def test_groups_are_nearest_first_and_part_the_samples() -> None:
    reading = addition()
    reading["samples"].reverse()
    reading["features"][0]["values"].reverse()
    groups = plain.group(as_reading(reading))
    for rows in groups:
        distances = [row.sample.distance for row in rows]
        assert distances == sorted(distances)
    assert [len(rows) for rows in groups] == [
        reading["counts"]["inside"],
        reading["counts"]["in_domain"] - reading["counts"]["inside"],
        reading["counts"]["distinct"] - reading["counts"]["in_domain"],
    ]
    assert all(row.sample.inside for row in groups.members)
    assert all(row.features == [row.sample.tokens[1] + "+" + row.sample.tokens[5]] for row in groups.near)


def test_a_candidate_outside_the_domain_is_no_member_however_near() -> None:
    reading = addition()
    reading["samples"][0] |= {"in_domain": False, "inside": False, "distance": 0.0}
    drawn = as_reading(reading)
    groups = plain.group(drawn)
    assert drawn.samples[0] not in [row.sample for row in groups.members]
    assert groups.outside[0].sample is drawn.samples[0]


def test_a_sample_without_a_distance_comes_last() -> None:
    reading = addition(draws=60)
    reading["samples"][0] |= {"in_domain": False, "inside": False, "distance": None, "position": -1}
    drawn = as_reading(reading)
    assert plain.group(drawn).outside[-1].sample is drawn.samples[0]


def test_agreement_is_the_share_of_members_with_the_same_token() -> None:
    reading = addition()
    rows = plain.group(as_reading(reading)).members
    shares = plain.agreement(as_reading(reading).query, rows)
    assert shares[0] == shares[1] == shares[5] == 1.0
    assert shares[2] == pytest.approx(sum(row.sample.tokens[2] == "1" for row in rows) / len(rows))
    assert plain.agreement(as_reading(reading).query, []) == [0.0] * 14
    short = plain.Row(dataclasses.replace(rows[0].sample, tokens=["B", "6"]), [])
    assert plain.agreement(as_reading(reading).query, [short]) == [1.0, 1.0] + [0.0] * 12


def test_words_give_every_count() -> None:
    reading = addition()
    reading["counts"] = {"drawn": 1000, "distinct": 298, "in_domain": 293, "inside": 1}
    assert plain.facts(as_reading(reading)) == [
        (
            "run",
            "1,000 candidates drawn, 298 distinct, 293 in the domain",
        )
    ]


def test_an_exact_reading_speaks_of_the_domain_and_of_no_seed() -> None:
    reading = addition(exact=True)
    reading["counts"] = {"drawn": 810_000, "distinct": 810_000, "in_domain": 810_000, "inside": 6394}
    assert plain.facts(as_reading(reading)) == [("run", "all 810,000 inputs of the domain")]
    assert "seed" not in dict(plain.settings(as_reading(reading)))


def test_sources_report_their_share() -> None:
    reading = addition()
    reading["sources"] = [
        {"name": "decoder t=1", "drawn": 750, "inside": 300},
        {"name": "prior", "drawn": 250, "inside": 0},
    ]
    assert plain.source_lines(as_reading(reading)) == [
        ("decoder t=1", "750 draws (75%), 300 of them inside ε (40%)", 0.4),
        ("prior", "250 draws (25%), 0 of them inside ε (0%)", 0.0),
    ]


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("7", "7"), (" the", "·the"), (" ", "·"), ("\n", "↵"), ("\t", "⇥"), ("", "⟨…⟩"), ("\x1b[31m", "⟨001B⟩[31m"),
        ("\u202e", "⟨202E⟩"), ("\u200b", "⟨200B⟩"), ("\ud800", "⟨D800⟩"), ("\u0301", "◌\u0301"), ("\xa0", "⟨00A0⟩"),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"), ("\u200d", "⟨200D⟩"), ("<script>", "<script>"),
    ],
)  # fmt: skip
def test_nothing_in_a_token_is_hidden(token: str, shown: str) -> None:
    assert plain.visible(token) == shown


def test_names_keep_their_spaces_and_lose_controls() -> None:
    assert plain.printable("my study\x1b[2J\n") == "my study⟨001B⟩[2J↵"


@pytest.mark.parametrize(
    ("distance", "epsilon", "written"),
    [(0.0123, 0.1, "0.012"), (1.5, 2.0, "1.500"), (0.00012, 0.001, "0.00012"), (None, 0.1, "–")],
)
def test_distances_have_the_decimals_that_epsilon_needs(distance: float | None, epsilon: float, written: str) -> None:
    assert plain.format_distance(distance, epsilon) == written
