import pytest

from benchmarks import text_training
from benchmarks.text_training import Spent


def test_instances_count_with_their_share_of_the_forwards():
    spent = Spent.total([Spent(2.0, 1.5, 30.0, 100), Spent(4.0, 3.5, 0.0, 0)])
    # 80 instances at 8 of an input are 10 inputs, at 0.3 s each.
    assert spent.capturing(80, 8) == pytest.approx(3.0)
    assert spent.rate(80, 8) == pytest.approx(80 / 9)
    assert spent.rate(80, 10**9) == pytest.approx(80 / 6)
    probed, decoder, rest = text_training.share_rows(spent, 80, 8)
    assert (probed["value"], decoder["value"]) == (pytest.approx(3 / 9), pytest.approx(5 / 9))
    assert rest["value"] == pytest.approx(1 / 9)


def test_ours_is_compared_at_equal_sizes():
    objective = text_training.make_objective(text_training.gpt2(quick=True), text_training.LIKE_FOR_LIKE)
    spent = text_training.measure_ours(objective, 1)
    assert spent.inputs == objective.pool.part * objective.pool.first
    assert 0 < spent.decoder <= spent.stepping
    assert spent.captured > 0
    again = text_training.measure_ours(objective, 1)  # a pool is filled once
    assert again.inputs in (0, spent.inputs)
