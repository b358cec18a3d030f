"""That shapes are checked while the tests run, by the hook in `conftest`."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from inversionview.preimage.distance import distances
from inversionview.tasks.positions import before_first


def test_a_wrong_number_of_axes_is_caught():
    with pytest.raises(TypeCheckError, match="before_first"):
        before_first(torch.zeros(3, dtype=torch.long), 1)


def test_a_wrong_type_of_number_is_caught():
    with pytest.raises(TypeCheckError, match="before_first"):
        before_first(torch.zeros(2, 3), 1)


def test_axes_of_one_name_must_agree():
    with pytest.raises(TypeCheckError, match="distances"):
        distances(torch.ones(2, 3), torch.ones(4))


def test_annotations_without_shapes_are_left_to_the_type_checker():
    assert before_first(torch.zeros(2, 3, dtype=torch.long), torch.tensor(1)).all()
