"""Parts of the counting task: inputs in every order, and the prior given what inputs share; against itertools."""

import itertools
import math
from collections import Counter

import pytest
import torch

from inversionview.errors import UserError
from inversionview.tasks import get_task
from inversionview.tasks.addition.task import AdditionTask
from inversionview.tasks.base import Conditional, Restrictable, restricted
from inversionview.tasks.counting.task import CountingTask
from tests.tasks.counting.inputs import FULL, as_likely, drawn, inputs, is_input, random_inputs, strings

QUERY = "babcbabb|b:5"


@pytest.fixture(scope="module")
def task() -> CountingTask:
    return get_task("counting")


def orders_of(text: str) -> list[str]:
    letters, question = text.split("|")
    return sorted({f"B{''.join(order)}|{question}E" for order in itertools.permutations(letters)})


@pytest.mark.parametrize("text", ["abc|a:1", "zzya|y:1", "bbaacc|a:2", QUERY])
@pytest.mark.parametrize("block", [7, 65536])
def test_given_letters_and_counts_all_orders_come_once_and_sorted(task, text, block):
    part = task.given(task.encode(text), "counts")
    blocks = list(part.enumerate(block))
    assert max(map(len, blocks)) <= block
    found = torch.cat(blocks)
    assert strings(found) == orders_of(text)
    assert part.size == len(found)
    assert found.tolist() == sorted(found.tolist())
    assert part.contains(found).all()
    torch.testing.assert_close(part.log_prior(found).exp(), torch.full((len(found),), 1 / len(found)))


def test_the_part_has_the_prior_of_the_whole_given_it(task):
    part = task.given(task.encode(QUERY), "counts")
    rows = next(part.enumerate())
    whole = task.log_prior(rows)
    torch.testing.assert_close(part.log_prior(rows), whole - whole.double().logsumexp(0).float())
    mass = whole.double().exp().sum().log().item()
    assert mass == pytest.approx(task.log_mass("counts", task.encode(QUERY)), abs=1e-5)


def test_large_parts_are_counted_and_too_large_ones_refused_in_one_line(task):
    text = "vvzccvczvvvzvcvc|v:8"
    part = task.given(task.encode(text), "counts")
    assert part.size == math.factorial(16) // (math.factorial(8) * math.factorial(5) * math.factorial(3)) == 720_720
    first = next(part.enumerate(3))
    assert strings(first) == [f"B{s}|v:8E" for s in ("cccccvvvvvvvvzzz", "cccccvvvvvvvzvzz", "cccccvvvvvvvzzvz")]
    with pytest.raises(UserError, match=r"have 227,873,431,500 orders, and more than 20,000,000 .*without exact") as e:
        task.given(task.encode(FULL), "counts")
    assert "\n" not in str(e.value)
    with pytest.raises(UserError, match="can be enumerated given counts, not given 'letters'"):
        task.given(task.encode(text), "letters")


def test_a_part_holds_nothing_else(task):
    part = task.given(task.encode(QUERY), "counts")
    others = ["babcbabb|a:2", "babcbabb|c:1", "babcbab|b:4", "dadcdadd|d:5", "bbbbbcaa|b:5"]
    assert part.contains(inputs(*others)).tolist() == [False] * 4 + [True]
    broken = inputs(QUERY).clone()
    broken[0, 3] = 39
    assert not part.contains(broken).any()
    assert part.log_prior(inputs(*others)).isfinite().tolist() == [False] * 4 + [True]
    assert part.decode(part.encode("bbbbbcaa|b:5")) == "bbbbbcaa|b:5"
    with pytest.raises(UserError, match="other letters, counts or another question"):
        part.encode("babcbabb|a:2")


def test_a_part_is_drawn_from_uniformly_and_lies_on_one_side_of_the_split(task):
    part = task.given(task.encode("aabc|c:1"), "counts")
    found = strings(drawn(part, 6000))
    assert set(found) <= set(orders_of("aabc|c:1"))
    assert as_likely(found, 12)
    held = task.is_held_out(inputs("aabc|c:1")).item()
    sides = {True: "held-out", False: "train"}
    assert len(drawn(part, 3, sides[held])) == 3
    with pytest.raises(UserError, match="it is by letters and counts"):
        drawn(part, 3, sides[not held])


def test_a_part_answers_everything_else_as_the_whole_does(task):
    part, rows = task.given(task.encode(QUERY), "counts"), inputs(QUERY, "bbbbbcaa|b:5")
    assert list(part.features) == list(task.features)
    for role in (*task.roles, "3"):
        assert torch.equal(part.position_of(rows, role), task.position_of(rows, role))
    assert torch.equal(part.eligible(rows), task.eligible(rows))
    assert torch.equal(part.answer_mask(rows), task.answer_mask(rows))
    assert torch.equal(part.is_held_out(rows), task.is_held_out(rows))
    assert part.role(rows[0], 9) == "|"
    assert part.token_strings(rows[0]) == task.token_strings(rows[0])
    assert not isinstance(part, Conditional), "its prior is not the whole task's"


class Near:
    """Equal to what has the same letters, as many of each to within a number."""

    def __init__(self, letters: str, within: int) -> None:
        self.count, self.within = Counter(letters), within

    def __eq__(self, other: "Near") -> bool:
        return set(self.count) == set(other.count) and all(
            abs(n - other.count[c]) <= self.within for c, n in self.count.items()
        )


