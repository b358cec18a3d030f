"""What two preimages share, against all inputs run at both places."""

from __future__ import annotations

import numpy as np
import pytest

from inversionview.report.wire import pack_overlap
from inversionview.studies.folder import open_folder
from inversionview.studies.parts import live_parts
from inversionview.studies.study import Study
from inversionview.studies.verbs.overlap import overlap
from tests.preimage.tiny import few_sums, save_study

SUM = "500+990=1490"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = save_study(tmp_path_factory.mktemp("overlap") / "tiny")
    return Study.of(live_parts(open_folder(folder), task=few_sums()))


@pytest.mark.parametrize("epsilons", [(0.4, 0.7), (0.7, 0.4), (0.02, 0.9)])
@pytest.mark.parametrize("rule", ["same", "any"])
def test_members_are_parted_as_their_sets_are(study, epsilons, rule):
    queries = [study.query(SUM, "=", site) for site in ("a0.0", "x0.post")]
    found = [
        study.exact_preimage(query, epsilon=epsilon, position_rule=rule)
        for query, epsilon in zip(queries, epsilons, strict=True)
    ]
    first, second = (set(preimage.members) for preimage in found)
    both, only_first, only_second = overlap(study.parts, *found).parts
    assert [part.members for part in (both, only_first, only_second)] == [
        len(first & second), len(first - second), len(second - first),
    ]  # fmt: skip
    assert set(both.examples) <= first & second
    assert set(only_first.examples) <= first - second
    assert set(only_second.examples) <= second - first
    assert both.shares == pytest.approx((len(first & second) / len(first), len(first & second) / len(second)))
    assert only_first.shares[0] == pytest.approx(1 - both.shares[0])


def test_an_input_that_was_not_drawn_is_still_a_member(study):
    query = study.query(SUM, "=", "x0.post")
    sample = study.preimage(query, 40, seed=1, epsilon=0.7, colors=False)
    other = study.preimage(query, 40, seed=2, epsilon=0.7, colors=False)
    assert set(sample.members) != set(other.members)
    both, *alone = overlap(study.parts, sample, other).parts
    assert both.shares == pytest.approx((1, 1))
    assert [part.members for part in alone] == [0, 0]
    assert [part["words"] for part in pack_overlap(overlap(study.parts, sample, other))["parts"]][1:] == [
        "no input that was found", "no input that was found",
    ]  # fmt: skip


def test_the_share_of_a_weighted_sample_is_by_weight(study):
    queries = [study.query(SUM, "=", site) for site in ("a0.0", "x0.post")]
    sample = study.preimage(queries[0], 60, seed=3, epsilon=0.7, colors=False)
    exact = study.exact_preimage(queries[1], epsilon=0.4)
    both, *_ = overlap(study.parts, sample, exact).parts
    shared = np.isin(np.array(sample.inputs), np.array(exact.members)) & sample.inside
    assert both.shares[0] == pytest.approx(float(sample.member_shares[shared].sum()))
