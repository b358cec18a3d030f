"""The right answers of the paper's model, on the paper's own split."""

from __future__ import annotations

import pytest
import torch

from inversionview.probed.model import ProbedModel
from inversionview.tasks import get_task
from inversionview.tasks.outputs import exact_match
from research.addition_accuracy import PUBLISHED, held_out_by_the_paper, table, tens_add_up_to_nine
from tests.paths import SHARED


def test_the_papers_split_has_a_quarter_of_the_sums_and_each_group_as_many_as_was_published():
    tokens = torch.cat(list(get_task("addition").enumerate()))
    tested, nine, three = held_out_by_the_paper(tokens), tens_add_up_to_nine(tokens), tokens[:, 12] == 13
    for group in PUBLISHED:
        asked = ((group.tested, tested), (group.nine, nine), (group.three, three))
        mask = torch.stack([torch.ones_like(nine), *(column == want for want, column in asked if want is not None)])
        assert int(mask.all(dim=0).sum()) == group.n, group.sums
    kinds = [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)]
    assert [sum(group.has(*kind) for kind in kinds) for group in PUBLISHED] == [4, 2, 4, 2, 4, 2, 2]


def test_what_is_not_as_published_stands_out():
    measured = {group.sums: [group.right or round(group.share * group.n), group.n] for group in PUBLISHED}
    assert "**" not in table(measured)
    measured["held out, F2+S2 = 9"][0] -= 1
    assert table(measured).count("**") == 2


@pytest.mark.published("models/paper_addition")
def test_sums_with_nine_in_the_tens_are_right_as_often_as_was_published():
    task = get_task("addition")
    probed = ProbedModel.from_pretrained(SHARED / "models" / "paper_addition")
    tokens = torch.cat(list(task.enumerate()))
    rows = tokens[held_out_by_the_paper(tokens) & tens_add_up_to_nine(tokens)]
    assert round(exact_match(probed, task, rows) * len(rows)) == 16_152
