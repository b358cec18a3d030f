"""Which inputs of a template its file holds out."""

from __future__ import annotations

import functools
import itertools
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from inversionview.shapes import Positions
from inversionview.tasks.listed import smallest_hashes
from inversionview.tasks.template.aspects import MOST_COMBINED, Aspect
from inversionview.tasks.template.choices import Choices, Joint, Space
from inversionview.tasks.template.file import HeldOut
from inversionview.tasks.template.forms import Forms

MOST_TEXTS = 200_000
"""Most inputs of a template whose texts are held out one by one."""
IsOut = Callable[[Choices], Positions]


def held_out_by(forms: Forms, name: str, rule: HeldOut, aspects: Mapping[str, Aspect]) -> IsOut:
    """1 for the inputs that a rule holds out, by hashes of the words that it names or of texts; 0 for the others."""
    return _texts_by(forms, name, rule, aspects) if rule.one_in else _words_by(forms.space, name, rule, aspects)


def _words_by(space: Space, name: str, rule: HeldOut, aspects: Mapping[str, Aspect]) -> IsOut:
    values = [aspects[one].values for one in rule.of]
    sizes = [len(some) for some in values]
    if math.prod(sizes) > MOST_COMBINED:
        raise space.declared.error(f"held-out.{name}", f"{math.prod(sizes):,} combinations are too many")
    candidates = (key for key, may_be in _keys(rule, values) if may_be)
    first = next(candidates, None)
    if all(key == first for key in candidates):
        raise space.declared.error(f"held-out.{name}", "there is one combination, and nothing to hold out of it")

    @functools.cache  # when it is first asked for: opening a model with a domain is quick
    def table() -> Tensor:
        keys = list(_keys(rule, values))
        chosen = list(dict.fromkeys(key for key, may_be in keys if may_be))
        out = {chosen[i] for i in smallest_hashes(chosen, rule.share)}
        return torch.tensor([key in out for key, _ in keys]).view(sizes)

    def code(choices: Choices) -> Positions:
        return table()[tuple(aspects[one].code(choices) for one in rule.of)].long()

    return code


def _keys(rule: HeldOut, values: Sequence[Sequence[str]]) -> Iterator[tuple[str, bool]]:
    """Each combination as one text, and whether it may be held out: of words in any order not one with itself."""
    join = " and " if rule.unordered else " "
    for words in itertools.product(*values):
        yield join.join(sorted(words) if rule.unordered else words), not rule.unordered or len(set(words)) == len(words)


def _texts_by(forms: Forms, name: str, rule: HeldOut, aspects: Mapping[str, Aspect]) -> IsOut:
    """Of all texts one in so many; but of each value of what is kept, the text with the largest hash is not."""
    space = forms.space
    if space.total > MOST_TEXTS:
        what = f"{space.total:,} texts are too many to hold out one by one, at most {MOST_TEXTS:,}: hold out slots"
        raise space.declared.error(f"held-out.{name}", what)
    choices = space.numbered(torch.arange(space.total))
    hashes = torch.tensor([zlib.crc32(text.encode()) for text in forms.texts(choices)])
    table = hashes % rule.one_in == 0
    if rule.keep:
        groups = _value(space, rule.keep, aspects, choices)
        largest = torch.zeros(int(groups.max()) + 1, dtype=torch.long).scatter_reduce(0, groups, hashes, "amax")
        table &= hashes != largest[groups]
    if not bool(table.any()):
        why = f" for which another of the same {rule.keep} is left" if rule.keep else ""
        raise space.declared.error(f"held-out.{name}", f"there is no text to hold out{why}: give more of them")
    return lambda choices: table[space.number_of(choices)].long()


def _value(space: Space, name: str, aspects: Mapping[str, Aspect], choices: Choices) -> Positions:
    """Which value a slot has in each input; of a row, its number."""
    if name in aspects:
        return aspects[name].code(choices)
    component = space.components[space.index[name]]
    assert isinstance(component, Joint)
    codes = choices.codes[:, space.index[name]]
    return torch.where(codes >= 0, component.rows[codes.clamp_min(0), component.bases.index(name)] + 1, 0)


def held_out_names(rules: Sequence[str]) -> tuple[str, ...]:
    """What the feature `held out` says: no, one of the rules, or those that apply."""
    if len(rules) == 1:
        return ("no", "yes")
    names = []
    for number in range(2 ** len(rules)):
        apply = [rule for i, rule in enumerate(rules) if number >> i & 1]
        names.append("both" if len(apply) == len(rules) == 2 else ", ".join(apply) or "no")
    return tuple(names)
