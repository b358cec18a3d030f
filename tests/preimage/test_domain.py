from __future__ import annotations

from collections import Counter

import pytest
import torch

from inversionview.errors import UserError
from inversionview.preimage.domain import ModelDomain, checked_enumerable, domain_size, needed, uniform_log_prior
from inversionview.sites import Site
from inversionview.tasks.base import Task
from inversionview.tasks.positions import eligible_role
from tests.preimage.tiny import FewSums, few_sums, probed, rows, task

SUMS = rows("B100+100=200E", "B500+495=995E", "B505+495=1000E", "B615+861=1476E")


class Endless(FewSums):
    """A domain that only samples are known of."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.size = None


@pytest.mark.parametrize("block", [100, 5000])
@pytest.mark.parametrize("roles", [None, ("F2", "A4")])
def test_blocks_hold_every_input_once_with_the_activations_of_capture(block, roles):
    sites, task = (Site.parse("a0.1"), Site.parse("x1.post")), few_sums()
    blocks = list(ModelDomain(probed(), task, block).blocks(sites, roles))
    assert torch.equal(torch.cat([part.tokens for part in blocks]), task.rows)
    assert [part.start for part in blocks] == list(range(0, task.size, block))
    for part in blocks[:: max(1, len(blocks) - 1)]:
        whole = probed().capture(part.tokens, sites)
        for site in sites:
            assert sorted(part.read.at[site]) == ([2, 12] if roles else list(range(1, 13)))
            for t, z in part.read.at[site].items():
                torch.testing.assert_close(z[part.read.tree.owners[t]], whole[site][:, t], atol=1e-5, rtol=1e-4)


def test_a_block_without_the_role_is_not_run_to_it():
    short, long = SUMS[:2], SUMS[2:]
    assert needed(task(), short, ("A4",)) == []
    assert needed(task(), long, ("A4", "F2", "A4")) == [2, 12]
    assert needed(task(), SUMS, ("A4",)) == [12]
    assert needed(task(), short, None) == list(range(1, 12))
    assert needed(task(), long, None) == list(range(1, 13))
    assert needed(task(), long, ("B", "E")) == [], "they are never matched"


def test_roles_are_only_where_a_position_is_eligible():
    assert eligible_role(task(), SUMS, "A4").tolist() == [-1, -1, 12, 12]
    assert eligible_role(task(), SUMS, "=").tolist() == [8] * 4
    assert eligible_role(task(), SUMS, "B").tolist() == eligible_role(task(), SUMS, "E").tolist() == [-1] * 4


def test_sizes_and_masses_are_those_of_a_count_in_python():
    task = few_sums(tilt=0.2)
    numbers = task.numbers.tolist()
    share = {a: (1 + 0.2 * i) / sum(1 + 0.2 * j for j in range(len(numbers))) for i, a in enumerate(numbers)}
    four = [a for a in numbers for b in numbers if a + b >= 1000]
    size = domain_size(task, "A4")
    assert size.inputs == len(four)
    assert size.mass == pytest.approx(sum(share[a] / len(numbers) for a in four), rel=1e-6)
    assert size.mass > 1.05 * domain_size(few_sums(), "A4").mass, "large first numbers are the more probable ones"
    assert domain_size(task, None) == (task.size, 1.0)
    whole = domain_size(task, "F3")
    assert whole.inputs == task.size
    assert whole.mass == pytest.approx(1, rel=1e-6)


def test_a_domain_is_counted_once(monkeypatch):
    task, passes = FewSums(range(490, 510)), Counter()
    monkeypatch.setattr(task, "enumerate", lambda: passes.update(["pass"]) or iter([task.rows]))
    first, counted = domain_size(task, "A4"), Counter(passes)
    assert domain_size(task, "A4") == first
    assert passes == counted
    assert domain_size(FewSums(range(490, 520)), "A4") != first, "tasks of one kind are not taken for each other"


def test_without_a_count_the_mass_is_a_share_of_draws():
    endless, known = Endless(few_sums().numbers.tolist(), 0.2), domain_size(few_sums(tilt=0.2), "A4")
    size = domain_size(endless, "A4")
    assert size.inputs is None
    assert size.mass == pytest.approx(known.mass, abs=0.015)
    assert domain_size(endless, None) == (None, 1.0)


def test_a_task_that_cannot_enumerate_is_refused_and_told_what_to_do():
    endless = Endless(few_sums().numbers.tolist())
    for refused in (lambda: checked_enumerable(endless), lambda: ModelDomain(probed(), endless)):
        with pytest.raises(UserError, match=r"inputs of addition cannot be enumerated.* read a sample instead"):
            refused()
    checked_enumerable(few_sums())


@pytest.mark.parametrize("numbers", [[100], [100, 505, 495]])
def test_a_prior_that_is_uniform_by_declaration_is_as_if_it_had_been_looked_at(numbers):
    class Declared(FewSums):
        log_prior = Task.log_prior

    declared, looked_at = Declared(numbers), FewSums(numbers)
    assert uniform_log_prior(declared) == pytest.approx(uniform_log_prior(looked_at), abs=1e-6)
    for role in ("=", "A4"):
        one, other = domain_size(declared, role), domain_size(looked_at, role)
        assert one.inputs == other.inputs
        assert one.mass == pytest.approx(other.mass)
    assert uniform_log_prior(FewSums([100, 505], tilt=0.5)) is None
