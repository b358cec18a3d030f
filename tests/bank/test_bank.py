"""What a bank holds is what capture gives, one site and role at a time."""

from __future__ import annotations

import pytest
import torch

from inversionview.bank import passes
from inversionview.bank.making import make_bank
from inversionview.bank.passes import distinct_beginnings, pass_over, role_places
from inversionview.bank.plan import plan_bank
from inversionview.errors import UserError
from inversionview.preimage.distance import pairwise_distances
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.tasks import get_task
from tests.preimage.tiny import FewSums, few_sums
from tests.preimage.tiny import probed as gpt2
from tests.probed.tiny import LENGTH, VOCAB, every_site, some_tokens, tiny

ROLES = ("=", "A1", "A4")
"""Few sums have an A4."""


class Rows:
    """Some inputs of any tokens, of several lengths, in which the last token and the second are named."""

    name, roles = "rows", ("second", "last")
    end = VOCAB - 1

    def __init__(self, n: int = 40) -> None:
        lengths = torch.randint(4, 10, (n,), generator=torch.Generator().manual_seed(1))
        place = torch.arange(10)
        rows = torch.where(place < lengths[:, None], some_tokens(n, 10), self.end)
        self.rows = torch.cat([rows[:, :1] * 0, rows[:, 1:]], dim=1)

    def sample(self, n, *, generator, split="all"):
        return self.rows[torch.randint(len(self.rows), (n,), generator=generator)]

    def eligible(self, tokens):
        inside = (tokens != self.end).cummin(dim=1).values
        inside[:, 0] = False
        return inside

    def position_of(self, tokens, role):
        if role == "second":
            return torch.full((len(tokens),), 2)
        assert role == "last"
        return self.eligible(tokens).sum(dim=1)


def banked(probed, task, sites, roles, n=60, **options):
    plan = plan_bank(probed, task, sites=sites, roles=roles, n=n, **options)
    return make_bank(probed, task, plan)


