from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from inversionview.report import estimates
from inversionview.results.estimates import Completeness, FeatureBits, Size
from tests.report.examples import as_reading, estimated, exact


def size(**known: Any) -> Size:
    """A size of which only this is known."""
    nothing = dict.fromkeys(field.name for field in dataclasses.fields(Size)) | {"effective_size": None}
    return Size(**nothing | known)


def found(**known: Any) -> Completeness:
    """Completeness of which only this is known."""
    return Completeness(**dict.fromkeys(field.name for field in dataclasses.fields(Completeness)) | known)


def test_an_exact_size_is_given_to_the_last_input() -> None:
    fact = estimates.size_fact(as_reading(exact()).size, exact=True)
    assert fact.words == "exactly 6,394 of 810,000 inputs: the activation gives 6.99 bits about the input"


def test_one_input_alone_is_said_in_the_singular() -> None:
    of = size(inputs=1.0, log2_domain_over_preimage=None)
    assert estimates.size_fact(of, exact=True).words == "exactly 1 input"
    assert (
        estimates.size_fact(dataclasses.replace(of, domain=810_000), exact=True).words == "exactly 1 of 810,000 inputs"
    )


def test_an_estimated_size_has_its_interval_and_no_digits_that_mean_nothing() -> None:
    words = estimates.size_fact(as_reading(estimated()).size, exact=False).words
    assert words == (
        "about 6,400 inputs (5,800 to 7,100) of 810,000: the activation gives 6.98 bits (6.85 to 7.10) about the input"
        "; effective sample size 1,234, Pareto k̂ 0.31"
    )


def test_without_an_interval_a_number_is_only_about_right() -> None:
    of = size(inputs=6394.0, log2_domain_over_preimage=6.985, interval=None, bits_interval=None)
    words = estimates.size_fact(of, exact=False).words
    assert words == "about 6,400 inputs: the activation gives about 7.0 bits about the input"
    assert estimates.share_words(0.8312, None) == "about 83%"
    assert estimates.bits_row(FeatureBits("F1", 0.934, 0.99, 0.9, None), exact=False) == ("about 0.9", "of 0.99", "")


def test_a_size_that_is_not_known_gives_the_reason_and_no_number() -> None:
    of = dataclasses.replace(as_reading(estimated()).size, why_not="the effective sample size is below 10")
    fact = estimates.size_fact(of, exact=False)
    assert f"{fact.label}: {fact.words}" == "size: not known, because the effective sample size is below 10"
    nothing = size(inputs=None, log2_domain_over_preimage=None)
    assert estimates.size_fact(nothing, exact=False).words == "not known"


@pytest.mark.parametrize(
    ("inputs", "interval", "domain"),
    [
        (6394.0, (5893.2, 7021.0), 810_000), (120_345.0, (119_871.0, 121_004.0), 810_000), (17.2, (16.0, 19.4), None),
        (801_234.0, (700_500.0, 809_999.5), 810_000), (51.0, (16.0, 50_123.0), 810_000), (0.4, (0.0, 3.7), None),
        (12.0, (12.0, 12.0), None), (0.0, (0.0, 2.0), None),
    ],
)  # fmt: skip
def test_rounding_never_narrows_an_interval_nor_leaves_the_domain(
    inputs: float, interval: tuple[float, float], domain: int | None
) -> None:
    of = size(inputs=inputs, interval=interval, log2_domain_over_preimage=None, domain=domain)
    words = estimates.size_fact(of, exact=False).words
    value, low, high = (float(n.replace(",", "")) for n in re.findall(r"[\d,]+", words)[:3])
    assert low <= interval[0]
    assert high >= interval[1]
    assert domain is None or high <= domain
    assert abs(value - inputs) <= max(0.5, 0.05 * inputs)
    assert high - low <= 2 * (interval[1] - interval[0]) + 0.25 * inputs + 2


def test_intervals_of_bits_are_rounded_outwards() -> None:
    assert estimates.bits_words(6.981, (6.8599, 7.1011), exact=False) == "6.98 bits (6.85 to 7.11)"
    assert estimates.bits_words(6.85, (6.85, 7.1), exact=False) == "6.85 bits (6.85 to 7.10)"
    assert estimates.bits_words(0.0, (-0.011, 0.0), exact=False) == "0.00 bits (-0.02 to 0.00)"


@pytest.mark.parametrize(
    ("share", "written"),
    [(0.0, "0.0%"), (0.0001, "<0.1%"), (0.0006, "0.1%"), (0.5, "50.0%"), (0.99951, ">99.9%"), (1.0, "100.0%")],
)
def test_only_all_and_none_are_written_so(share: float, written: str) -> None:
    assert estimates.percent(share) == written


def test_each_kind_of_completeness_is_a_fact_of_its_own() -> None:
    facts = {fact.label: fact.words for fact in estimates.completeness_facts(as_reading(estimated()).completeness)}
    assert facts == {
        "found": "4.1% (3.7% to 4.5%) of the preimage, by the task's prior",
        "recall": "5.6% (1.8% to 12.6%) of the 71 held-out inputs in the preimage",
        "unseen": "93.1% (91.0% to 95.0%) of further members that the same proposals drew would be new",
        "at least": "about 3,100 inputs (2,800 to 3,600), by capture and recapture between sources",
    }


def test_completeness_that_is_not_known_gives_the_reason_and_leaves_the_rest_out() -> None:
    assert estimates.completeness_facts(found()) == []
    facts = estimates.completeness_facts(found(why_not="the prior has no density"))
    assert facts == [estimates.Fact("found", "not known, because the prior has no density")]


def test_a_share_of_nothing_is_nothing() -> None:
    assert estimates.share_known(0.0, 0.0) == 0.0
    assert estimates.share_known(-0.2, 1.0) == 0.0
    assert estimates.share_known(1.0000001, 1.0) == 1.0


def test_the_curve_marks_the_epsilon_of_the_reading() -> None:
    rows = estimates.curve_rows(as_reading(exact()).curve, 0.1, exact=True)
    assert [ours for ours, _ in rows] == [False, True, False]
    assert rows[1][1] == ["0.1", "6,394", "6.99", "0.8%"]
    assert [cells[0] for _, cells in rows] == ["0.05", "0.1", "0.2"]
    sampled = estimates.curve_rows(as_reading(estimated()).curve, 0.1, exact=False)
    assert [cells[2:] for _, cells in sampled] == [["about 7.0", "–"], ["–", "–"]]
    assert not any(ours for ours, _ in estimates.curve_rows(as_reading(exact()).curve, 0.15, exact=True))
