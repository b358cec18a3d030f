"""The counting task against code that knows only strings, `Counter` and `itertools`."""

import itertools
import math
import random
from collections import Counter

import pytest
import torch

from inversionview.errors import UserError
from inversionview.tasks import get_task
from inversionview.tasks.base import Contrastable, Editable
from inversionview.tasks.counting.task import PAD, CountingTask
from tests.tasks.counting.inputs import FULL, TEXTS, as_likely, drawn, inputs, is_input, random_inputs, rows, strings

SYMBOLS = "abcdefghijklmnopqrstuvwxyz123456789|:BE_"


@pytest.fixture(scope="module")
def task() -> CountingTask:
    return get_task("counting")


@pytest.mark.parametrize("text", [*TEXTS, FULL])
def test_what_is_typed_comes_back(task, text):
    tokens = task.encode(f" {text}\n")
    assert strings(tokens[None]) == [f"B{text}E"]
    assert task.decode(tokens) == text
    assert "".join(task.token_strings(tokens)) == f"B{text}E"
    assert task.contains(torch.nn.functional.pad(tokens, (0, 40 - len(tokens)), value=PAD)[None]).item()
    assert task.contains(tokens[None]).item(), "a row needs no padding"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("aabaC|a:3", "'C' at character 4"),
        ("aabac|a:0", "'0' at character 8"),
        ("aabac|a:2", "'a' occurs 3 times, not '2'"),
        ("aabac|a:33", "'a' occurs 3 times, not '33'"),
        ("aabac|a:", "'a' occurs 3 times, not ''"),
        ("aabac|d:1", "comes one of its letters (a, b, c) and ':', as in aabac|a:3"),
        ("aabac|a3", "comes one of its letters"),
        ("aabac", "one '|' must stand"),
        ("aa|bac|a:3", "one '|' must stand"),
        ("aab|a:2", "2 different letters before the '|', not 3"),
        ("abcd|a:1", "4 different letters"),
        ("a1bc|a:1", "only letters stand before the '|'"),
        ("a" * 10 + "bc|b:1", "'a' occurs 10 times, more than 9"),
        ("|a:1", "0 different letters"),
        ("", "one '|' must stand"),
        ("ab\nc|a:1", "'\\n' at character 2"),
    ],
)
def test_bad_input_says_in_one_line_where(task, text, says):
    with pytest.raises(UserError) as error:
        task.encode(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_samples_are_inputs_and_each_part_is_uniform(task):
    found = strings(drawn(task, 20_000))
    assert all(map(is_input, found))
    parts = [text[1:-1].split("|") for text in found]
    assert as_likely([question[0] for _, question in parts], 26)
    assert as_likely([question[2] for _, question in parts], 9)
    assert as_likely([tuple(sorted(set(letters))) for letters, _ in parts], 2600)
    assert as_likely([tuple(n for _, n in sorted(Counter(letters).items())) for letters, _ in parts], 729)
    assert as_likely([sorted(set(letters)).index(question[0]) for letters, question in parts], 3)


def test_orders_are_uniform_given_the_counts(task):
    tokens = drawn(task, 100_000)
    found = [text[1:-1].split("|")[0] for text in strings(tokens[(tokens == 35).int().argmax(dim=1) <= 6])]
    for counts in ((1, 1, 1), (1, 1, 2), (1, 2, 2)):
        some = [letters for letters in found if tuple(sorted(Counter(letters).values())) == counts]
        # Which letter stands at which rank of the counts, ties by the alphabet: so orders of all letters are pooled.
        named = [
            "".join(str(sorted(set(s), key=lambda c, s=s: (s.count(c), c)).index(c)) for c in s) for s in some
        ]  # fmt: skip
        wanted = {"".join(order) for order in itertools.permutations("".join(str(i) * n for i, n in enumerate(counts)))}
        assert set(named) == wanted
        assert as_likely(named, len(wanted))


def test_sampling_depends_on_the_seed_alone(task):
    assert torch.equal(drawn(task, 50), drawn(task, 50))
    assert not torch.equal(drawn(task, 50), drawn(task, 50, seed=1))
    assert drawn(task, 0).shape == (0, 33)


MALFORMED = [
    "", "B", "E", "B|E", "BabcE", "Babc|aE", "Babc|a:E", "Babc|a:1", "Babc|a:1_E", "Babc|a:1EE", "Babc|a:1E1",
    "Babc|a:1Ea", "Babc|a:2E", "Babc|a:aE", "Babc|1:1E", "Babc|d:1E", "Babc|a|1E", "Babc:a:1E", "Babc||a:1E",
    "B|abc|a:1E", "aBbc|a:1E", "abc|a:1E", "BBabc|a:1E", "Bab_c|a:1E", "Bab1c|a:1E", "BabEc|a:1E", "BabBc|a:1E",
    "Bab:c|a:1E", "Baab|a:2E", "Babcd|a:1E", "Baaa|a:3E", "B" + "a" * 10 + "bc|b:1E", "B" + "a" * 10 + "bc|a:9E",
    "Babc|:1aE", "Babc|a:1:E", "Babc|a :1E".replace(" ", "_"), "B" + "abc" * 10, "B" + "abc" * 9 + "a" + "|a:",
    "B" + "abc" * 10 + "|a", "B" + "a" * 31 + "|", "_" * 33, "|" * 33, "Babc|a:1E".rjust(33, "_"),
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_malformed_is_not_in_the_domain_and_can_be_asked_anything(task, text):
    tokens = rows(text)
    assert not is_input(text.rstrip("_"))
    assert not task.contains(tokens).item()
    assert task.log_prior(tokens).item() == -math.inf
    assert not task.contains(tokens[:, :8]).item()
    task.decode(tokens[0])
    eligible = task.eligible(tokens)[0]
    assert eligible.tolist() == [0 < t < (text.ljust(33, "_") + "E").index("E", 1) for t in range(33)]
    for role in ("|", "letter", ":", "answer", "B", "E", "1", "27"):
        assert -1 <= task.position_of(tokens, role).item() < 33
    for t in range(len(task.token_strings(tokens[0]))):
        task.role(tokens[0], t)


def test_changing_any_token_leaves_the_domain_or_makes_another_input(task):
    rng = random.Random(0)
    for text in TEXTS[:4]:
        whole = f"B{text}E".ljust(33, "_")
        changed = [
            whole[:t] + rng.choice(SYMBOLS.replace(whole[t], "")) + whole[t + 1 :] for t in range(33) for _ in range(8)
        ]
        tokens = torch.tensor([[SYMBOLS.index(c) for c in row] for row in changed])
        assert task.contains(tokens).tolist() == [is_input(row.rstrip("_")) for row in changed]


def test_the_prior_adds_up_to_1_over_orders_letters_and_questions(task):
    for counts in itertools.combinations_with_replacement((1, 2, 3), 3):
        orders = sorted(set(itertools.permutations("".join(c * n for c, n in zip("kqx", counts, strict=True)))))
        n = sum(counts)
        assert len(orders) == math.comb(n, counts[0]) * math.comb(n - counts[0], counts[1])
        texts = [f"{''.join(order)}|{c}:{order.count(c)}" for order in orders for c in "kqx"]
        total = task.log_prior(inputs(*texts)).double().exp().sum().item()
        assert total == pytest.approx(1 / (math.comb(26, 3) * 9**3), rel=1e-5), counts
    last = task.log_prior(inputs(FULL)).item()
    orders = math.factorial(27) / math.factorial(9) ** 3
    assert last == pytest.approx(-math.log(2600 * 729 * 3 * orders), rel=1e-6)


def test_positions_and_roles_are_each_others_inverse(task):
    assert task.roles == ("|", "letter", ":", "answer")
    for text in (*random_inputs(20), FULL):
        tokens, whole = inputs(text), f"B{text}E"
        bar = whole.index("|")
        wanted = ["B", *map(str, range(1, bar)), "|", "letter", ":", "answer", "E"]
        assert [task.role(tokens[0], t) for t in range(len(whole))] == wanted
        assert [task.position_of(tokens, role).item() for role in wanted] == list(range(len(whole)))
        assert bar > 27 or task.position_of(tokens, str(bar)).item() == -1
        assert task.eligible(tokens)[0].nonzero()[:, 0].tolist() == list(range(1, len(whole) - 1))
        assert task.answer_mask(tokens)[0].nonzero()[:, 0].tolist() == [bar + 3]
    for role in ("0", "28", "A1", "-1", "²", ""):
        with pytest.raises(UserError, match=r"counting has no position .* its positions are B, an index from 1 to 27"):
            task.position_of(tokens, role)
    with pytest.raises(UserError, match="position 21 is not in"):
        task.role(task.encode("abc|a:1"), 21)


def named_features(text: str, t: int) -> dict[str, str]:
    """Every feature of a typed input at one position of its tokens, from the string."""
    letters, question = text.split("|")
    asked, whole = question[0], f"B{text}E"
    others = list(dict.fromkeys(c for c in letters if c != asked))
    here = whole[t]
    return {
        "letter": asked,
        "count": str(letters.count(asked)),
        "other1": others[0],
        "other2": others[1],
        "count1": str(letters.count(others[0])),
        "count2": str(letters.count(others[1])),
        "others": str(sum(c != asked for c in letters)),
        "length": str(len(letters)),
        "first": letters[0],
        "last": letters[-1],
        "token": here,
        "position": str(t),
        "seen": str(letters[:t].count(here)) if here.islower() else "none",
    }


def test_features_are_what_the_string_says(task):
    texts = [*TEXTS, FULL, *random_inputs(200)]
    rng = random.Random(1)
    places = [rng.randrange(len(text) + 2) for text in texts]
    wanted = [named_features(text, t) for text, t in zip(texts, places, strict=True)]
    assert list(task.features) == list(wanted[0])
    for name, feature in task.features.items():
        codes = feature.compute(inputs(*texts), torch.tensor(places))
        assert [feature.values[code] for code in codes] == [one[name] for one in wanted], name
        assert feature.about


def test_the_split_is_by_letters_and_counts_alone(task):
    rng, held = random.Random(0), []
    for text in random_inputs(300, seed=1):
        letters = list(text.split("|")[0])
        others = []
        for _ in range(4):
            rng.shuffle(letters)
            asked = rng.choice(letters)
            others.append(f"{''.join(letters)}|{asked}:{letters.count(asked)}")
        sides = set(task.is_held_out(inputs(text, *others)).tolist())
        assert len(sides) == 1
        held.append(sides.pop())
    assert 0.25 - 4 * math.sqrt(0.25 * 0.75 / 300) < sum(held) / 300 < 0.25 + 4 * math.sqrt(0.25 * 0.75 / 300)


def test_a_quarter_is_held_out_and_each_side_is_drawn_from(task):
    share = task.is_held_out(drawn(task, 100_000)).float().mean().item()
    assert share == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 100_000) + 0.001)
    train, held = drawn(task, 3000, "train"), drawn(task, 3000, "held-out")
    assert not task.is_held_out(train).any()
    assert task.is_held_out(held).all()
    assert task.contains(torch.cat([train, held])).all()
    for side in (train, held):
        assert as_likely([text.split("|")[1][0] for text in strings(side)], 26)


def test_it_cannot_be_enumerated_and_says_what_can(task):
    assert task.size is None
    with pytest.raises(UserError, match="too many to enumerate; those that share an input's letters and counts"):
        task.enumerate()


def test_its_edits_are_known_by_the_protocols(task):
    assert isinstance(task, Editable)
    assert isinstance(task, Contrastable)