@pytest.mark.parametrize(
    ("name", "convention"),
    [("gpt2", "raw"), ("gpt2", "tl"), ("gpt_neox", "tl"), ("llama", "raw"), ("gemma3_text", "raw"), ("qwen3", "raw")],
)
def test_activations_and_distances_are_those_of_capture(name, convention):
    probed, task = ProbedModel(tiny(name), convention=convention), Rows()
    bank = banked(probed, task, every_site(probed), task.roles)
    assert max(bank.positions("last")) < LENGTH
    for role in task.roles:
        positions = task.position_of(bank.tokens, role)
        assert torch.equal(bank.positions(role), positions)
        captured = probed.capture(bank.tokens, bank.sites, positions)
        for site, z in captured.items():
            vectors = bank.vectors(site, role)
            torch.testing.assert_close(bank.activations(site, role, torch.arange(60)), z, atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(bank.coordinates(site, z), vectors, atol=1e-4, rtol=1e-3)
            apart, wanted = pairwise_distances(vectors[:5], vectors), pairwise_distances(z[:5], z)
            torch.testing.assert_close(apart, wanted, atol=2e-5, rtol=1e-4)


def test_a_head_is_kept_in_its_own_dimensions_and_at_most_in_those_of_the_stream():
    narrow, wide = ProbedModel(tiny("gpt2")), ProbedModel(tiny("gemma2"))
    bank = banked(narrow, Rows(), ["a0.1", "m0"], ["last"])
    assert [bank.vectors(site, "last").shape[1] for site in bank.sites] == [4, 16]
    assert banked(wide, Rows(), ["a0.1"], ["last"]).vectors(Site.parse("a0.1"), "last").shape[1] == 6


@pytest.mark.parametrize("convention", ["raw", "tl"])
def test_distances_are_exact_where_the_output_weights_of_a_head_lack_rank(convention):
    model = tiny("gpt2")
    weight = model.transformer.h[0].attn.c_proj.weight
    with torch.no_grad():
        weight[1] = weight[0] - 2 * weight[2]
        weight[4:8] = 0
    probed = ProbedModel(model, convention=convention)
    bank = banked(probed, Rows(), ["a0.0", "a0.1"], ["last"])
    z = probed.capture(bank.tokens, bank.sites, bank.positions("last"))
    for site in bank.sites:
        apart, wanted = (torch.cdist(v, v) for v in (bank.vectors(site, "last"), z[site]))
        torch.testing.assert_close(apart, wanted, atol=2e-3, rtol=1e-3)


def test_an_input_that_lacks_a_role_has_no_vector_there():
    bank = banked(gpt2(), few_sums(), ["a0.0", "x1.post"], ROLES, n=200)
    lacks = bank.positions("A4") < 0
    assert torch.equal(bank.positions("A4"), few_sums().position_of(bank.tokens, "A4"))
    assert 20 < int(lacks.sum()) < 180
    for site in bank.sites:
        assert torch.equal(bank.vectors(site, "A4").isnan().all(dim=1), lacks)
        assert torch.equal(bank.activations(site, "A4", torch.arange(200)).isnan().any(dim=1), lacks)
        assert bank.vectors(site, "=").isfinite().all()


def test_the_inputs_are_the_draws_of_the_seed_repeats_too():
    bank, again = (banked(gpt2(), few_sums(), ["a0.0"], ["="], n=3000, seed=3) for _ in range(2))
    drawn = few_sums().sample(3000, generator=torch.Generator().manual_seed(3))
    assert torch.equal(bank.tokens, drawn)
    assert torch.equal(bank.vectors(bank.sites[0], "="), again.vectors(bank.sites[0], "="))
    assert len(torch.unique(drawn, dim=0)) < 1157
    held = banked(gpt2(), get_task("addition"), ["a0.0"], ["="], n=50, split="held-out")
    assert get_task("addition").is_held_out(held.tokens).all()


def test_each_beginning_is_run_once_and_none_with_padding(monkeypatch):
    probed, task = gpt2(), few_sums()
    ran = []
    capture = ProbedModel.capture
    monkeypatch.setattr(ProbedModel, "capture", lambda self, x, *rest: ran.append(x) or capture(self, x, *rest))
    tokens = task.sample(2000, generator=torch.Generator().manual_seed(0))
    blocks = list(pass_over(probed, task, tokens, ["a1.0"], ["F3"]))
    assert sum(map(len, ran)) == len(torch.unique(tokens[:, :4], dim=0)) == 34
    assert all(x.shape[1] == 4 for x in ran)
    assert torch.cat([block.rows for block in blocks]).sort().values.equal(torch.arange(2000))


def test_a_pass_gives_each_row_its_vector_in_blocks(monkeypatch):
    monkeypatch.setattr(passes, "_ROWS_AT_ONCE", 7)
    probed, task = gpt2(), few_sums()
    tokens = task.sample(100, generator=torch.Generator().manual_seed(0))
    bank = banked(probed, task, ["a0.1", "x1.post"], ROLES, n=100)
    seen = 0
    for block in pass_over(probed, task, tokens, ["a0.1", "x1.post"], ROLES):
        seen += len(block.rows)
        assert len(block.vectors) == 6
        for site, role in block.vectors:
            whole = bank.vectors(site, role)[block.rows]
            torch.testing.assert_close(block.vectors[site, role], whole, equal_nan=True, atol=1e-5, rtol=1e-4)
            assert torch.equal(block.positions[role], bank.positions(role)[block.rows])
    assert seen == 100


def test_no_block_of_one_length_is_padded_and_small_ones_are_filled_up():
    from inversionview.probed.batches import FEWEST_TOKENS, run_by_length

    lengths = torch.tensor([20] * 100 + [30] * 3 + [5] * 40)
    parts = list(run_by_length(lengths, 512, 100))
    assert torch.cat([part.rows for part in parts]).sort().values.equal(torch.arange(143))
    for part in parts:
        own = lengths[part.rows]
        assert int(own.max()) == part.length
        assert len(part.rows) * part.length <= 512
        if len(set(own.tolist())) > 1:
            assert int((own == part.length).sum()) * part.length < FEWEST_TOKENS
    assert [len(part.rows) for part in run_by_length(torch.full((7,), 600), 512, 100)] == [1] * 7
    assert [len(part.rows) for part in run_by_length(torch.full((7,), 2), 512, 3)] == [3, 3, 1]


def test_beginnings_are_distinct_up_to_what_is_read():
    tokens = torch.tensor([[9, 1, 2, 3], [9, 1, 2, 4], [9, 1, 5, 4], [9, 7, 7, 7], [9, 1, 2, 3]])
    places = torch.tensor([[1, 2], [1, 2], [1, 2], [-1, -1], [1, -1]])
    begun = distinct_beginnings(tokens, places)
    assert begun.run.tolist() == [begun.run[0], begun.run[0], begun.run[2], -1, begun.run[4]]
    assert len(begun.tokens) == 3
    assert begun.lengths.tolist() == [3, 3, 2]
    for row, run in enumerate(begun.run.tolist()):
        if run >= 0:
            length = int(begun.lengths[run])
            assert torch.equal(begun.tokens[run, :length], tokens[row, :length])
            assert torch.equal(begun.places[run], places[row])


def test_the_size_is_said_before_and_bounded():
    plan = plan_bank(gpt2(), few_sums(), sites=["a0.0", "x1.post"], roles=["=", "A1"], n=500)
    assert plan.bytes == len(plan.begun.tokens) * 2 * (8 + 16) * 4
    with pytest.raises(UserError, match=r"would take .* MB of memory, .*: \d+ inputs would fit"):
        make_bank(gpt2(), few_sums(), plan, most=plan.bytes // 2)
    make_bank(gpt2(), few_sums(), plan, most=plan.bytes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n": 0}, "at least 1 input"),
        ({"sites": []}, "at least one site"),
        ({"roles": []}, "at least one position"),
        ({"sites": ["a9.0"]}, "no site a9.0"),
        ({"roles": ["END"]}, "no position 'END'"),
        ({"roles": ["=", "A4"], "task": FewSums((100, 101))}, "none of 20 inputs of addition has a position 'A4'"),
    ],
)
def test_what_cannot_be_is_one_line(changes, says):
    with pytest.raises(UserError, match=says):
        plan_bank(gpt2(), **{"task": few_sums(), "sites": ["a0.0"], "roles": ["="], "n": 20} | changes)


def test_what_it_does_not_hold_is_told():
    bank = banked(gpt2(), few_sums(), ["a0.0"], ["="])
    with pytest.raises(UserError, match=r"does not hold a0\.1: it holds a0\.0"):
        bank.vectors(Site.parse("a0.1"), "=")
    with pytest.raises(UserError, match="not made at 'A1': it holds ="):
        bank.positions("A1")


def test_several_positions_of_each_input_are_captured_at_once():
    probed = ProbedModel(tiny("llama"))
    tokens = some_tokens(6)
    at = torch.tensor([[1, 4], [2, 2], [8, 0], [3, 5], [0, 7], [6, 6]])
    both = probed.capture(tokens, every_site(probed), at)
    for column in range(2):
        for site, alone in probed.capture(tokens, every_site(probed), at[:, column]).items():
            torch.testing.assert_close(both[site][:, column], alone, atol=1e-5, rtol=1e-4)
    assert role_places(Rows(), tokens, ["second", "last"]).shape == (6, 2)
