"""Changes of counting inputs: symmetric, inside the domain, and what they say they do."""

from collections import Counter

import pytest
import torch

from inversionview.errors import UserError
from inversionview.tasks.counting.task import CountingTask
from tests.tasks.counting.inputs import FULL, TEXTS, drawn, inputs, is_input, strings


@pytest.fixture(scope="module")
def task() -> CountingTask:
    return CountingTask()


def after(change, text: str, n: int, seed: int = 0, **options) -> Counter:
    """Where `n` changes of one input lead."""
    made = change(inputs(text).expand(n, -1).clone(), generator=torch.Generator().manual_seed(seed), **options)
    return Counter(row[1:-1] for row in strings(made))


def parts(text: str) -> tuple[str, str]:
    letters, question = text.split("|")
    return letters, question[0]


def ways(text: str) -> dict[str, float]:
    """How probable each input is after one edit of this one, by going through all that may be drawn."""
    letters, asked = parts(text)
    found: Counter = Counter()

    def reach(new: str, chance: float, asking: str = asked) -> None:
        made = f"{new}|{asking}:{new.count(asking)}"
        found[made if is_input(f"B{made}E") else text] += chance / 5

    kinds, n = sorted(set(letters)), len(letters)
    for i in range(n):
        for j in range(n):
            swapped = list(letters)
            swapped[i], swapped[j] = letters[j], letters[i]
            reach("".join(swapped), 1 / n**2)
        for other in kinds:
            if other != letters[i]:
                reach(letters[:i] + other + letters[i + 1 :], 1 / n / 2)
    for old in kinds:
        reach(letters, 1 / 3, old)
        free = [c for c in "abcdefghijklmnopqrstuvwxyz" if c not in kinds]
        for new in free:
            reach(letters.replace(old, new), 1 / 3 / 23, asked.replace(old, new))
        for slot in range(n + 1):
            reach(letters[:slot] + old + letters[slot:], 1 / 2 / 3 / (n + 1))
        for place in range(n):
            taken = letters[:place] + letters[place + 1 :] if letters[place] == old else letters
            reach(taken, 1 / 2 / 3 / n)
    return dict(found)


@pytest.mark.parametrize("text", ["abc|a:1", "aabbc|b:2", "abcbb|c:1"])
def test_edits_are_as_probable_as_all_that_may_be_drawn_and_so_is_each_way_back(task, text):
    wanted = ways(text)
    assert sum(wanted.values()) == pytest.approx(1)
    for other, chance in wanted.items():
        assert ways(other)[text] == pytest.approx(chance), other
    n = 40_000
    found = after(task.edit, text, n)
    assert set(found) <= set(wanted)
    for other, chance in wanted.items():
        assert abs(found[other] - n * chance) < 5.5 * (n * chance) ** 0.5 + 1, other


def test_edits_stay_in_the_domain_from_anywhere_and_mostly_move(task):
    tokens = torch.cat([drawn(task, 3000), inputs(*TEXTS, FULL).repeat(100, 1)])
    before, generator = tokens.clone(), torch.Generator().manual_seed(0)
    for _ in range(3):
        new = task.edit(tokens, generator)
        assert all(map(is_input, strings(new)))
        assert (new != tokens).any(dim=1).float().mean() > 0.4
        tokens = new
    assert torch.equal(before[:10], drawn(task, 3000)[:10]), "what is edited is left as it was"


def test_the_seed_decides_where_an_edit_leads(task):
    assert after(task.edit, TEXTS[0], 100) == after(task.edit, TEXTS[0], 100)
    assert after(task.edit, TEXTS[0], 100) != after(task.edit, TEXTS[0], 100, seed=1)


def test_a_flip_turns_one_letter_into_another_of_the_three(task):
    found = after(task.flip, "aabac|b:1", 4000)
    # Of b and c there is one each, and so these cannot be turned into another.
    wanted = {"aabac|b:1", *(f"{s}|b:{s.count('b')}" for s in ("babac", "cabac", "abbac", "acbac", "aabbc", "aabcc"))}
    assert set(found) == wanted
    for text in wanted - {"aabac|b:1"}:
        assert found[text] == pytest.approx(400, abs=100), "five places, two letters each"
    assert set(after(task.flip, "abc|a:1", 50)) == {"abc|a:1"}
    assert set(after(task.flip, FULL, 50)) == {FULL}


def test_a_change_asks_for_one_of_the_three_and_touches_nothing_else(task):
    found = after(task.change, "aabac|b:1", 3000, roles=("letter",))
    assert set(found) == {"aabac|a:3", "aabac|b:1", "aabac|c:1"}
    assert min(found.values()) > 850
    for roles in ((), ("|",), ("letter", "1")):
        with pytest.raises(UserError, match=r"counting can change what is asked: use change:letter, or flip"):
            task.change(inputs("abc|a:1"), roles, torch.Generator())
