from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inversionview.errors import UserError
from inversionview.expressions import NONE, compile_expression
from inversionview.tasks.addition.task import ANSWER, AdditionTask

DIGITS = tuple("0123456789")
NAMES = {
    "x": DIGITS,
    "y": (*DIGITS, "none"),
    "z": ("-3", "7", "none"),
    "c": ("no", "yes"),
    "d": ("yes", "none", "no"),
    "who": ("Ann", "Bob", "none"),
    "whom": ("Bob", "Ann", "none", "Cy"),
    "two words": ("no", "yes"),
    "x+y": DIGITS,
}


def rows(*features, library=np):
    """Every combination of the features' codes."""
    codes = np.array(list(itertools.product(*(range(len(NAMES[name])) for name in features))))
    arrays = {name: codes[:, i] for i, name in enumerate(features)}
    return {name: torch.from_numpy(array) if library is torch else array for name, array in arrays.items()}


def number(feature, code):
    value = NAMES[feature][code]
    return float("nan") if value == "none" else {"no": 0, "yes": 1}.get(value) if feature in "cd" else int(value)


@pytest.mark.parametrize("library", [np, torch])
@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("x + y == 9", lambda x, y: x + y == 9),
        ("x - y < 2 * x - 5", lambda x, y: x - y < 2 * x - 5),
        ("-x <= -y", lambda x, y: -x <= -y),
        ("y != 1 and (x + y != 9 or x * y != 8)", lambda x, y: y != 1 and (x + y != 9 or x * y != 8)),
        ("not (y < 3) and y != x", lambda x, y: not (y < 3) and y != x),
        ("2 < x <= y < 9", lambda x, y: 2 < x <= y < 9),
        ("(x + 3) // 4 == y % 3", lambda x, y: (x + 3) // 4 == y % 3),
        ("1 == 1 and not 1 > 2 and x == 3", lambda x, y: x == 3),
        ("x + y * 2 - -1 > 20", lambda x, y: x + y * 2 + 1 > 20),
        ("x in (1, 3) and x + y not in (4, 2 + 3)", lambda x, y: x in (1, 3) and x + y not in (4, 5)),
    ],
)
def test_conditions_are_what_python_says_with_none_as_nan(text, truth, library):
    expression = compile_expression(text, NAMES)
    codes = rows("x", "y", library=library)
    found = expression(codes)
    assert isinstance(found, torch.Tensor if library is torch else np.ndarray)
    assert expression.is_condition
    wanted = [truth(x, number("y", y)) for x, y in zip(codes["x"].tolist(), codes["y"].tolist(), strict=True)]
    assert found.tolist() == wanted


@pytest.mark.parametrize(("text", "python"), [("x // y", divmod), ("x % y", divmod)])
def test_division_is_pythons_and_there_is_no_number_where_the_divisor_is_0_or_none(text, python):
    for library in (np, torch):
        codes = rows("x", "y", library=library)
        found = compile_expression(text, NAMES)(codes).tolist()
        for x, y, value in zip(codes["x"].tolist(), codes["y"].tolist(), found, strict=True):
            assert value == (NONE if y in (0, 10) else python(x, y)["%" in text])


def test_a_division_by_zero_compares_false_and_differs():
    codes = {"x": np.array([0, 3])}
    assert compile_expression("6 // x == 6 // x", NAMES)(codes).tolist() == [False, True]
    assert compile_expression("6 // x != 5", NAMES)(codes).tolist() == [True, True]
    assert compile_expression("6 // (x - x) < 100", NAMES)(codes).tolist() == [False, False]


def test_negative_numbers_and_floors():
    codes = {"z": torch.tensor([0, 1, 2])}
    assert compile_expression("z // 2", NAMES)(codes).tolist() == [-2, 3, NONE]
    assert compile_expression("z % 2", NAMES)(codes).tolist() == [1, 1, NONE]


def test_small_unsigned_codes_do_not_wrap_around():
    codes = {"x": torch.tensor([9, 0], dtype=torch.uint8), "y": torch.tensor([8, 0], dtype=torch.uint8)}
    for given_codes in (codes, {name: array.numpy() for name, array in codes.items()}):
        assert compile_expression("x * y * 100 - 1", NAMES)(given_codes).tolist() == [7199, -1]
        assert compile_expression("x", NAMES)(given_codes).tolist() == [9, 0]


