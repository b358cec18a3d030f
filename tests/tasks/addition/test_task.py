"""The addition task against plain Python arithmetic on strings."""

import random

import pytest
import torch
from scipy.stats import chisquare

from inversionview.errors import UserError
from inversionview.tasks import get_task
from inversionview.tasks.addition.task import END, PAD, AdditionTask
from inversionview.tasks.base import Editable

SUMS = ["615+861=1476", "100+100=200", "999+999=1998", "500+500=1000", "199+800=999"]


@pytest.fixture(scope="module")
def task() -> AdditionTask:
    return AdditionTask()


def rows(task, texts):
    encoded = [task.encode(text) for text in texts]
    return torch.stack([torch.cat([row, torch.full((14 - len(row),), PAD)]) for row in encoded])


@pytest.mark.parametrize("text", SUMS)
def test_what_is_typed_comes_back(task, text):
    tokens = task.encode(text)
    assert task.decode(tokens) == text
    assert "".join(task.token_strings(tokens)) == f"B{text}E"
    assert task.contains(rows(task, [text])).item()


def test_the_domain_is_every_sum_of_two_three_digit_numbers(task):
    seen = set()
    count = 0
    for block in task.enumerate(100_000):
        assert task.contains(block).all()
        count += len(block)
        seen.update(task.decode(row) for row in block[:: len(block) // 50])
    assert count == task.size == 810_000
    for text in seen:
        left, right = text.split("=")[0].split("+")
        assert text == f"{left}+{right}={int(left) + int(right)}"


def test_a_malformed_row_is_not_in_the_domain(task):
    right = rows(task, ["615+861=1476"])[0]
    broken = [right.clone() for _ in range(right.shape[0] + 3)]
    for position in range(right.shape[0]):
        broken[position][position] = 10 if right[position] != 10 else 3
    broken[-3][12], broken[-3][13] = END, PAD  # the answer's last digit is missing
    broken[-2][1] = 0  # 015 is not a number of three digits
    broken[-1] = torch.full_like(right, PAD)
    assert not task.contains(torch.stack(broken)).any()
    assert not task.contains(right[None, :12]).any()


def test_a_row_may_be_padded_further(task):
    wide = torch.nn.functional.pad(rows(task, SUMS), (0, 3), value=PAD)
    assert task.contains(wide).all()
    wide[0, 15] = 3
    assert task.contains(wide).tolist() == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("615+861=1477", "615+861 is 1476"),
        ("6x5+861=1476", "'x' at character 1"),
        ("615861", "one '+'"),
        ("15+861=876", "first number is '15'"),
        ("615+061=676", "second number is '061'"),
        ("615+861=1476=", "one '='"),
        ("", "one '+'"),
    ],
)
def test_bad_input_says_where(task, text, says):
    with pytest.raises(UserError, match=says.replace("+", r"\+")) as error:
        task.encode(text)
    assert "\n" not in str(error.value)


def test_the_split_is_the_papers_and_is_kept(task):
    pairs = [(i, j) for i in range(100, 1000) for j in range(100, 1000)]
    random.Random(0).shuffle(pairs)
    held_out = {f"{i}+{j}={i + j}" for i, j in pairs[607_500:]}
    for split, expected in (("train", False), ("held-out", True)):
        tokens = task.sample(500, generator=torch.Generator().manual_seed(0), split=split)
        assert task.is_held_out(tokens).tolist() == [expected] * 500
        assert all((task.decode(row) in held_out) is expected for row in tokens)


def test_sampling_is_uniform_and_seeded(task):
    first = task.sample(20_000, generator=torch.Generator().manual_seed(3))
    again = task.sample(20_000, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, again)
    shares = torch.bincount(first[:, 2], minlength=10) / len(first)
    assert (shares - 0.1).abs().max() < 5 * (0.1 * 0.9 / len(first)) ** 0.5
    assert task.log_prior(first).exp().sum().item() == pytest.approx(20_000 / 810_000, rel=1e-4)


