from __future__ import annotations

import pytest
import torch

from inversionview.causal.contrast import Pairs, make_pairs
from inversionview.errors import UserError
from inversionview.tasks.addition.task import END
from tests.causal.tiny import addition, counting

SYMBOLS = "0123456789B+=E_"


def text(row) -> str:
    return "".join(SYMBOLS[token] for token in row.tolist()).rstrip("_")


def pairs(n=300, target="A1", contrast="change:F1,S1", task=None, **settings) -> Pairs:
    return make_pairs(task or addition(), n, target=target, contrast=contrast, **settings)


def test_changed_digits_are_the_named_ones_and_the_answer_is_redone():
    made = pairs()
    assert len(made) == 300
    assert addition().contains(made.clean).all()
    assert addition().is_held_out(made.clean).all()
    leading = 0
    for clean, contrast in zip(map(text, made.clean), map(text, made.contrast), strict=True):
        assert clean[2:5] == contrast[2:5]  # F2 F3 +
        assert clean[6:9] == contrast[6:9]  # S2 S3 =
        a, b = contrast[1:4], contrast[5:8]
        assert contrast == f"B{a}+{b}={int(a) + int(b):03d}E"
        assert clean[9] != contrast[9]
        leading += a[0] == "0"
    assert leading > 0


def test_drawn_digits_are_uniform_and_may_be_the_old_ones():
    clean = addition().sample(4000, generator=torch.Generator().manual_seed(1))
    drawn = addition().change(clean, ("F1", "S3", "F1"), torch.Generator().manual_seed(0))
    for position in (1, 7):
        digits = torch.bincount(drawn[:, position], minlength=10)
        assert digits.min() > 300
        assert digits.max() < 500
    assert (drawn == clean).all(dim=1).any()
    assert not torch.equal(drawn[:, 1], drawn[:, 7])


def test_the_same_seed_gives_the_same_pairs_and_another_others():
    one, again, other = pairs(seed=3), pairs(seed=3), pairs(seed=4)
    for name in ("clean", "contrast", "clean_target", "contrast_target"):
        assert torch.equal(getattr(one, name), getattr(again, name))
    assert not torch.equal(one.clean, other.clean)


def test_what_the_contrast_is_does_not_change_the_clean_inputs():
    assert torch.equal(pairs().clean, pairs(contrast="random").clean)


def test_conditions_hold_on_their_side_and_what_they_leave_out_is_counted():
    made = pairs(400, where="A1 != 1", contrast_where="F1 == 0 and A1 != 1")
    assert (made.clean[:, 9] != 1).all()
    assert (made.contrast[:, 1] == 0).all()  # outside the domain
    assert (made.contrast[:, 9] != 1).all()
    assert set(made.left_out) == {"where", "contrast", "position"}
    assert len(made) + sum(made.left_out.values()) == 400
    assert made.left_out["where"] > 100


def test_an_input_that_finds_no_contrast_in_its_tries_is_left_out():
    made = pairs(200, contrast_where="F1 == 0", tries=1)
    assert made.left_out["contrast"] > 100
    assert len(made) == 200 - made.left_out["contrast"]
    assert len(pairs(200, contrast_where="F1 == 0")) == 200


def test_where_an_answer_has_no_fourth_digit_the_end_token_is_the_target():
    by_role, by_index = (pairs(target=target, contrast="random") for target in ("A4", "12"))
    short = by_role.clean[:, 12] == END
    assert 0 < short.sum() < len(short)
    assert (by_role.clean_target == 12).all()
    assert (by_role.answer[short] == END).all()
    assert torch.equal(by_role.clean, by_index.clean)
    assert torch.equal(by_role.contrast, by_index.contrast)
    assert torch.equal(pairs(target=12, contrast="random").contrast, by_index.contrast)


def test_a_random_contrast_is_another_held_out_input():
    made = pairs(contrast="random", target="A2")
    assert addition().contains(made.contrast).all()
    assert addition().is_held_out(made.contrast).all()
    assert (made.clean[:, 10] != made.contrast[:, 10]).all()


