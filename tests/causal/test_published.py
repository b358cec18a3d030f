"""The paper's own numbers on the paper's own models, on small samples.

Huang et al. 2024 (arXiv 2405.17653): mean drop of the logit difference over 20,000 test inputs, so that the published
means have a standard error of their own.
"""

from __future__ import annotations

import functools
import math

import pytest

from inversionview.probed.model import ProbedModel
from inversionview.studies.study import Study
from inversionview.tasks import get_task
from tests.paths import BUNDLED, PAPER_MODELS, SHARED

of_the_paper = pytest.mark.published(*PAPER_MODELS)
HEADS = ",".join(f"a{layer}.{head}" for layer in range(2) for head in range(4))
PUBLISHED_N = 20_000
SMALLEST = 0.01
"""The published numbers are rounded to this."""


@functools.cache
def probed(name: str) -> ProbedModel:
    return ProbedModel.from_pretrained(SHARED / "models" / name)


def report(task, n, **settings):
    found = Study(probed(f"paper_{task}"), get_task(task)).patch(n=n, **settings)
    return found, found.to_dict()


def assert_published(mean, se, n, published, published_n=PUBLISHED_N):
    """Within 4 standard errors of both runs combined."""
    combined = math.hypot(se, se * math.sqrt(n / published_n))
    assert abs(mean - published) <= 4 * combined + SMALLEST, (mean, published, combined)


FORWARD = (8.52, 18.90, 24.56, 24.60, 25.12, 25.12, 25.14, 25.31)
REVERSE = (0.49, 0.46, 4.74, 5.45, 5.47, 8.92, 18.86, 25.26)


@of_the_paper
def test_addition_a1_is_computed_from_what_the_first_heads_bring_to_the_equals_sign():
    found, document = report("addition", 1500, target="A1", at="=", sites=HEADS, contrast="change:F1,S1", order="both")
    assert found.n == 1500
    for effect, published in zip(document["effects"], FORWARD + REVERSE, strict=True):
        assert_published(effect["drop"], effect["se"], found.n, published)


@of_the_paper
def test_addition_a2_is_computed_at_a1():
    published = (0.01, 13.80, 29.52, 29.43, 33.70, 33.91, 34.82, 35.29)
    found, document = report(
        "addition", 2000, target="A2", at="A1", sites=HEADS, contrast="change:F2,S2", where="A1 != 1",
        contrast_where="A1 != 1",
    )  # fmt: skip
    assert 700 < found.n < 900
    share = found.n / 2000  # of the published inputs, too
    for effect, value in zip(document["effects"], published, strict=True):
        assert_published(effect["drop"], effect["se"], found.n, value, PUBLISHED_N * share)


@of_the_paper
def test_counting_moves_the_count_to_the_colon():
    found, document = report(
        "counting", 700, target="answer", sites="a1.0@:,a0.0@letter,a0.0@:", contrast="random", order="each",
        where="length != 3 and length != 27",
    )  # fmt: skip
    assert 680 < found.n <= 700
    assert_published(document["clean"], document["clean_se"], found.n, 22.12)
    for effect, published in zip(document["effects"], (-15.8, 0.05, 16.0), strict=True):
        assert_published(effect["patched"], effect["patched_se"], found.n, published)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(BUNDLED / "addition" / "probed", id="bundled"),
        pytest.param(SHARED / PAPER_MODELS[0], id="paper", marks=of_the_paper),
    ],
)
def test_both_conventions_give_the_same_numbers(path):
    settings = {"target": "A1", "at": "=", "sites": HEADS, "contrast": "change:F1,S1", "n": 100}
    raw, folded = (
        Study(model, get_task("addition")).patch(**settings)
        for model in (ProbedModel.from_pretrained(path, convention=convention) for convention in ("raw", "tl"))
    )
    assert folded.patched == pytest.approx(raw.patched, abs=1e-3)
