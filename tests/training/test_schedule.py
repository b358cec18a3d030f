"""The learning rate: up in a line, down in half a cosine."""

from itertools import pairwise

import pytest

from inversionview.training import TrainingConfig


def factors(total, *, warmup=10, final=0.1, steps=None):
    config = TrainingConfig(steps=1, warmup_steps=warmup, final_fraction=final)
    return [config.learning_rate_factor(step, total) for step in range(steps or total)]


def test_it_rises_in_a_line_to_its_peak_and_falls_to_the_final_fraction():
    rates = factors(100)
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert all(before > after for before, after in pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(0.1)
    assert rates[10 + 44] == pytest.approx(0.55)  # half way down in the middle


def test_the_rise_does_not_depend_on_the_total():
    assert factors(100)[:10] == factors(5000)[:10] == factors(None, steps=10)
    assert factors(None, steps=15)[10:] == [1.0] * 5


def test_odd_lengths():
    assert factors(5) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert factors(1, warmup=0) == [pytest.approx(0.1)]
    assert factors(3, warmup=0, final=1.0) == [1.0, 1.0, 1.0]
    assert TrainingConfig(steps=1, warmup_steps=10, final_fraction=0.1).learning_rate_factor(120, 100) == pytest.approx(
        0.1
    )