def test_positions_and_roles(task):
    tokens = rows(task, SUMS)
    assert task.position_of(tokens, "=").tolist() == [8] * 5
    assert task.position_of(tokens, "A4").tolist() == [12, -1, 12, 12, -1]
    assert task.position_of(tokens, "E").tolist() == [13, 12, 13, 13, 12]
    four, three = tokens[0], tokens[1]
    assert [task.role(four, t) for t in range(14)] == ["B", *task.roles, "E"]
    assert task.role(three, 12) == "E"
    assert task.eligible(tokens).sum(dim=1).tolist() == [12, 11, 12, 12, 11]
    assert not task.eligible(tokens)[:, 0].any()
    with pytest.raises(UserError, match="has no position"):
        task.position_of(tokens, "Q1")
    with pytest.raises(UserError, match="positions are 0 to 12"):
        task.role(three, 13)


def test_answer_mask_covers_the_answer_and_the_end(task):
    mask = task.answer_mask(rows(task, ["615+861=1476", "100+100=200"]))
    assert mask.nonzero().tolist() == [[0, t] for t in range(9, 14)] + [[1, t] for t in range(9, 13)]


def test_features_against_arithmetic(task):
    tokens = task.sample(300, generator=torch.Generator().manual_seed(1))
    where = torch.full((300,), 8)
    named = {name: [f.values[code] for code in f.compute(tokens, where).tolist()] for name, f in task.features.items()}
    for i, row in enumerate(tokens):
        left, right = task.decode(row).split("=")[0].split("+")
        answer = str(int(left) + int(right))
        carry = 0
        for column in (3, 2, 1):
            a, b = int(left[column - 1]), int(right[column - 1])
            carry = int(a + b + carry >= 10)
            assert named[f"F{column}"][i] == str(a)
            assert named[f"S{column}"][i] == str(b)
            assert named[f"F{column}+S{column}"][i] == str(a + b)
            assert named[f"C{column}"][i] == ("no", "yes")[carry]
        for digit in range(4):
            assert named[f"A{digit + 1}"][i] == (answer[digit] if digit < len(answer) else "none")
        assert named["four digits"][i] == ("no", "yes")[len(answer) == 4]


def edits_of(text: str) -> dict[str, float]:
    """How probable each edit of a sum is, in strings and by counting all choices."""
    left, right = text.split("=")[0].split("+")
    found: dict[str, float] = {}

    def add(a: str, b: str, probability: float) -> None:
        if "0" in (a[0], b[0]):
            a, b = left, right
        edited = f"{a}+{b}={int(a) + int(b)}"
        found[edited] = found.get(edited, 0) + probability

    for i in range(3):
        others = "123456789" if i == 0 else "0123456789"
        for digit in others:
            if digit != left[i]:
                add(left[:i] + digit + left[i + 1 :], right, 1 / 2 / 6 / (len(others) - 1))
            if digit != right[i]:
                add(left, right[:i] + digit + right[i + 1 :], 1 / 2 / 6 / (len(others) - 1))
        for j in range(3):
            add(left[:i] + right[j] + left[i + 1 :], right[:j] + left[i] + right[j + 1 :], 1 / 2 / 9)
    return found


def edited(task, text, n, seed=0) -> dict[str, int]:
    drawn = task.edit(rows(task, [text]).expand(n, -1), torch.Generator().manual_seed(seed))
    assert task.contains(drawn).all()
    distinct, counts = torch.unique(drawn, dim=0, return_counts=True)
    return {task.decode(row): int(count) for row, count in zip(distinct, counts, strict=True)}


@pytest.mark.parametrize("text", ["615+861=1476", "100+100=200", "907+192=1099", "999+999=1998"])
def test_edits_are_all_digit_changes_and_swaps_as_probable_as_they_should_be(task, text):
    found, expected = edited(task, text, 100_000), edits_of(text)
    assert set(found) == set(expected)
    assert sum(expected.values()) == pytest.approx(1)
    order = sorted(expected)
    test = chisquare([found[key] for key in order], [100_000 * expected[key] for key in order])
    assert test.pvalue > 1e-3


def test_edits_are_symmetric(task):
    text, n = "607+192=799", 20_000
    there = edited(task, text, n)
    for i, (other, count) in enumerate(there.items()):
        back = edited(task, other, n, seed=i + 1).get(text, 0)
        assert abs(count - back) < 4.5 * (count + back) ** 0.5, other


def test_the_seed_decides_the_edits(task):
    tokens = task.sample(50, generator=torch.Generator().manual_seed(0))
    one, again, other = (task.edit(tokens, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert isinstance(task, Editable)


def test_an_unknown_task_says_which_there_are():
    with pytest.raises(UserError, match="the tasks are: addition, counting"):
        get_task("subtraction")
