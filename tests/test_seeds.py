"""A seed is a number that everything takes, and what is none is one line wherever it is given."""

from __future__ import annotations

import dataclasses

import click
import pytest
import torch

from inversionview import cli
from inversionview.cli.program import cli as commands
from inversionview.errors import UserError
from inversionview.seeds import LARGEST, checked_seed, seeded
from inversionview.studies import settings
from inversionview.training import TrainingConfig

TOO_LARGE = 99_999_999_999_999_999_999_999  # 23 digits
NONE = [-1, LARGEST + 1, 2**63, TOO_LARGE, 1.5, True]
NUMBERS = ("seed", "n", "steps", "queries", "draws", "cells")


@pytest.mark.parametrize("seed", [0, 1, 7, 2**32, LARGEST])
def test_a_seed_gives_torch_s_own_generator_and_another_one_each_step(seed):
    same = torch.Generator().manual_seed(seed)
    assert torch.equal(torch.rand(5, generator=seeded(seed)), torch.rand(5, generator=same))
    steps = torch.stack([torch.rand(5, generator=seeded(seed, step)) for step in range(20)])
    assert len(steps.unique(dim=0)) == 20
    if seed < 2**32:
        as_ever = torch.Generator().manual_seed(seed * 1_000_003 + 3)
        assert torch.equal(steps[3], torch.rand(5, generator=as_ever))


@pytest.mark.parametrize("seed", NONE)
def test_what_is_no_seed_is_refused(seed):
    for use in (checked_seed, seeded, lambda seed: TrainingConfig(steps=1, seed=seed)):
        with pytest.raises(UserError, match=f"a seed is a whole number from 0 to {LARGEST}, not "):
            use(seed)


OF_VERBS = [one for one in vars(settings).values() if dataclasses.is_dataclass(one) and isinstance(one, type)]


@pytest.mark.parametrize("verb", OF_VERBS, ids=lambda verb: verb.__name__)
def test_the_settings_of_every_verb_refuse_numbers_that_nothing_could_hold(verb):
    numbers = [field.name for field in dataclasses.fields(verb) if field.type in ("int", "int | None")]
    for name in numbers:
        with pytest.raises(UserError, match="a seed is" if name == "seed" else "must be a number below"):
            verb(**{name: TOO_LARGE})
        assert getattr(verb(**{name: 5}), name) == 5


def numbers() -> list[tuple[str, str]]:
    """Each command with each of the numbers that it takes."""
    taken = {name: {parameter.name for parameter in command.params} for name, command in commands.commands.items()}
    return [(name, number) for name, its in taken.items() for number in NUMBERS if number in its]


def test_there_are_commands_with_a_seed():
    with_seed = {name for name, number in numbers() if number == "seed"}
    assert {"read", "map", "test", "patch", "causal", "train", "train-probed", "evaluate", "validate"} <= with_seed


@pytest.mark.parametrize(("name", "option"), numbers())
def test_in_every_command_it_is_one_line(name, option, tmp_path, capsys):
    command = commands.commands[name]
    given = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            given += ["addition" if not given else "615+861=1476"]
        elif parameter.required:
            given += [
                parameter.opts[0],
                {"out": str(tmp_path / "out"), "site": "a0.0", "sites": "a0.0"}.get(parameter.name, "="),
            ]
    opts = next(parameter.opts for parameter in command.params if parameter.name == option)
    assert cli.main([name, *given, opts[0], str(TOO_LARGE)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert str(TOO_LARGE) in line
    assert list(tmp_path.iterdir()) == []
