"""What a decoder is trained from: the same at every step whatever came before, bounded, and right."""

import logging

import pytest
import torch

from inversionview.bank.making import make_bank
from inversionview.bank.plan import plan_bank
from inversionview.decoder import pool as pools
from inversionview.decoder.places import Anywhere
from inversionview.decoder.pool import Pool, passes_for
from inversionview.decoder.training import make_decoder
from inversionview.errors import UserError
from inversionview.probed.coordinates import Coordinates
from inversionview.sites import Site
from inversionview.tasks.positions import every_role
from tests.preimage.tiny import probed, task

SITES = tuple(map(Site.parse, ("a0.1", "x0.post", "a1.1")))
WEIGHTS = torch.ones(len(SITES), 14)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(pools, "FEWEST_INPUTS", 8)
    monkeypatch.setattr(pools, "MOST_INPUTS", 8)


def made(folder=None, constrained=False, **changes):
    settings = {"passes": 4, "megabytes": 0, "seed": 0} | changes
    sizes = {"n_statistics": 16, "d_model": 8, "n_heads": 1, "trunk_width": 8, "trunk_blocks": 1}
    decoder = make_decoder(probed(), task(), SITES, constrained=constrained, **sizes)
    return Pool(decoder, probed(), task(), Anywhere(task(), 0.1), folder=folder, **settings)


def drawn(pool, step, n=64):
    chosen = pool.draw(step, n, WEIGHTS, torch.Generator().manual_seed(step))
    return pool.tokens(chosen.rows), chosen, pool.vectors(chosen)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip((one[0], one[2]), (other[0], other[2]), strict=True))


def test_vectors_are_the_coordinates_of_the_site_at_the_position():
    tokens, chosen, vectors = drawn(made(), 3)
    coordinates = Coordinates(probed())
    captured = probed().capture(tokens, SITES)
    for i, (position, site) in enumerate(zip(chosen.positions.tolist(), chosen.site_index.tolist(), strict=True)):
        expected = coordinates.of(SITES[site], captured[SITES[site]][i, position])
        torch.testing.assert_close(vectors[i, : len(expected)], expected, rtol=1e-4, atol=1e-4)
        assert (vectors[i, len(expected) :] == 0).all()


def test_what_is_there_follows_from_the_step_alone():
    straight = made()
    at = {step: drawn(straight, step) for step in range(40)}
    assert same(drawn(made(), 31), at[31])
    assert same(drawn(straight, 2), at[2])  # back to what has made way
    assert same(drawn(straight, 39), at[39])
    assert not same(drawn(made(seed=1), 31), at[31])


def test_new_inputs_come_in_and_the_oldest_make_way():
    pool = made()
    assert pool.parts == 4  # the fewest, where there is room for none
    inputs = [{tuple(row) for row in drawn(pool, step, 400)[0].tolist()} for step in (0, 1, 2, 30)]
    assert not inputs[0] & inputs[3]
    assert all(len(some) <= pool.parts * pool.part for some in inputs)
    # A batch of 400 with 4 passes makes 100 inputs give way.
    assert len(inputs[1] - inputs[0]) > 25


def test_an_input_is_drawn_as_often_as_its_passes_say():
    pool = made(passes=16)
    seen = torch.cat([drawn(pool, step, 256)[0] for step in range(100)])
    _, counts = torch.unique(seen, dim=0, return_counts=True)
    assert counts.float().mean() == pytest.approx(16, rel=0.15)


@pytest.fixture
def listed(monkeypatch):
    """How many training inputs the task lists."""

    def of(n):
        rows = task().sample(n, generator=torch.Generator().manual_seed(5), split="train")
        monkeypatch.setattr(type(task()), "training_inputs", property(lambda self: rows))
        return {tuple(row) for row in rows.tolist()}

    return of


def test_where_all_training_inputs_have_room_each_is_run_once(listed, monkeypatch):
    every, runs, real = listed(30), [], Pool._read
    monkeypatch.setattr(Pool, "_read", lambda self, tokens: runs.append(len(tokens)) or real(self, tokens))
    pool = made()
    assert {tuple(row) for row in drawn(pool, 40, 2000)[0].tolist()} == every
    assert sum(runs) == 32, "the last part is filled up"
    assert pool.seconds_of(64) == 0
    assert same(drawn(made(), 41), drawn(pool, 41))
    assert not same(drawn(made(seed=1), 41), drawn(pool, 41))


def test_until_they_are_all_there_they_come_in_as_their_passes_say(listed):
    listed(30)
    pool = made(passes=64)
    assert pool.first == 4
    listed(500)
    pool = made(megabytes=1, passes=64)
    assert pool.parts == pool.most == 63
    drawn(pool, 0)
    assert pool._made == pools.FIRST_PARTS
    assert pool.seconds_of(64) > 0
    drawn(pool, 40)
    assert pool._made == pools.FIRST_PARTS + 40 * 64 // (64 * 8)


def test_memory_is_not_counted_for_what_can_follow_where_anything_can():
    with_constraints = made(megabytes=1, constrained=True)
    assert made(megabytes=1).parts > with_constraints.parts


