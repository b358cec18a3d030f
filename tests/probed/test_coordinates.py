"""Coordinates of activations: as few numbers as there are dimensions, in which all distances are exact."""

import pytest
import torch

from inversionview.probed.coordinates import Coordinates
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from tests.preimage.tiny import gpt2, probed, task

HEAD = Site.parse("a1.1")


def inputs():
    return task().sample(30, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("convention", ["raw", "tl"])
def test_heads_have_d_head_numbers_with_the_same_inner_products(convention):
    model = ProbedModel(gpt2(), convention=convention)
    coordinates = Coordinates(model)
    captured = model.capture(inputs(), [HEAD, coordinates.source(HEAD)], 6)
    short = coordinates.of_source(HEAD, captured[coordinates.source(HEAD)])
    assert short.shape[1] == coordinates.width(HEAD) == model.width("z1.1")
    torch.testing.assert_close(short @ short.T, captured[HEAD] @ captured[HEAD].T, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(coordinates.of(HEAD, captured[HEAD]), short, rtol=1e-4, atol=1e-4)


def test_they_are_those_of_a_singular_value_decomposition_and_of_no_choice_of_signs():
    model = probed()
    basis = Coordinates(model)._basis(HEAD)
    left, sizes, right = torch.linalg.svd(basis.weight.double(), full_matrices=False)
    torch.testing.assert_close(basis.factor.double(), (left * sizes[:, None]) @ left.mT, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(basis.axes.double(), left @ right, rtol=1e-5, atol=1e-5)


def test_a_head_whose_matrix_lacks_rank_keeps_its_distances():
    model = gpt2()
    projection = model.transformer.h[1].attn.c_proj.weight
    with torch.no_grad():
        rows = projection[projection.shape[0] // 2 :]
        rows[1] = rows[0]
    lacking = ProbedModel(model, convention="raw")
    coordinates = Coordinates(lacking)
    captured = lacking.capture(inputs(), [HEAD, coordinates.source(HEAD)], 6)
    short = coordinates.of_source(HEAD, captured[coordinates.source(HEAD)])
    apart = [torch.pdist(values) for values in (short, captured[HEAD])]
    torch.testing.assert_close(*apart, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(coordinates.of(HEAD, captured[HEAD]), short, rtol=1e-3, atol=1e-4)
