from __future__ import annotations

import json

import numpy as np
import pytest

from inversionview.causal.effects import PatchSite, parse_patch_sites
from inversionview.errors import UserError
from inversionview.sites import Site
from inversionview.studies.study import Study
from tests.causal.tiny import addition, probed

ASKED = {"target": "A1", "at": "=", "sites": "a0.0,a1.1", "contrast": "change:F1,S1", "n": 30}


def report(**changes):
    return Study(probed(), addition(), name="tiny").patch(**(ASKED | changes))


def test_the_document_says_what_was_asked():
    document = report(where="A1 != 1", contrast_where="F1 != 0", seed=5).to_dict()
    wanted = {
        "study": "tiny", "target": "A1", "at": "=", "contrast": "change:F1,S1", "where": "A1 != 1",
        "contrast_where": "F1 != 0", "direction": "contrast-into-clean", "seed": 5, "drawn": 30,
    }  # fmt: skip
    assert {name: document[name] for name in wanted} == wanted
    assert document["n"] + sum(document["left_out"].values()) == 30
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_same_seed_gives_the_same_numbers():
    one, again, other = report(seed=1), report(seed=1), report(seed=2)
    assert np.array_equal(one.patched, again.patched)
    assert not np.array_equal(one.patched, other.patched)


def test_sites_may_be_named_in_a_list():
    made = [
        report(sites=sites).patched for sites in ("a0.0@=,a1.1", ["a0.0", "a1.1@="], _sites(), [_sites()[0], "a1.1"])
    ]
    for other in made[1:]:
        assert np.array_equal(made[0], other)


def _sites():
    return [PatchSite(Site.parse("a0.0"), "="), *parse_patch_sites("a1.1@=")]


def test_a_target_may_be_an_index():
    assert np.array_equal(report(target=9).patched, report().patched)
    assert report(target=9).to_dict()["target"] == "9"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sites": "a5.0"}, "this model has no site a5.0"),
        ({"sites": "a0.0,a0.0"}, "the order names a0.0 at = twice"),
        ({"at": None}, "each with its position after an @"),
        ({"order": "sideways"}, "there is no order 'sideways'"),
        ({"target": "Z"}, "addition has no position 'Z'"),
        ({"n": 0}, "the number of pairs must be at least 1"),
    ],
)
def test_mistakes_are_said_in_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        report(**changes)