class Pair:
    """Equal to what has two of the letters at least, and each count to within 1, the third letter's for the third's."""

    def __init__(self, letters: str) -> None:
        self.count = Counter(letters)

    def __eq__(self, other: "Pair") -> bool:
        both = set(self.count) & set(other.count)
        rest, others = ([n for c, n in of.items() if c not in both] for of in (self.count, other.count))
        near = [abs(self.count[c] - other.count[c]) <= 1 for c in both]
        return len(both) >= 2 and all(near) and all(abs(a - b) <= 1 for a, b in zip(rest, others, strict=True))


SHARED = {
    "asked": lambda letters, asked: (asked, letters.count(asked)),
    "question": lambda letters, asked: (asked, letters.count(asked), len(letters)),
    "kinds": lambda letters, asked: set(letters),
    "nearby": lambda letters, asked: Near(letters, 2),
    "near": lambda letters, asked: Near(letters, 1),
    "pair": lambda letters, asked: Pair(letters),
    "letters": lambda letters, asked: (set(letters), asked),
    "multiset": lambda letters, asked: Counter(letters),
    "counts": lambda letters, asked: (Counter(letters), asked),
}


def shared(name: str, text: str):
    letters, question = text.split("|")
    return SHARED[name](letters, question[0])


@pytest.mark.parametrize("name", SHARED)
def test_what_is_drawn_given_something_shares_it_and_all_else_is_the_priors(task, name):
    query = "aabac|a:3"
    found = [s[1:-1] for s in strings(task.sample_given(name, task.encode(query), 6000, generator=torch.Generator()))]
    assert all(is_input(f"B{text}E") and shared(name, text) == shared(name, query) for text in found)
    free = {text.split("|")[0][0] + text.split("|")[1] for text in found}
    assert len(free) > 1
    letters = [text.split("|")[0] for text in found]
    if name in ("asked", "question"):
        assert as_likely([tuple(sorted(set(s) - {"a"})) for s in letters], math.comb(25, 2))
        pairs = 81 if name == "asked" else 1
        assert as_likely([tuple(s.count(c) for c in sorted(set(s) - {"a"})) for s in letters], pairs)
    if name in ("near", "nearby"):  # of aabac: a to 2 or 1 and 4 or 5, the others from 1
        values = {"near": 3 * 2 * 2, "nearby": 5 * 3 * 3}[name]
        assert as_likely([tuple(s.count(c) for c in "abc") for s in letters], values)
    if name == "pair":
        assert as_likely([tuple(sorted(set(s))) for s in letters], 70)
    if name in ("kinds", "letters"):
        assert as_likely([tuple(s.count(c) for c in "abc") for s in letters], 729)
    if name in ("multiset", "counts"):
        assert as_likely(letters, 20)
    if name in ("kinds", "multiset", "near", "nearby", "pair"):
        assert as_likely([sorted(set(text.split("|")[0])).index(text.split("|")[1][0]) for text in found], 3)


def mass_of(name: str, text: str) -> float:
    """By going through all letters and counts, each as probable."""
    letters, question = text.split("|")
    asked, own = question[0], Counter(letters)
    same = 0.0
    for counts in itertools.product(range(1, 10), repeat=3):
        right = True
        if name in ("asked", "question"):
            right = counts[0] == own[asked] and (name == "asked" or sum(counts) == len(letters))
        if name in ("near", "nearby", "pair"):
            right = all(abs(n - own[c]) <= 1 + (name == "nearby") for n, c in zip(counts, sorted(own), strict=True))
        if name in ("multiset", "counts"):
            right = counts == tuple(own[c] for c in sorted(own))
        same += right / 729
    letter_part = {"asked": 1 / 26, "question": 1 / 26, "letters": 1 / 7800, "counts": 1 / 7800}
    return same * (70 if name == "pair" else 1) * letter_part.get(name, 1 / 2600)


@pytest.mark.parametrize("name", SHARED)
def test_the_mass_of_what_is_shared_is_exact_and_agreeing_means_sharing(task, name):
    sample = random_inputs(400, seed=3)
    for query in ("aabac|a:3", FULL, sample[0]):
        own = task.encode(query)
        assert task.log_mass(name, own) == pytest.approx(math.log(mass_of(name, query)), rel=1e-9)
        generator = torch.Generator()
        near = torch.cat([task.sample_given(other, own, 20, generator=generator) for other in SHARED])
        others = [*sample, *(s[1:-1] for s in strings(near)), query]
        found = task.agrees(name, own, inputs(*others)).tolist()
        assert found == [shared(name, text) == shared(name, query) for text in others]
        assert 0 < sum(found) < len(found)


def test_density_of_a_conditioned_draw_adds_up_to_1(task):
    """p(x) / mass over all that agrees: here every order, for the narrowest conditions."""
    own = task.encode("abbc|b:2")
    rows = inputs(*(s[1:-1] for s in orders_of("abbc|b:2")))
    assert task.agrees("counts", own, rows).all()
    total = (task.log_prior(rows).double() - task.log_mass("counts", own)).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_given_is_an_error_that_names_what_can(task):
    assert isinstance(task, Conditional)
    assert isinstance(task, Restrictable)
    assert set(task.conditions) == set(SHARED)
    own = task.encode("abc|a:1")
    for refused in (
        lambda: task.sample_given("order", own, 1, generator=torch.Generator()),
        lambda: task.log_mass("order", own),
        lambda: task.agrees("order", own, own[None]),
    ):
        with pytest.raises(UserError, match="counting has no condition 'order'; its conditions are: asked, question"):
            refused()
    assert restricted(task, own, "counts").size == 6
    with pytest.raises(UserError, match="no part of addition can be enumerated by itself, given counts"):
        restricted(AdditionTask(), own, "counts")