def test_where_they_have_no_room_all_of_them_come_before_one_comes_again(listed):
    every = listed(50)
    pool = made()
    parts = [pool._new(number, torch.Generator()) for number in range(14)]
    rows = [tuple(row) for part in parts for row in part.tolist()]
    assert set(rows[:50]) == every
    assert len(set(rows[50:100])) == 50
    assert rows[50:100] != rows[:50]


def test_what_can_follow_is_that_of_the_task():
    pool = made(constrained=True)
    tokens, chosen, _ = drawn(pool, 5)
    expected = task().next_tokens(tokens)
    assert torch.equal(pool.possible(chosen.rows), expected)
    assert pool.undecided(chosen.rows).tolist() == [7] * len(tokens)  # the sum follows from its two numbers
    assert made().possible(chosen.rows) is None


def test_what_is_trained_on_is_run_fast_in_a_large_model(monkeypatch):
    _, _, exact = drawn(made(), 3)
    monkeypatch.setattr("inversionview.decoder.pool.fast_dtype", lambda device: torch.bfloat16)
    assert torch.equal(drawn(made(), 3)[2], exact)
    monkeypatch.setattr("inversionview.decoder.pool.FAST_FROM", 0)
    _, _, fast = drawn(made(), 3)
    assert not torch.equal(fast, exact)
    assert torch.nn.functional.cosine_similarity(fast, exact).min() > 0.99


def test_a_model_in_half_precision_is_run_as_it_is(monkeypatch):
    asked = []
    monkeypatch.setattr("inversionview.decoder.pool.fast_dtype", lambda device: asked.append(device) or torch.bfloat16)
    monkeypatch.setattr("inversionview.decoder.pool.FAST_FROM", 0)
    pool = made()
    monkeypatch.setattr(type(pool.probed), "dtype", torch.float16)
    drawn(pool, 3)
    assert not asked


def test_the_model_takes_its_share_of_the_work():
    assert passes_for(capture=1.0, training=100.0) == 8
    assert passes_for(capture=40.0, training=4.0) == 40
    assert passes_for(capture=1e9, training=1.0) == 48


def test_what_was_kept_is_not_run_again_and_what_is_gone_is(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(pools, "KEPT_FROM", 0.0)
    monkeypatch.setattr(pools, "TOLD_FROM", 0.0)
    expected = drawn(made(tmp_path), 31)
    files = sorted(tmp_path.glob("part-*.safetensors"))
    assert len(files) == 4
    resumed = made(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Pool, "_read", None)
        assert same(drawn(resumed, 31), expected)
    files[0].unlink()
    files[1].write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert same(drawn(made(tmp_path), 31), expected)
    assert f"16 inputs of the run that is resumed were gone from {tmp_path}, and were run" in caplog.text


def bank_of(roles, sites=SITES, n=120, split="all"):
    return make_bank(probed(), task(), plan_bank(probed(), task(), sites=sites, roles=roles, n=n, seed=4, split=split))


def test_a_bank_gives_the_first_inputs_and_only_those_of_the_training():
    roles = every_role(task(), task().sample(500, generator=torch.Generator().manual_seed(0)))
    bank = bank_of(roles)
    pool = made(bank=bank, megabytes=1)
    tokens, chosen, vectors = drawn(pool, 0, 300)
    mine = {tuple(row) for row in bank.tokens[~task().is_held_out(bank.tokens)].tolist()}
    assert {tuple(row) for row in tokens.tolist()} <= mine
    coordinates, captured = Coordinates(probed()), probed().capture(tokens, SITES)
    for i, (position, site) in enumerate(zip(chosen.positions.tolist(), chosen.site_index.tolist(), strict=True)):
        expected = coordinates.of(SITES[site], captured[SITES[site]][i, position])
        torch.testing.assert_close(vectors[i, : len(expected)], expected, rtol=1e-4, atol=1e-4)
    later, _, _ = drawn(pool, 20, 300)
    assert {tuple(row) for row in later.tolist()} - mine


def test_after_a_bank_new_inputs_come_in_even_where_the_task_lists_its_own(listed):
    listed(30)
    pool = made(bank=bank_of(every_role(task(), bank_of(("=",)).tokens)), megabytes=1)
    assert pool.most == float("inf")
    drawn(pool, 20, 300)
    assert pool._made > pool.first


@pytest.mark.parametrize(
    ("bank", "message"),
    [
        (
            lambda: bank_of(("=", "A1")),
            r"the bank was not made at F1 F2 F3 \+, where the decoder is trained too.*--at all",
        ),
        (lambda: bank_of(every_role(task(), bank_of(("=",)).tokens), SITES[:1]), r"the bank does not hold x0\.post"),
        (lambda: bank_of(("=",), split="held-out"), "none of the 120 inputs of the bank is a training input"),
    ],
)
def test_a_bank_that_lacks_what_is_trained_on_is_refused(bank, message):
    with pytest.raises(UserError, match=message):
        made(bank=bank())
