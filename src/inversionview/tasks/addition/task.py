"""Three-digit addition: all 810,000 sums `615+861=1476` of two numbers from 100 to 999.

One token a character. Source: InversionView (arXiv 2405.17653), section 5 and appendix on 3-digit addition.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache, cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from inversionview.errors import UserError
from inversionview.shapes import InputMask, NextTokens, OneInput, PositionMask, Positions, Tokens
from inversionview.tasks.base import Feature, Split, Start, Task
from inversionview.tasks.positions import between_begin_and_end
from inversionview.tasks.vocabulary import Characters

SYMBOLS = "0123456789B+=E"
BEGIN, PLUS, EQUALS, END, PAD = 10, 11, 12, 13, 14
FIRST, COUNT = 100, 900
TRAIN_SHARE = 0.75

F1, F2, F3, S1, S2, S3 = 1, 2, 3, 5, 6, 7
OPERANDS = (F1, F2, F3, S1, S2, S3)
ANSWER = 9
"""Position of A1, the first answer digit; A2, A3, A4 follow it."""
_NUMBER = (range(1, 10), range(10), range(10))
_BEFORE_ANSWER = ((BEGIN,), *_NUMBER, (PLUS,), *_NUMBER, (EQUALS,))
"""What can stand at each position before the answer."""


class AdditionTask(Task):
    """Uniform over `a+b=c` with a and b from 100 to 999; the paper's named positions F1 F2 F3 + S1 S2 S3 = A1 A2 A3 A4.

    The split is the paper's: all pairs in row-major order, shuffled by `random.Random(0)`, the first 75% for training.
    """

    name = "addition"
    about = "Sums of two numbers from 100 to 999: which digits and carries does each activation hold?"
    vocabulary = Characters(SYMBOLS, begin="B", end="E")
    max_length = 14
    size = COUNT * COUNT
    roles = ("F1", "F2", "F3", "+", "S1", "S2", "S3", "=", "A1", "A2", "A3", "A4")
    start = Start("615+861=1476", (("a0.2", "="), ("a0.3", "="), ("x0.post", "=")))

    def encode(self, text: str) -> OneInput:
        """Tokens [pos] of a sum such as `615+861=1476`. Raises `UserError` where it is not a correct sum."""
        typed = text.strip()
        for index, char in enumerate(typed):
            if char not in "0123456789+=":
                raise UserError(
                    f"{typed!r} does not tokenise: {char!r} at character {index} is not a digit, '+' or '='; "
                    f"an input looks like {self.start.input}"
                )
        left, plus, rest = typed.partition("+")
        right, equals, answer = rest.partition("=")
        if not (plus and equals and "+" not in answer + right and "=" not in answer):
            raise UserError(
                f"{typed!r} is not an input of addition: one '+' and then one '=', as in {self.start.input}"
            )
        for name, number in (("first", left), ("second", right)):
            if len(number) != 3 or number[0] == "0":
                raise UserError(
                    f"{typed!r} is not an input of addition: its {name} number is {number!r}, not one from 100 to 999"
                )
        total = int(left) + int(right)
        if answer != str(total):
            raise UserError(
                f"{typed!r} is not an input of addition: {left}+{right} is {total}, not {answer!r}",
                instead=f"{left}+{right}={total}",
            )
        return torch.tensor([BEGIN, *(SYMBOLS.index(c) for c in typed), END])

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` sums [n, 14] uniformly, with replacement."""
        if split == "all":
            return self._from_index(torch.randint(self.size, (n,), generator=generator))
        pool = _side(split == "held-out")
        return self._from_index(pool[torch.randint(len(pool), (n,), generator=generator)])

    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows are a begin token, a correct sum, an end token and padding, and nothing else."""
        if tokens.shape[1] < self.max_length - 1:
            return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        rows = tokens[:, : self.max_length]
        if rows.shape[1] < self.max_length:
            rows = torch.cat([rows, torch.full_like(rows[:, :1], PAD)], dim=1)
        a, b = self._number(rows, F1), self._number(rows, S1)
        readable = (a >= FIRST) & (a < FIRST + COUNT) & (b >= FIRST) & (b < FIRST + COUNT)
        right = self._from_numbers(a.clamp(FIRST, FIRST + COUNT - 1), b.clamp(FIRST, FIRST + COUNT - 1))
        rest = tokens[:, self.max_length :]
        return readable & (rows == right).all(dim=1) & (rest == PAD).all(dim=1)

    def next_tokens(self, tokens: Tokens, start: int = 0) -> NextTokens:
        """Tokens [batch, pos, 15] with which the beginning up to each position can go on; see `Constrained`.

        After `=` that is the right sum, and nothing else.
        """
        width = min(tokens.shape[1], self.max_length)
        rows = F.pad(tokens[:, :width], (0, self.max_length - width), value=PAD)
        a, b = (self._number(rows, first).clamp(FIRST, FIRST + COUNT - 1) for first in (F1, S1))
        answers = self._from_numbers(a, b)[:, ANSWER:]
        before, place = _before_answer().to(tokens.device), torch.arange(ANSWER, device=tokens.device)
        right = torch.cat([before[place, rows[:, :ANSWER]], answers == rows[:, ANSWER:]], dim=1)
        beginning = right.cumprod(dim=1).bool() & (rows != END)
        symbol = torch.arange(self.vocab_size, device=tokens.device)
        possible = torch.ones(*tokens[:, start:].shape, self.vocab_size, dtype=torch.bool, device=tokens.device)
        for position in range(start, min(width, self.max_length - 1)):
            of_answer = position + 1 - ANSWER
            can_follow = before[position + 1] if of_answer < 0 else answers[:, of_answer, None] == symbol
            possible[:, position - start] = can_follow | ~beginning[:, position, None]
        return possible

    def enumerate(self, block: int = 65536) -> Iterator[Tokens]:
        """All 810,000 sums, by the first number, then the second."""
        for start in range(0, self.size, block):
            yield self._from_index(torch.arange(start, min(start + block, self.size)))

    def role(self, tokens: OneInput, position: int) -> str:
        """F1 ... A4, `B` or `E`. Raises `UserError` for a position that the input does not have."""
        length = len(self.token_strings(tokens))
        if not 0 <= position < length:
            raise UserError(f"position {position} is not in {self.decode(tokens)}: positions are 0 to {length - 1}")
        if position == 0:
            return "B"
        return "E" if position == length - 1 else self.roles[position - 1]

    def position_of(self, tokens: Tokens, role: str) -> Positions:
        """Index of a role; A4 is -1 in sums under 1000. Raises `UserError` for a role that addition does not have."""
        if role == "B":
            return torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
        if role == "E":
            return (tokens == END).long().argmax(dim=1)
        if role not in self.roles:
            raise UserError(f"addition has no position {role!r}; its positions are B {' '.join(self.roles)} E")
        index = self.roles.index(role) + 1
        position = torch.full((len(tokens),), index, device=tokens.device)
        return torch.where(tokens[:, index] == END, -1, position) if role == "A4" else position

    def is_held_out(self, tokens: Tokens) -> InputMask:
        """Which sums are among the 25% that neither probed model nor decoder was trained on."""
        a, b = self._number(tokens, F1), self._number(tokens, S1)
        return _held_out_mask().to(tokens.device)[(a - FIRST) * COUNT + (b - FIRST)]

    def edit(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """Change one digit of a number, or swap a digit of the first with one of the second; the answer follows.

        A swap that would put a 0 in front of a number changes nothing.
        """
        digits = tokens[:, OPERANDS]
        swaps = torch.rand(len(tokens), generator=generator) < 0.5
        edited = torch.where(swaps[:, None], _swapped(digits, generator), _redrawn(digits, generator))
        leading = (edited[:, [0, 3]] == 0).any(dim=1)
        edited = torch.where(leading[:, None], digits, edited)
        a, b = (edited.view(-1, 2, 3) * torch.tensor([100, 10, 1])).sum(dim=2).unbind(1)
        return self._from_numbers(a, b)

    def change(self, tokens: Tokens, roles: tuple[str, ...], generator: torch.Generator) -> Tokens:
        """Draw the digits at `roles` anew from 0 to 9, and redo the answer, with at least three digits.

        A number may come to begin with a 0, which leads out of the domain. Raises `UserError` for a role that is not a
        digit of a number.
        """
        digits = [role for role in self.roles if self.roles.index(role) + 1 in OPERANDS]
        wrong = [role for role in roles if role not in digits]
        if wrong or not roles:
            what = repr(wrong[0]) if wrong else "nothing"
            raise UserError(f"addition cannot change {what}: the digits that can be changed are {', '.join(digits)}")
        changed = tokens.clone()
        for role in sorted(set(roles)):
            changed[:, self.roles.index(role) + 1] = torch.randint(10, (len(tokens),), generator=generator)
        return self._from_numbers(self._number(changed, F1), self._number(changed, S1))

    def answer_mask(self, tokens: Tokens) -> PositionMask:
        """The answer digits and the end token."""
        mask = between_begin_and_end(tokens, END) | (tokens == END)
        mask[:, :ANSWER] = False
        return mask

    @cached_property
    def features(self) -> dict[str, Feature]:
        """Digits, carries, digit sums and answer digits, by name."""
        digits, sums, no_or_yes = tuple("0123456789"), tuple(str(s) for s in range(19)), ("no", "yes")
        columns = ("hundreds", "tens", "units")
        pairs = enumerate(((F1, S1), (F2, S2), (F3, S3)), start=1)
        features = [
            *(
                _token_feature(f"{number}{i}", digits, f"{column} digit of the {which} number")
                for number, which in (("F", "first"), ("S", "second"))
                for i, column in enumerate(columns, start=1)
            ),
            *(
                feature
                for i, pair in pairs
                for feature in (
                    Feature(f"F{i}+S{i}", sums, _digit_sum(*pair), f"sum of the {columns[i - 1]} digits"),
                    Feature(f"C{i}", no_or_yes, _carry(i), f"carry out of the {columns[i - 1]}"),
                )
            ),
            *(
                _token_feature(role, (*digits, "none"), f"{place} digit of the answer")
                for role, place in zip(self.roles[-4:], ("first", "second", "third", "fourth"), strict=True)
            ),
            Feature("four digits", no_or_yes, _carry(1), "whether the answer has four digits"),
        ]
        return {feature.name: feature for feature in features}

    def _from_index(self, index: Positions) -> Tokens:
        return self._from_numbers(index // COUNT + FIRST, index % COUNT + FIRST)

    def _from_numbers(self, a: Positions, b: Positions) -> Tokens:
        numbers, answers = _numbers().to(a.device), _answers().to(a.device)
        tokens = torch.empty(len(a), self.max_length, dtype=torch.long, device=a.device)
        tokens[:, 0], tokens[:, 4], tokens[:, 8] = BEGIN, PLUS, EQUALS
        tokens[:, F1 : F1 + 3], tokens[:, S1 : S1 + 3], tokens[:, ANSWER:] = numbers[a], numbers[b], answers[a + b]
        return tokens

    @staticmethod
    def _number(tokens: Tokens, start: int) -> Positions:
        digits = tokens[:, start : start + 3]
        number = (digits * torch.tensor([100, 10, 1], device=tokens.device)).sum(dim=1)
        return torch.where((digits <= 9).all(dim=1), number, -1)


@cache
def _numbers() -> Tokens:
    """The three digits of each number below 1,000."""
    return _digits(torch.arange(1000), 3)


@cache
def _answers() -> Tokens:
    """The digits of each sum of two such numbers, three or four of them, the end and padding."""
    totals = torch.arange(2 * 999 + 1)
    ends, pads = torch.full((len(totals), 1), END), torch.full((len(totals), 1), PAD)
    three, four = torch.cat([_digits(totals, 3), ends, pads], dim=1), torch.cat([_digits(totals, 4), ends], dim=1)
    return torch.where((totals >= 1000)[:, None], four, three)


@cache
def _held_out_mask() -> InputMask:
    """Which sums, in the order of `enumerate`, are held out; shuffling takes half a second, so it is done once."""
    order = list(range(AdditionTask.size))
    random.Random(0).shuffle(order)
    mask = torch.zeros(AdditionTask.size, dtype=torch.bool)
    mask[torch.tensor(order[int(TRAIN_SHARE * AdditionTask.size) :])] = True
    return mask


@cache
def _before_answer() -> Bool[Tensor, "pos vocab"]:
    """Which tokens can stand at each position before the answer."""
    mask = torch.zeros(ANSWER, len(SYMBOLS) + 1, dtype=torch.bool)
    for position, tokens in enumerate(_BEFORE_ANSWER):
        mask[position, list(tokens)] = True
    return mask


@cache
def _side(held_out: bool) -> Positions:
    """Indices of the sums on one side of the split."""
    return (_held_out_mask() == held_out).nonzero()[:, 0]


def _digits(numbers: Positions, count: int) -> Tokens:
    powers = torch.tensor([10**k for k in reversed(range(count))], device=numbers.device)
    return numbers[:, None] // powers % 10


def _redrawn(digits: Tokens, generator: torch.Generator) -> Tokens:
    """The operands' digits [batch, 6] with one of them another one; the first of a number is not made 0."""
    place = torch.randint(6, (len(digits), 1), generator=generator)
    lowest = (place % 3 == 0).long()
    others = 9 - lowest  # digits that it could be instead
    up = 1 + (torch.rand(len(digits), 1, generator=generator) * others).long()
    old = digits.gather(1, place)
    return digits.scatter(1, place, lowest + (old - lowest + up) % (others + 1))


def _swapped(digits: Tokens, generator: torch.Generator) -> Tokens:
    """The operands' digits [batch, 6] with one of the first number and one of the second in each other's place."""
    pair = torch.randint(3, (len(digits), 2), generator=generator) + torch.tensor([0, 3])
    return digits.scatter(1, pair, digits.gather(1, pair).flip(1))


def _token_feature(role: str, values: tuple[str, ...], about: str) -> Feature:
    index = AdditionTask.roles.index(role) + 1
    return Feature(role, values, lambda tokens, positions: tokens[:, index].clamp(max=10), about)


def _digit_sum(first: int, second: int) -> Callable[[Tokens, Positions], Positions]:
    return lambda tokens, positions: tokens[:, first] + tokens[:, second]


def _carry(column: int) -> Callable[[Tokens, Positions], Positions]:
    """Does column `column` (1 is the hundreds) carry, counting what comes in from the columns to its right."""

    def compute(tokens: Tokens, positions: Positions) -> Positions:
        carry = torch.zeros_like(tokens[:, 0])
        for first, second in reversed(((F1, S1), (F2, S2), (F3, S3))[column - 1 :]):
            carry = (tokens[:, first] + tokens[:, second] + carry >= 10).long()
        return carry

    return compute
