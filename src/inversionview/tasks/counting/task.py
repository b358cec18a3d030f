"""Character counting: `vvzccvczvvvzvcvc|v:8`, three letters in random order, and how often one of them occurs.

One token a character. Source: InversionView (arXiv 2405.17653), section 3 and appendix on character counting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch

from inversionview.errors import UserError
from inversionview.shapes import InputMask, OneInput, PerInput, PositionMask, Positions, Tokens
from inversionview.tasks.base import Feature, Split, Start, Task
from inversionview.tasks.counting.edits import drawn_kind, flipped, longer_or_shorter, renamed, swapped
from inversionview.tasks.counting.given import CONDITIONS, TRIPLES, draw_given, log_mass, shares
from inversionview.tasks.counting.orders import RESTRICTIONS, CountingOrders
from inversionview.tasks.counting.rows import (
    BAR,
    BEGIN,
    COLON,
    END,
    KINDS,
    LETTERS,
    LONGEST,
    MOST,
    ONE,
    PAD,
    SYMBOLS,
    WIDTH,
    Multisets,
    Sequences,
    asked_at_random,
    asked_letter,
    assemble,
    count_of,
    input_counts,
    length_of,
    letter_counts,
    multisets,
    next_tokens,
    others,
    seen,
    sequence_counts,
    sequences_of,
    shuffled,
)
from inversionview.tasks.vocabulary import Characters

TRAIN_SHARE = 0.75

AFTER_BAR = {"|": 0, "letter": 1, ":": 2, "answer": 3}
"""Where the named positions lie, counted from the bar."""
_LOG_FACTORIAL = torch.lgamma(torch.arange(1, LONGEST + 2, dtype=torch.float64))


class CountingTask(Task):
    """Three different letters, each 1 to 9 times, in random order; then `|`, one of the three, `:` and its count.

    The prior: three letters, their counts, their order and the letter that is asked for, each uniform and by itself.
    The split is by which letters there are and how often each, so that no held-out sequence is a training sequence in
    another order; 75% of these are for training. Positions before the bar are called by their index.
    """

    name = "counting"
    about = "How often does a letter occur in a text? What does the model keep of the letters on its way there?"
    vocabulary = Characters(SYMBOLS + "BE", begin="B", end="E")
    max_length = WIDTH
    roles = ("|", "letter", ":", "answer")
    columns = ("count",)
    start = Start("vvzccvczvvvzvcvc|v:8", (("m1", ":"), ("a1.0", ":"), ("x0.post", "letter")))

    def encode(self, text: str) -> OneInput:
        """Tokens [pos] of an input such as `aabac|a:3`. Raises `UserError` where it is not in the domain."""
        typed = text.strip()
        for index, char in enumerate(typed):
            if char not in SYMBOLS:
                raise UserError(
                    f"{typed!r} does not tokenise: {char!r} at character {index} is not a letter a to z, a digit 1 to "
                    f"9, '|' or ':'; an input looks like {self.start.input}"
                )
        letters, bar, question = typed.partition("|")
        problem = _problem(letters, bar, question)
        if problem:
            raise UserError(f"{typed!r} is not an input of counting: {problem}")
        return torch.tensor([BEGIN, *(SYMBOLS.index(char) for char in typed), END])

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` inputs [n, 33] from the prior, with replacement."""
        kept: list[Tokens] = []
        share = {"all": 1.0, "train": TRAIN_SHARE, "held-out": 1 - TRAIN_SHARE}[split]
        missing = n
        while missing > 0:
            drawn = _draw_multisets(int(missing / share * 1.1) + 8, generator)
            if split != "all":
                drawn = drawn.where(_is_held_out(drawn) == (split == "held-out"))
            drawn = drawn.first(missing)
            kept.append(assemble(shuffled(drawn, generator), *asked_at_random(drawn, generator)))
            missing -= len(drawn.counts)
        return torch.cat(kept) if kept else torch.empty(0, self.max_length, dtype=torch.long)

    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows are a begin token, an input of the domain, an end token and padding, and nothing else."""
        if tokens.shape[1] < 4 + KINDS + 2:
            return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        rows = torch.nn.functional.pad(tokens, (0, max(0, self.max_length - tokens.shape[1])), value=PAD)
        bar = (rows == BAR).long().argmax(dim=1)
        spread = torch.arange(rows.shape[1], device=tokens.device)
        before, begins = spread < bar[:, None], spread == 0
        in_sequence = before & ~begins
        counts = letter_counts(rows, in_sequence)
        length = bar - 1
        kinds = (counts > 0).sum(dim=1)
        right = (kinds == KINDS) & (counts.max(dim=1).values <= MOST) & (length >= KINDS) & (length <= LONGEST)
        right &= ((rows < ONE) | ~in_sequence).all(dim=1) & (rows[:, 0] == BEGIN)
        tail = rows.gather(1, (bar[:, None] + torch.arange(5, device=tokens.device)).clamp(max=rows.shape[1] - 1))
        letter = tail[:, 1].clamp(max=25)
        count = counts.gather(1, letter[:, None])[:, 0]
        wanted = torch.stack(
            [*(torch.full_like(bar, t) for t in (BAR,)), letter, torch.full_like(bar, COLON), count + ONE - 1], dim=1
        )
        right &= (tail[:, :4] == wanted).all(dim=1) & (count > 0) & (tail[:, 4] == END)
        return right & ((rows == PAD) | (spread <= bar[:, None] + 4)).all(dim=1)

    def log_prior(self, tokens: Tokens) -> PerInput:
        """log p(x): letters, counts, the orders that these counts have, and the letter asked for."""
        inside = self.contains(tokens)
        counts = input_counts(tokens).clamp(max=LONGEST)
        table = _LOG_FACTORIAL.to(tokens.device)
        orders = table[counts.sum(dim=1).clamp(max=LONGEST)] - table[counts].sum(dim=1)
        log_prior = -math.log(TRIPLES * MOST**KINDS * KINDS) - orders
        return torch.where(inside, log_prior, -math.inf).to(torch.float32)

    def enumerate(self, block: int = 65536) -> Iterator[Tokens]:
        """Raises `UserError`: some 10^14 inputs are too many; those with given letters and counts are not."""
        raise UserError(
            "the inputs of counting are too many to enumerate; those that share an input's letters and counts are not"
        )

    def role(self, tokens: OneInput, position: int) -> str:
        """The named position, the index of a position before the bar, `B` or `E`. Raises `UserError` for any other."""
        strings = self.token_strings(tokens)
        if not 0 <= position < len(strings):
            raise UserError(
                f"position {position} is not in {self.decode(tokens)}: positions are 0 to {len(strings) - 1}"
            )
        if position == 0:
            return "B"
        if position == len(strings) - 1:
            return "E"
        bar = strings.index("|") if "|" in strings else len(strings)
        return str(position) if position < bar else self.roles[min(position - bar, 3)]

    def position_of(self, tokens: Tokens, role: str) -> Positions:
        """Index of a named position, or of one before the bar by its index; -1 where a sequence is too short for it.

        Raises `UserError` for a role that counting does not have.
        """
        bar = (tokens == BAR).long().argmax(dim=1)
        if role == "B":
            return torch.zeros_like(bar)
        if role == "E":
            return (tokens == END).long().argmax(dim=1)
        if role in AFTER_BAR:
            position = bar + AFTER_BAR[role]
            return torch.where((bar > 0) & (position < tokens.shape[1]), position, -1)  # a malformed row may lack it
        if role.isascii() and role.isdigit() and 1 <= int(role) <= LONGEST:
            return torch.where(int(role) < bar, int(role), -1)
        raise UserError(
            f"counting has no position {role!r}; its positions are B, an index from 1 to {LONGEST} before the bar, "
            f"{' '.join(self.roles)} and E"
        )

    def is_held_out(self, tokens: Tokens) -> InputMask:
        """Which inputs have letters and counts that neither probed model nor decoder was trained on."""
        return _is_held_out(multisets(tokens))

    def answer_mask(self, tokens: Tokens) -> PositionMask:
        """The count after the colon."""
        answer = (tokens == COLON).long().argmax(dim=1) + 1
        return torch.arange(tokens.shape[1], device=tokens.device) == answer[:, None]

    @cached_property
    def features(self) -> dict[str, Feature]:
        """What is asked and its answer, the other letters and counts, the order, and what stands at the position."""
        letters, counts = tuple(LETTERS), tuple(str(c) for c in range(1, MOST + 1))
        sums, lengths = (tuple(map(str, numbers)) for numbers in (range(2, 2 * MOST + 1), range(KINDS, LONGEST + 1)))
        indices, symbols = tuple(str(t) for t in range(self.max_length)), tuple(self.vocabulary.symbols)
        features = [
            Feature("letter", letters, lambda x, t: asked_letter(x), "the letter that is asked for"),
            Feature("count", counts, lambda x, t: count_of(x, asked_letter(x)) - 1, "how often it occurs"),
            Feature("other1", letters, lambda x, t: others(x)[0], "the other letter that comes first"),
            Feature("other2", letters, lambda x, t: others(x)[1], "the other letter that comes last to appear"),
            Feature("count1", counts, lambda x, t: count_of(x, others(x)[0]) - 1, "how often other1 occurs"),
            Feature("count2", counts, lambda x, t: count_of(x, others(x)[1]) - 1, "how often other2 occurs"),
            Feature("others", sums, _others_together, "how often the two other letters occur together"),
            Feature("length", lengths, lambda x, t: length_of(x) - KINDS, "letters before the bar"),
            Feature("first", letters, lambda x, t: x[:, 1], "the first letter"),
            Feature("last", letters, lambda x, t: _token_at(x, length_of(x)), "the letter before the bar"),
            Feature("token", symbols, _token_at, "what stands there"),
            Feature("position", indices, lambda x, t: t, "the index of the position"),
            Feature("seen", ("none", *counts), seen, _SEEN),
        ]
        return {feature.name: feature for feature in features}

    def change(self, tokens: Tokens, roles: tuple[str, ...], generator: torch.Generator) -> Tokens:
        """Another letter of the input asked for, the count redone: `letter` is all that can be changed by name.

        Raises `UserError` for other positions.
        """
        if set(roles) != {"letter"}:
            raise UserError(
                "counting can change what is asked: use change:letter, or flip (one letter into another of the three), "
                "or random"
            )
        counts = input_counts(tokens)
        letter = torch.multinomial((counts > 0).float(), 1, generator=generator)[:, 0]
        return assemble(sequences_of(tokens), letter, counts.gather(1, letter[:, None])[:, 0])

    def flip(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """One letter of the sequence turned into another of the input's three, the count redone.

        Inputs in which that would leave a letter out, or one ten times, stay as they are.
        """
        return self._recounted(tokens, flipped(sequences_of(tokens), generator))

    next_tokens = staticmethod(next_tokens)
    sample_given, log_mass, agrees = staticmethod(draw_given), staticmethod(log_mass), staticmethod(shares)
    conditions = CONDITIONS
    """What inputs may be given to share, by name, in words."""
    neighbourhood = "near"

    restrictions = RESTRICTIONS
    """What can be given so that few enough inputs are left to enumerate, by name, and which they are."""

    def given(self, tokens: OneInput, name: str) -> Task:
        """The inputs that share an input's letters, counts and question, in every order, as a task of their own.

        Raises `UserError` for another name than `counts`, or more than 20 million orders.
        """
        if name not in self.restrictions:
            raise UserError(f"counting can be enumerated given {', '.join(self.restrictions)}, not given {name!r}")
        return CountingOrders(self, tokens)

    def edit(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """Swap two letters, turn one into another, rename a kind, ask for another, or put one in or take one out."""
        sequences, letter = sequences_of(tokens), asked_letter(tokens)
        kind = torch.randint(5, (len(tokens),), generator=generator)
        made = [
            (swapped(sequences, generator), letter),
            (flipped(sequences, generator), letter),
            renamed(sequences, letter, generator),
            (sequences, drawn_kind(sequences, generator)),
            (longer_or_shorter(sequences, generator), letter),
        ]
        letters = torch.stack([part for part, _ in made])[kind, torch.arange(len(tokens))]
        letter = torch.stack([part for _, part in made])[kind, torch.arange(len(tokens))]
        counts = sequence_counts(letters)
        edited = assemble(letters, letter, counts.gather(1, letter[:, None])[:, 0])
        return torch.where(self.contains(edited)[:, None], edited, tokens)

    def _recounted(self, tokens: Tokens, sequences: Sequences) -> Tokens:
        letter = asked_letter(tokens)
        count = sequence_counts(sequences).gather(1, letter[:, None])[:, 0]
        changed = assemble(sequences, letter, count)
        return torch.where(self.contains(changed)[:, None], changed, tokens)


_SEEN = "how often the letter that stands there has occurred before the bar, up to there"


def _token_at(tokens: Tokens, positions: Positions) -> Positions:
    return tokens.gather(1, positions[:, None])[:, 0]


def _others_together(tokens: Tokens, positions: Positions) -> Positions:
    return length_of(tokens) - count_of(tokens, asked_letter(tokens)) - 2


def _problem(letters: str, bar: str, question: str) -> str | None:
    """What keeps a typed input out of the domain."""
    kinds = sorted(set(letters))
    if not bar or "|" in question:
        return "one '|' must stand between the letters and the question, as in aabac|a:3"
    if any(char not in LETTERS for char in letters):
        return "only letters stand before the '|'"
    if len(kinds) != KINDS:
        return f"it has {len(kinds)} different letters before the '|', not {KINDS}"
    for kind in kinds:
        if letters.count(kind) > MOST:
            return f"{kind!r} occurs {letters.count(kind)} times, more than {MOST}"
    letter, colon, answer = question.partition(":")
    if letter not in kinds or not colon:
        return (
            f"after the '|' comes one of its letters ({', '.join(kinds)}) and ':', as in {letters}|{kinds[0]}:"
            + str(letters.count(kinds[0]))
        )
    count = letters.count(letter)
    return None if answer == str(count) else f"{letter!r} occurs {count} times, not {answer!r}"


def _draw_multisets(n: int, generator: torch.Generator) -> Multisets:
    letters = torch.rand(n, len(LETTERS), generator=generator).topk(KINDS, dim=1).indices.sort(dim=1).values
    return Multisets(letters, torch.randint(1, MOST + 1, (n, KINDS), generator=generator))


def _is_held_out(multisets: Multisets) -> InputMask:
    """A quarter of all multisets, by an integer hash of letters and counts that depends on nothing else."""
    key = torch.zeros_like(multisets.counts[:, 0])
    for part in (*multisets.letters.unbind(1), *multisets.counts.unbind(1)):
        key = key * 31 + part + 1
    for _ in range(3):  # xor-shifts and odd multipliers, so that neighbouring keys part
        key = (key ^ (key >> 15)) * 0x2C1B3C6D & 0xFFFFFFFF
        key = (key ^ (key >> 12)) * 0x297A2D39 & 0xFFFFFFFF
    return key >= int(TRAIN_SHARE * 2**32)
