"""Activations at one position of each input are those of a run of everything."""

import pytest
import torch

from inversionview.probed import batches
from inversionview.probed.batches import run_together, tokens_at_once
from inversionview.probed.model import ProbedModel
from tests.probed.tiny import MODELS, some_tokens, tiny

CPU = torch.device("cpu")


def test_a_batch_that_fits_stays_as_it_is():
    (part,) = run_together(torch.tensor([3, 0, 2]), most=12)
    assert (part.rows.tolist(), part.length) == ([0, 1, 2], 4)


@pytest.mark.parametrize("most", [1, 7, 40, 200])
def test_every_row_is_run_once_to_its_position_and_few_tokens_together(most):
    positions = torch.randint(0, 20, (50,), generator=torch.Generator().manual_seed(0))
    parts = list(run_together(positions, most))
    assert sorted(torch.cat([part.rows for part in parts]).tolist()) == list(range(50))
    for part in parts:
        assert positions[part.rows].max() == part.length - 1
        assert len(part.rows) * part.length <= most or len(part.rows) == 1
    assert sum(len(part.rows) * part.length for part in parts) < 50 * 20


def test_wide_models_run_fewer_tokens_together_and_gpus_more():
    assert tokens_at_once(32, CPU) > tokens_at_once(768, CPU) >= tokens_at_once(8192, CPU) == batches.FEWEST_TOKENS
    assert tokens_at_once(8192, torch.device("cuda")) > 1000


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_in_parts_and_cut_short_the_activations_are_those_of_whole_inputs(kind, monkeypatch):
    model = tiny(kind)
    probed, rows = ProbedModel(model), some_tokens(9, 6)
    at = torch.tensor([5, 0, 3, 3, 1, 4, 2, 0, 5])
    whole = probed.capture(rows, probed.sites)
    lengths = []
    model.get_input_embeddings().register_forward_hook(lambda module, args, out: lengths.append(tuple(out.shape[:2])))
    for few in (1, 12, 10**6):
        monkeypatch.setattr(batches, "FEWEST_TOKENS", few)
        monkeypatch.setitem(batches.NUMBERS_AT_ONCE, "cpu", 1)
        found = probed.capture(rows, probed.sites, at)
        for site, values in found.items():
            torch.testing.assert_close(values, whole[site][torch.arange(9), at], msg=f"{site}, {few} at once")
    assert len(lengths) == 9 + 4 + 1
    probed.capture(rows, "x0.pre", 2)
    assert lengths[-1] == (9, 3)