@pytest.mark.parametrize(
    ("text", "feature", "wanted"),
    [
        ('y == "none"', "y", [False] * 10 + [True]),
        ('y != "none"', "y", [True] * 10 + [False]),
        ("'7' == x", "x", [i == 7 for i in range(10)]),
        ('who == "Bob"', "who", [False, True, False]),
        ("c", "c", [0, 1]),
        ("y", "y", [*range(10), NONE]),
        ("d", "d", [1, NONE, 0]),
        ("(z)", "z", [-3, 7, NONE]),
        ("whom", "whom", [0, 1, 2, 3]),
        ("not c", "c", [True, False]),
        ("d or d", "d", [True, False, False]),
        ("d == 1", "d", [True, False, False]),
        ("d != 1", "d", [False, True, True]),
        ("c + 1", "c", [1, 2]),
        ('`two words` == "yes"', "two words", [False, True]),
        ("`x+y` == 4", "x+y", [i == 4 for i in range(10)]),
        ("c\n == \n1", "c", [False, True]),
        ("'Ann' != who != \"Bob\"", "who", [False, False, True]),
        ("who in ('Bob', 'none')", "who", [False, True, True]),
        ("who not in ('Bob',)", "who", [True, False, True]),
    ],
)
def test_values_by_name_and_names_in_backticks(text, feature, wanted):
    expression = compile_expression(text, NAMES)
    assert expression.features == (feature,)
    assert expression(rows(feature)).tolist() == wanted
    assert expression(rows(feature, library=torch)).tolist() == wanted


def test_features_that_are_no_numbers_compare_by_the_names_of_their_values():
    codes = rows("who", "whom")
    same = compile_expression("who == whom", NAMES)(codes)
    differs = compile_expression("who != whom", NAMES)(codes)
    for who, whom, found in zip(codes["who"], codes["whom"], same, strict=True):
        names = NAMES["who"][who], NAMES["whom"][whom]
        assert found == (names[0] == names[1] != "none")
    assert (differs == ~same).all()


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("A1 != 1 and (F1 + S1 != 9 or F2 + S2 != 9)",
         lambda t: t[ANSWER] != 1 and (t[1] + t[5] != 9 or t[2] + t[6] != 9)),
        ("F1 + S1 == 14", lambda t: t[1] + t[5] == 14),
        ("F1+S1 == 14", lambda t: t[1] + t[5] == 14),
        ("`F1+S1` == 14", lambda t: t[1] + t[5] == 14),
        ('C1 == "yes"', lambda t: t[12] != 13),
        ('`four digits` == "yes"', lambda t: t[12] != 13),
        ('A4 == "none"', lambda t: t[12] == 13),
        ("A4 > 4", lambda t: t[12] < 10 and t[12] > 4),
    ],
)  # fmt: skip
def test_conditions_on_sums(text, python):
    task = AdditionTask()
    tokens = task.sample(400, generator=torch.Generator().manual_seed(0))
    names = {name: feature.values for name, feature in task.features.items()}
    expression = compile_expression(text, names)
    where = torch.full((len(tokens),), 8)
    codes = {name: task.features[name].compute(tokens, where) for name in expression.features}
    found = expression(codes)
    assert found.dtype == torch.bool
    assert found.tolist() == [bool(python(row)) for row in tokens.tolist()]
    assert 0 < found.sum() < 400


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("G1 == 1", "no feature 'G1'"),
        ("`a b` == 1", "no feature 'a b'"),
        ("two words == 1", "feature two words in backticks"),
        ("x = 1", "does not parse"),
        ("", "does not parse"),
        ("x == `y", "does not parse"),
        ("x.real == 1", "x.real is not part"),
        ("__import__('os')", "is not part"),
        ("x[0] == 1", "is not part"),
        ("x ** 2 == 1", "is not part"),
        ("x / 2 == 1", "is not part"),
        ("x in 'ab'", "is not part"),
        ("x in 3", "is not part"),
        ("x in ()", "is not part"),
        ("x in (1, 2) in (3,)", "is not part"),
        ("who in ('Bob', 'Eve')", "who has no value 'Eve'"),
        ("x is 1", "is not part"),
        ("(x := 3) == 3", "is not part"),
        ("lambda: x", "is not part"),
        ("x if c else y", "is not part"),
        ("x == 1.5", "1.5 is not part"),
        ("x == True", "True is not part"),
        ("`two words` ** 2", "`two words` ** 2 is not part"),
        ("x, y", "is not part"),
        ("x == 1 # and y == 2", "#"),
        ("x == '\\x31'", "backslash"),
        ("x == \0", "does not parse"),
        ("1 == 1", "uses no feature"),
        ("'x'", "uses no feature"),
        ("x == '10'", "x has no value '10': its values are 0, 1"),
        ("x < '3'", "== or !="),
        ("who == 1", "who is not a number: its values are Ann, Bob, none"),
        ("who < whom", "who is not a number"),
        ("who == x", "who is not a number"),
        ("who + 1", "who is not a number"),
        ("'3' + x == 4", "text, where a number is needed"),
        ("x and c", "x is not a condition"),
        ("not x", "x is not a condition"),
        ("(x == 1) + 1", "x == 1 is a condition, where a number is needed"),
        ("(x == 1) == (y == 1)", "is a condition"),
        ("x * 10 ** 9", "is not part"),
        ("x * 999999999999 * 999999999999", "too large"),
        ("x + 99999999999999999999999", "too large"),
        ("-" * 200 + "x", "nested"),
        ("(" * 150 + "x" + ")" * 150 + " + " + "-" * 60 + "x", "nested"),
        ("(" * 400 + "x" + ")" * 400, "does not parse"),
        ("x == 1 or " * 200 + "c", "longer than 1000"),
    ],
)
def test_mistakes_are_told_in_one_line_with_the_features_there_are(text, wrong):
    with pytest.raises(UserError) as told:
        compile_expression(text, NAMES)
    message = str(told.value)
    assert wrong in message
    assert "\n" not in message
    assert len(message) < 800
    assert message.endswith("the features are x, y, z, c, d, who, whom, `two words`, `x+y`")


