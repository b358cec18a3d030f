"""The role of a position, of one input and of many."""

import pytest
import torch

from inversionview.studies.recipes.facts import small_task as facts
from inversionview.studies.recipes.ioi import small_task as ioi
from inversionview.tasks import get_task
from inversionview.tasks.positions import draw_positions, eligible_role, every_role


@pytest.mark.parametrize("make", [lambda: get_task("addition"), lambda: get_task("counting"), ioi, facts])
def test_the_roles_of_many_inputs_are_those_of_each(make):
    task = make()
    tokens = task.sample(40, generator=torch.Generator().manual_seed(0))
    positions = draw_positions(task, tokens, torch.Generator().manual_seed(1))
    expected = [task.role(row, position) for row, position in zip(tokens, positions.tolist(), strict=True)]
    assert task.roles_at(tokens, positions) == expected


@pytest.mark.parametrize("make", [lambda: get_task("addition"), lambda: get_task("counting"), ioi, facts])
def test_every_eligible_position_has_one_of_all_roles(make):
    task = make()
    tokens = task.sample(40, generator=torch.Generator().manual_seed(0))
    left = task.eligible(tokens)
    for role in every_role(task, tokens):
        at = eligible_role(task, tokens, role)
        assert (at >= 0).any()
        left[(at >= 0).nonzero()[:, 0], at[at >= 0]] = False
    assert not left.any()
