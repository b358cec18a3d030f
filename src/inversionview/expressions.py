"""A small safe language over a task's features: conditions such as `A1 != 1 and (F1 + S1 != 9 or F2 + S2 != 9)`.

What it has: features, integers, strings, `+ - * // %`, comparisons (chained ones too), `in` and `not in` a list such as
`("red", "blue")`, `and`, `or`, `not`, parentheses.

- A feature is written by its name, in backticks if that is no Python identifier: `` `four digits` == "yes" ``. Outside
  backticks `F1+S1` is F1 plus S1, whether or not a feature is called that.
- Compared with a string, a feature is its value's name: `C1 == "yes"`, `A4 == "none"`.
- Elsewhere it is the number that its value's name says ("7" is 7), and no and yes are 0 and 1.
- A feature whose values are no and yes may stand as a condition: `C1 and not C2`.
- Two features whose values are no numbers can be equal or not, by their values' names.
- Where a feature is "none", or something is divided by 0, there is no number, and comparisons go as with NaN: it equals
  nothing, so that `!=` holds and every other comparison does not.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from inversionview.errors import UserError

Array = Any
"""A NumPy array or a torch tensor, of any shape; nothing here needs to know which."""
Codes = Mapping[str, Array]

NONE = -(2**62) - 1
"""What an expression that gives numbers gives where there is none."""

_QUOTED = r"\"[^\"\n]*\"|'[^'\n]*'|`[^`]*`"
MAX_LENGTH = 1000
"""Characters of an expression."""
_MAX_DEPTH, _MAX_NUMBER = 50, 2**62
_ARITHMETIC: dict[type[ast.operator], Callable[[Array, Array], Array]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Array, Array], Array]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True)
class Expression:
    """A compiled expression: call it with the codes of its features, arrays of one shape, NumPy's or torch's."""

    text: str
    """As it was typed."""
    features: tuple[str, ...]
    """The features it uses, each once."""
    is_condition: bool
    """Whether it gives truth values; if not, it gives numbers, `NONE` where there is none (of one feature whose values
    are no numbers, its codes)."""
    _evaluate: Callable[[Codes], Array]

    def __call__(self, codes: Codes) -> Array:
        """Truth values, or integers of 64 bits, of the shape of the codes."""
        return self._evaluate(codes)


class _Numbers(NamedTuple):
    values: Array
    missing: Array


class _Condition(NamedTuple):
    evaluate: Callable[[Codes], Array]


class _Number(NamedTuple):
    evaluate: Callable[[Codes], _Numbers]
    size: int
    """No value is further from 0; arithmetic of 64 bits must not run over."""


class _Feature(NamedTuple):
    name: str
    values: tuple[str, ...]

    @property
    def is_yes_no(self) -> bool:
        return {"no", "yes"} >= set(self.values) - {"none"} != set()

    @property
    def numbers(self) -> list[int | None] | None:
        """The number that each value says, None for "none"; None as a whole if some value says no number."""
        if self.is_yes_no:
            return [{"no": 0, "yes": 1}.get(value) for value in self.values]
        if not all(value == "none" or re.fullmatch("-?[0-9]{1,9}", value) for value in self.values):
            return None
        return [None if value == "none" else int(value) for value in self.values]


_Node = _Condition | _Number | _Feature | str


def compile_expression(text: str, names: Mapping[str, tuple[str, ...]]) -> Expression:
    """Compile an expression over features, given each feature's value names in the order of its codes.

    Raises `UserError`, which names the features there are, for anything that is not of this language; nothing in `text`
    is ever run as Python.
    """
    return _Compiler(text, names).compile()


class _Compiler:
    """One expression on its way from text to a function; a class only because every error shows text and features."""

    def __init__(self, text: str, names: Mapping[str, tuple[str, ...]]) -> None:
        self.text, self.names = text, names
        self.quoted: dict[str, str] = {}
        self.used: dict[str, None] = {}

    def compile(self) -> Expression:
        node = self.build(self.parse(), 0)
        if not self.used:
            raise self.error("it uses no feature")
        assert not isinstance(node, str)  # a string alone uses no feature
        features = tuple(self.used)
        match node:
            case _Condition(evaluate):
                return Expression(self.text, features, True, evaluate)
            case _Feature(name, _):
                if (table := node.numbers) is None:
                    return Expression(self.text, features, False, lambda codes: _integers(codes[name]))
                looked_up = _looked_up(name, table).evaluate
                return Expression(self.text, features, False, lambda codes: _filled(looked_up(codes)))
            case _Number(numbers, _):
                return Expression(self.text, features, False, lambda codes: _filled(numbers(codes)))

    def error(self, what: str) -> UserError:
        there_are = ", ".join(name if name.isidentifier() else f"`{name}`" for name in self.names)
        shown = " ".join(self.text.split())
        shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
        return UserError(f"the expression {shown!r} cannot be used: {what}; the features are {there_are}")

    def parse(self) -> ast.expr:
        if len(self.text) > MAX_LENGTH:
            raise self.error(f"it is longer than {MAX_LENGTH} characters")
        if "\\" in self.text:
            raise self.error("it has a backslash")
        prefix = "_"
        while prefix in self.text:
            prefix += "_"

        def identifier(match: re.Match[str]) -> str:
            if not match[0].startswith("`"):
                return match[0]  # a string, in which a backtick is a character like any other
            self.quoted[f"{prefix}{len(self.quoted)}"] = match[0][1:-1]
            return list(self.quoted)[-1]

        if "#" in re.sub(_QUOTED, "", self.text):
            raise self.error("it has a # outside quotes")  # Python would take the rest for a comment
        source = re.sub(_QUOTED, identifier, self.text)
        try:
            return ast.parse(source.replace("\n", " ").strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            spaced = next((name for name in self.names if " " in name and name in source), None)
            hint = f"write the feature {spaced} in backticks" if spaced else "write it as in A1 != 1 and (F1 + S1) > 9"
            raise self.error(f"it does not parse ({getattr(error, 'msg', error)}); {hint}") from error

    def build(self, node: ast.expr, depth: int) -> _Node:
        if depth > _MAX_DEPTH:
            raise self.error(f"it is nested more than {_MAX_DEPTH} deep")
        below = depth + 1
        match node:
            case ast.Name(id=name):
                return self.feature(self.quoted.get(name, name))
            case ast.Constant(value=str() as value):
                return value
            case ast.Constant(value=int() as value) if not isinstance(value, bool):
                return self.constant(value)
            case ast.BoolOp(op=op, values=values):
                return self.all_or_any(isinstance(op, ast.And), [self.condition(value, below) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                holds = self.condition(operand, below)
                return _Condition(lambda codes: ~holds(codes))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.arithmetic(ast.Sub, self.constant(0), self.number(operand, below))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self.arithmetic(type(op), self.number(left, below), self.number(right, below))
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[ast.Tuple(elts=[_, *_])]):
                return self.one_of(node, below)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
                nodes = [left, *others]
                built = [self.build(part, below) for part in nodes]
                pairs = zip(ops, zip(nodes, built, strict=True), zip(nodes[1:], built[1:], strict=True), strict=False)
                return self.all_or_any(True, [self.comparison(type(op), a, b) for op, a, b in pairs])
        raise self.error(
            f"{self.shown(node)} is not part of the language, which has features, integers, strings, + - * // %, "
            "comparisons, in (..., ...), and, or, not"
        )

    def one_of(self, node: ast.Compare, depth: int) -> _Condition:
        [op], [values] = node.ops, node.comparators
        assert isinstance(values, ast.Tuple)
        equal = [ast.Compare(node.left, [ast.Eq()], [value]) for value in values.elts]
        inside = self.all_or_any(False, [self.condition(pair, depth) for pair in equal])
        return inside if isinstance(op, ast.In) else _Condition(lambda codes: ~inside.evaluate(codes))

    def feature(self, name: str) -> _Feature:
        if name not in self.names:
            raise self.error(f"there is no feature {name!r}")
        self.used[name] = None
        return _Feature(name, tuple(self.names[name]))

    def constant(self, value: int) -> _Number:
        def evaluate(codes: Codes) -> _Numbers:
            zero = 0 * _integers(codes[next(iter(self.used))])
            return _Numbers(zero + value, zero != 0)

        return _Number(evaluate, self.checked_size(abs(value)))

    def checked_size(self, size: int) -> int:
        if size > _MAX_NUMBER:
            raise self.error("its numbers get too large")
        return size

    def condition(self, node: ast.expr, depth: int) -> Callable[[Codes], Array]:
        built = self.build(node, depth)
        match built:
            case _Condition(evaluate):
                return evaluate
            case _Feature(name, values) if built.is_yes_no:
                yes = values.index("yes") if "yes" in values else NONE
                return lambda codes: _integers(codes[name]) == yes
        raise self.error(f"{self.shown(node)} is not a condition: compare it with something")

    def number(self, node: ast.expr, depth: int) -> _Number:
        return self.as_number(node, self.build(node, depth))

    def as_number(self, node: ast.expr, built: _Node) -> _Number:
        match built:
            case _Number():
                return built
            case _Feature(name, values):
                numbers = built.numbers
                if numbers is None:
                    raise self.error(
                        f"{name} is not a number: its values are {_listed(values)}, to be compared as in "
                        f'{self.shown(node)} == "{values[0]}"'
                    )
                return _looked_up(name, numbers)
        kind = "text" if isinstance(built, str) else "a condition"
        raise self.error(f"{self.shown(node)} is {kind}, where a number is needed")

    def arithmetic(self, op: type[ast.operator], a: _Number, b: _Number) -> _Number:
        divides, compute = op in (ast.FloorDiv, ast.Mod), _ARITHMETIC[op]
        size = {ast.Mult: a.size * b.size, ast.FloorDiv: a.size, ast.Mod: b.size}.get(op, a.size + b.size)

        def evaluate(codes: Codes) -> _Numbers:
            (left, no_left), (right, no_right) = a.evaluate(codes), b.evaluate(codes)
            missing = no_left | no_right
            if divides:
                missing, right = missing | (right == 0), right + (right == 0)
            return _Numbers(compute(left, right), missing)

        return _Number(evaluate, self.checked_size(size))

    def comparison(
        self, op: type[ast.cmpop], a: tuple[ast.expr, _Node], b: tuple[ast.expr, _Node]
    ) -> Callable[[Codes], Array]:
        equality = op in (ast.Eq, ast.NotEq)
        match a[1], b[1]:
            case (_Feature() as feature, str() as value) | (str() as value, _Feature() as feature):
                if not equality:
                    raise self.error(f"{feature.name} and a string can only be == or !=")
                return self.has_value(feature, value, op is ast.Eq)
            case (_Feature(numbers=None) as first, _Feature(numbers=None) as second) if equality:
                ids = {value: i for i, value in enumerate(dict.fromkeys(first.values + second.values))}
                tables = ([None if v == "none" else ids[v] for v in f.values] for f in (first, second))
                left, right = (_looked_up(f.name, table) for f, table in zip((first, second), tables, strict=True))
            case _:
                left, right = self.as_number(*a), self.as_number(*b)
        return _compared(_COMPARISONS[op], left, right, op is ast.NotEq)

    def has_value(self, feature: _Feature, value: str, wanted: bool) -> Callable[[Codes], Array]:
        if value not in feature.values:
            raise self.error(f"{feature.name} has no value {value!r}: its values are {_listed(feature.values)}")
        code = feature.values.index(value)
        return lambda codes: (_integers(codes[feature.name]) == code) == wanted

    @staticmethod
    def all_or_any(every: bool, conditions: list[Callable[[Codes], Array]]) -> _Condition:
        def evaluate(codes: Codes) -> Array:
            first, *rest = (holds(codes) for holds in conditions)
            for other in rest:
                first = first & other if every else first | other
            return first

        return _Condition(evaluate)

    def shown(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        for identifier, name in self.quoted.items():
            text = text.replace(identifier, f"`{name}`")
        return text


def _compared(compare: Callable[[Array, Array], Array], a: _Number, b: _Number, differs: bool) -> Callable[..., Array]:
    def evaluate(codes: Codes) -> Array:
        (left, no_left), (right, no_right) = a.evaluate(codes), b.evaluate(codes)
        missing = no_left | no_right
        return compare(left, right) | missing if differs else compare(left, right) & ~missing

    return evaluate


def _looked_up(name: str, numbers: list[int | None]) -> _Number:
    table = [NONE if number is None else number for number in numbers]

    def evaluate(codes: Codes) -> _Numbers:
        values = _table(codes[name], table)[_integers(codes[name])]
        missing = values == NONE
        return _Numbers(values * ~missing, missing)

    return _Number(evaluate, max((abs(number) for number in numbers if number is not None), default=0))


def _filled(numbers: _Numbers) -> Array:
    return numbers.values * ~numbers.missing + numbers.missing * NONE


def _integers(codes: Array) -> Array:
    if hasattr(codes, "new_tensor"):
        return codes.long()  # torch takes small unsigned codes for a mask when they index
    import numpy as np

    return np.asarray(codes, dtype=np.int64)


def _table(codes: Array, values: list[int]) -> Array:
    if hasattr(codes, "new_tensor"):
        return _integers(codes).new_tensor(values)
    import numpy as np

    return np.array(values, dtype=np.int64)


def _listed(values: tuple[str, ...]) -> str:
    shown = ", ".join(values[:20])
    return shown + (f", ... ({len(values)} in all)" if len(values) > 20 else "")