def test_what_it_uses_each_once_in_order():
    assert compile_expression("y > x and x == 3 and y == 4", NAMES).features == ("y", "x")


def test_a_name_that_looks_like_the_compilers_own_is_still_only_a_name():
    with pytest.raises(UserError, match="no feature '_0'"):
        compile_expression("`two words` == _0", NAMES)
    assert compile_expression("`_0` == 1", {"_0": DIGITS})({"_0": np.array([1, 2])}).tolist() == [True, False]


def test_a_backtick_in_a_string_is_a_character():
    names = {"f": ("a`b`c", "x")}
    assert compile_expression('f == "a`b`c"', names)({"f": np.array([0, 1])}).tolist() == [True, False]


leaves = st.sampled_from(["x", "y", "z", "c", "3", "0", "10"])
numbers = st.recursive(
    leaves,
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner).map(
        lambda t: f"({' '.join(t)})"
    ),
    max_leaves=5,
)
comparisons = st.tuples(numbers, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers).map(" ".join)
conditions = st.recursive(
    comparisons,
    lambda inner: st.tuples(inner, st.sampled_from(["and", "or", "and not", "or not"]), inner).map(
        lambda t: f"({' '.join(t)})"
    ),
    max_leaves=4,
)


class Missing:
    """A number that is not there, for Python's own evaluation."""

    def _gone(self, other=None):
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __floordiv__ = __rfloordiv__ = _gone
    __mod__ = __rmod__ = _gone
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = lambda self, other: False
    __ne__ = lambda self, other: True  # noqa: E731
    __hash__ = None


class Int(int):
    """A number whose quotient by 0 is not there."""

    def __floordiv__(self, other):
        return other if isinstance(other, Missing) else Int(int(self) // other) if other != 0 else Missing()

    def __mod__(self, other):
        return other if isinstance(other, Missing) else Int(int(self) % other) if other != 0 else Missing()

    def __add__(self, other):
        return other if isinstance(other, Missing) else Int(int(self) + int(other))

    def __sub__(self, other):
        return other if isinstance(other, Missing) else Int(int(self) - int(other))

    def __mul__(self, other):
        return other if isinstance(other, Missing) else Int(int(self) * int(other))


@settings(max_examples=80, deadline=None)
@given(conditions, st.integers(0, 9), st.integers(0, 10), st.integers(0, 2), st.integers(0, 1))
def test_any_condition_is_what_python_says(text, x, y, z, c):
    if not set(text) & set("xyzc"):
        return
    values = {"x": Int(x), "y": Missing() if y == 10 else Int(y), "z": (Int(-3), Int(7), Missing())[z], "c": Int(c)}
    literals = {"3": "Int(3)", "0": "Int(0)", "10": "Int(10)"}
    python = " ".join(literals.get(word, word) for word in text.replace("(", "( ").replace(")", " )").split())
    wanted = eval(python, {"Int": Int}, values)  # noqa: S307
    codes = {name: torch.tensor([code]) for name, code in (("x", x), ("y", y), ("z", z), ("c", c))}
    assert compile_expression(text, NAMES)(codes).tolist() == [wanted]


def test_the_language_needs_nothing_heavy_to_be_loaded():
    code = (
        "import sys; from inversionview.expressions import compile_expression; "
        "compile_expression('x == 1', {'x': ('0', '1')}); sys.exit(' '.join({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