def test_roles_may_lie_elsewhere_in_the_two_runs():
    made = pairs(100, task=counting(), contrast="random", target="answer")
    here, there = made.places("letter")
    assert (here != there).any()
    rows = torch.arange(len(made))
    assert (made.clean[rows, here - 1] == 35).all()
    assert (made.contrast[rows, there - 1] == 35).all()
    assert torch.equal(made.answer, made.clean[rows, here + 2])
    assert torch.equal(made.contrast_answer, made.contrast[rows, there + 2])
    assert (made.places(3).contrast == 3).all()


def test_a_flip_changes_one_letter_and_the_count():
    made = pairs(100, task=counting(), contrast="flip", target="answer")
    assert len(made) > 90
    assert ((made.clean != made.contrast).sum(dim=1) == 2).all()
    assert ((made.answer - made.contrast_answer).abs() == 1).all()


def test_another_letter_can_be_asked_for():
    made = pairs(100, task=counting(), contrast="change:letter", target="answer")
    bar = made.places("|").clean
    for clean, contrast, at in zip(made.clean, made.contrast, bar.tolist(), strict=True):
        assert torch.equal(clean[: at + 1], contrast[: at + 1])
        assert clean[at + 1] != contrast[at + 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contrast": "change:F9"}, "addition cannot change 'F9': the digits that can be changed are F1, F2, F3, S1"),
        ({"contrast": "change:A1"}, "addition cannot change 'A1'"),
        ({"contrast": "change:"}, "change needs the positions"),
        ({"contrast": "change"}, "there is no contrast 'change': use change:F1,S1"),
        ({"contrast": "swap"}, "there is no contrast 'swap'"),
        ({"contrast": "flip"}, "addition has no flip"),
        ({"target": "A9"}, "addition has no position 'A9'"),
        ({"target": "B"}, "the target cannot be the begin token"),
        ({"target": 0}, "the target cannot be the begin token"),
        ({"target": 14}, "position 14 is not in the clean inputs: their positions are 0 to 13"),
        ({"target": -1}, "position -1 is not in the clean inputs"),
        ({"target": 13}, "position 13 is padding in .* clean inputs"),
        ({"target": "F2"}, "none of 100 change:F1,S1 contrast inputs .* has another token at the target F2"),
        ({"where": "F1 == 0"}, "none of the 40 clean inputs drawn meets 'F1 == 0'"),
        ({"contrast_where": "F2 == 3 and F2 == 4"}, "none of 100 .* meets 'F2 == 3 and F2 == 4'"),
        ({"where": "A1 == 1", "contrast_where": "A1 == 1"}, "none of 100 .* both meets 'A1 == 1' and has another"),
        ({"where": "F1"}, "'F1' is not a condition"),
        ({"where": "X1 == 2"}, "X1"),
        ({"n": 0}, "the number of pairs must be at least 1"),
        ({"tries": 0}, "the number of tries must be at least 1"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        pairs(**({"n": 40} | settings))
    assert "\n" not in str(caught.value)


def own_pairs(**changes) -> Pairs:
    made = pairs(4)
    parts = {name: getattr(made, name) for name in ("clean", "contrast", "clean_target", "contrast_target")}
    return Pairs(addition(), **(parts | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrast": pairs(4).clean}, "the target token is the same in the clean and the contrast input of 4 of 4"),
        ({"contrast": pairs(4).contrast[:, :12]}, "padded to the same length, not"),
        ({"clean_target": torch.tensor([9, 9, 9])}, "the clean target must be a position for each of the 4 inputs"),
        ({"clean_target": torch.tensor([9, 9, 0, 9])}, "position 0 cannot be the clean target"),
        ({"contrast_target": torch.tensor([9, 9, 14, 9])}, "position 14 cannot be the contrast target"),
        ({"contrast_target": torch.full((4,), 13)}, "the target is padding in . of 4 contrast inputs"),
    ],
)
def test_pairs_of_ones_own_are_checked(changes, message):
    assert len(own_pairs()) == 4
    with pytest.raises(UserError, match=message):
        own_pairs(**changes)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("Q", "addition has no position 'Q'"),
        (14, "position 14 is not in the clean inputs"),
        (13, "position 13 is padding in .* of 300 clean inputs"),
    ],
)
def test_positions_that_are_not_there_are_refused(at, message):
    with pytest.raises(UserError, match=message):
        pairs().places(at)
