"""Minutes into steps: a simulated run, at the planned length, takes the time it was given."""

import pytest

from inversionview.training.budget import DISCARDED, TIMED, Ahead, Planner


class Simulated:
    """A clock that only goes when told."""

    def __init__(self):
        self.seconds, self.parts, self.last = 0.0, {"after_step": 0.0, "checkpoint": 0.0}, {"checkpoint": 0.0}

    def spend(self, seconds, part=None):
        self.seconds += seconds
        if part:
            self.parts[part] += seconds
            self.last[part] = seconds


def run(
    budget,
    *,
    step=1.0,
    slow_start=5.0,
    period=1,
    after=0.0,
    checkpoint=0.0,
    every=60.0,
    warmup=20,
    began=0,
    dear=0,
    inputs=0.0,
    lasting=1,
    prepared=0.0,
    later=1.0,
):
    """Run as the loop does; give when the plan was made, the total, and the seconds it all took.

    New inputs take `inputs` seconds and last for so many steps. From a tenth of the budget on, steps take `later` times
    as long.
    """
    clock, done, total, planned, saved, brought = Simulated(), began, None, None, 0.0, 0.0
    clock.spend(prepared)
    planner = Planner(
        budget,
        warmup_steps=warmup,
        period=period,
        checkpoint_every=every,
        step=began,
        clock=clock,
        steady_after=dear,
        ahead=lambda: Ahead(brought, inputs / lasting),
    )
    while total is None or done < total:
        if done % lasting == 0:
            clock.spend(inputs)
            brought += inputs
        clock.spend(slow_start if done - began < DISCARDED else step * (1.5 if done < dear else 1))
        clock.spend((later - 1) * step if clock.seconds > 0.1 * budget else 0.0)
        done += 1
        clock.spend(after if done % period == 0 else 0.0, "after_step")
        if total is None and (total := planner.plan(done, clock)) is not None:
            planned = done
        elif total is not None:
            total = planner.renew(done, clock) or total
        if clock.seconds - saved >= every or (total is None and planner.wants_checkpoint(done)):
            clock.spend(checkpoint, "checkpoint")
            saved = clock.seconds
    clock.spend(checkpoint, "checkpoint")
    return planned, total, clock.seconds


@pytest.mark.parametrize("costs", [
    {},
    {"step": 0.01, "slow_start": 3.0},
    {"after": 0.5},
    {"after": 8.0, "period": 10},
    {"after": 30.0, "period": 70},
    {"checkpoint": 6.0},
    {"checkpoint": 4.0, "after": 20.0, "period": 40, "step": 0.3},
    {"checkpoint": 70.0, "every": 700.0},
    {"began": 1000},
    {"prepared": 900.0},
    {"dear": 200},
    {"dear": 200, "began": 150},
    {"dear": 200, "after": 8.0, "period": 250},
    {"dear": 100, "began": 150},
    {"inputs": 4.0, "lasting": 64, "step": 0.2, "slow_start": 0.5},
    {"inputs": 40.0, "lasting": 180, "step": 0.5},
    {"inputs": 4.0, "lasting": 64, "step": 0.2, "dear": 300},
    {"later": 1.4, "step": 0.2},
    {"later": 0.7, "step": 0.2},
    {"later": 1.4, "step": 0.2, "after": 8.0, "period": 500, "inputs": 4.0, "lasting": 64},
])  # fmt: skip
def test_the_run_takes_the_time_it_was_given(costs):
    _, _, seconds = run(1800.0, **costs)
    assert seconds == pytest.approx(1800.0, rel=0.03)


def test_the_plan_waits_for_the_peak_and_for_periodic_work():
    assert run(1200.0, warmup=50)[0] == 50
    assert run(400.0, warmup=0, slow_start=1.0)[0] == DISCARDED + TIMED
    assert run(1200.0, warmup=50, period=80)[0] == 80
    assert run(400.0, warmup=50, period=80, began=70, slow_start=1.0)[0] == 70 + DISCARDED + TIMED  # beyond the peak


def test_short_steps_are_timed_for_longer():
    assert run(1000.0, step=0.1, slow_start=1.0, warmup=5)[0] == 3 + (0.03 * 1000 - 3) / 0.1


def test_timing_takes_no_more_than_a_tenth():
    planned, _, seconds = run(1000.0, step=10.0, slow_start=10.0, warmup=100)
    assert planned == 10
    assert seconds == pytest.approx(1000.0, rel=0.02)


def test_a_budget_that_is_already_spent_ends_at_once():
    planned, total, _ = run(1.0)
    assert planned == total == DISCARDED + 1
