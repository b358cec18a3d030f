"""The page on the estimates says what was measured, and which targets were missed."""

from __future__ import annotations

import re

import pytest

from research import validation_page


def cell(at, size, found, distance=0.01):
    """A cell of `inversionview validate --json`; `size` and `found` are truth, value and interval."""
    estimates = {"size, bits": size, "reach, share found": found}
    return {
        "input": "615+861=1476",
        "at": at,
        "site": "a0.3",
        "inside": 900,
        "found": 90,
        "effective_size": 12.34,
        "pareto_k": None,
        "estimates": {
            name: {"truth": t, "value": v, "interval": ends}
            for name, (t, v, ends) in estimates.items()
            if t is not None
        },
        "largest_total_variation": distance,
    }


@pytest.fixture
def validated():
    row = {"cells": 3, "answered": 2, "median_error": 0.25, "kept": True}
    return {
        "study": "addition", "epsilon": 0.1, "metric": "euclidean", "position_rule": "same", "n": 4000,
        "temperatures": [1.0, 2.0], "prior_share": 0.4, "seed": 7,
        "estimators": [
            row | {"estimator": "size", "quantity": "bits", "coverage": 2 / 3, "median_width": 1.25, "unit": "bits",
                   "kept": False},
            row | {"estimator": "reach", "quantity": "share found", "answered": 3, "coverage": 1.0,
                   "median_width": 0.125, "unit": "share"},
        ],
        "marginals": {"pairs": 48, "within_total_variation": 0.8125, "total_variation": 0.05,
                      "median_total_variation": 0.0123, "within_bits": 0.7708, "bits": 0.1, "median_bits_error": 0.03},
        "effective_size": {"least": 12.34, "p10": 20.0, "median": 1234.6, "p90": 5000.0, "most": 1e9},
        "inside": {"least": 1.0, "p10": 2.0, "median": 900.0, "p90": 1000.0, "most": 810000.0},
        "cells": [
            cell("=", (9.75, 9.5, [9.25, 9.5]), (0.5, 0.5, [0.25, 0.75]), 0.07),
            cell("A1", (3.0, None, None), (0.5, 0.5, [0.5, 0.5])),
            cell("A2", (3.0, 2.5, [2.0, None]), (0.5, 0.25, [0.125, 0.5]), 0.5),
        ],
    }  # fmt: skip


def test_the_page_on_the_estimates_tells_what_was_measured(validated):
    page = validation_page.page(validated)
    assert "| size (bits) | 2 of 3 | 66.7% | 1.25 bits | 0.25 bits | **no** |" in page
    assert "| reach (share found) | 3 of 3 | 100.0% | 0.125 | 0.25 | yes |" in page
    assert "3 random activations of the study `addition`" in page
    assert "in 81.2% the feature's" in page
    assert "| effective size | 12.3 | 20 | 1,235 | 5,000 | over 10⁸ |" in page
    [command] = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert command == (
        "inversionview validate addition --cells 3 -n 4000 --temperatures 1,2 --prior-share 0.4 --seed 7 --json\n"
    )


def test_the_page_on_the_estimates_names_every_target_that_was_missed(validated):
    page = validation_page.page(validated)
    verdicts = [line.split("|")[-2].strip() for line in targets(page)]
    assert verdicts == ["**missed**", "**missed**", "met", "**missed**"]
    validated["estimators"][0] |= {"coverage": 0.9, "median_width": 1.0}
    validated["marginals"] |= {"within_total_variation": 0.79, "within_bits": 0.9}
    verdicts = [line.split("|")[-2].strip() for line in targets(validation_page.page(validated))]
    assert verdicts == ["met", "met", "**missed**", "met"]


def targets(page):
    section = page.partition("## The targets")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][2:]


def test_the_page_on_the_estimates_lists_the_cells_that_failed(validated):
    section = validation_page.page(validated).partition("## The cells that failed")[2].partition("\n## ")[0]
    size, reach = section.split("### ")[1:]
    assert size.startswith("Size (bits): 2 of 3")
    none, missed = (line for line in size.splitlines() if line.startswith("| `"))
    assert none == "| `615+861=1476` at `A1`, `a0.3` | 3.000 | none | – | 900 | 90 | 12.3 |"
    assert missed == "| `615+861=1476` at `=`, `a0.3` | 9.750 | 9.500 | 9.250 to 9.500 | 900 | 90 | 12.3 |"
    assert reach.startswith("Reach (share found): 0 of 3")
    assert "|" not in reach


def test_the_page_on_the_estimates_lists_the_worst_samples(validated):
    page = validation_page.page(validated)
    assert "In 2 of 3 cells some feature is further off. The worst:" in page
    worst = [line for line in page.splitlines() if line.startswith("| `") and len(line.split("|")) == 7]
    assert [line.split("|")[2].strip() for line in worst] == ["0.500", "0.070"]
