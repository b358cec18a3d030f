"""What is said of long work on standard error."""

from __future__ import annotations

import re
import sys
import time

import click
import pytest

from inversionview import cli
from inversionview.cli import waiting
from inversionview.cli.program import cli as commands
from inversionview.progress import advance, stage


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(waiting, "SILENT", 0.1)
    monkeypatch.setattr(waiting, "_LOOK", 0.02)
    monkeypatch.setattr(waiting, "_EVERY", {True: 0.05, False: 0.2})


@pytest.fixture
def command(monkeypatch):
    """Makes a command of what it is given."""

    def make(work):
        monkeypatch.setitem(commands.commands, "work", click.Command("work", callback=work))
        return ["work"]

    return make


def steps(n: int, of: int | None, pause: float) -> None:
    with stage("cutting texts", of):
        for _ in range(n):
            advance(5)
            time.sleep(pause)


def test_a_stage_says_how_far_it_is_and_how_long_it_will_take(command, capsys):
    assert cli.main(command(lambda: steps(20, 100, 0.04))) == 0
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert 2 <= len(lines) <= 7
    assert all(re.fullmatch(r"cutting texts: \d+ of 100, [01] s(, about [01] s left)?", line) for line in lines)
    done = [int(line.split()[2]) for line in lines]
    assert done == sorted(set(done))


def test_what_is_short_says_nothing(command, capsys):
    def short():
        for _ in range(20):
            steps(2, 10, 0.01)

    assert cli.main(command(short)) == 0
    assert capsys.readouterr().err == ""


def test_a_stage_that_is_one_long_call_speaks_too(command, capsys):
    def long():
        with stage("scan"):
            time.sleep(0.3)

    assert cli.main(command(long)) == 0
    assert capsys.readouterr().err.splitlines()[0] == "running all inputs of the domain, 0 s"


def test_in_a_terminal_it_is_one_line_that_goes_before_anything_else_is_said(command, capsys, monkeypatch):
    def work():
        steps(20, None, 0.02)
        click.echo("the result", err=True)

    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    assert cli.main(command(work)) == 0
    err = capsys.readouterr().err
    assert "\n" not in err.removesuffix("the result\n")
    assert err.endswith("\r\x1b[Kthe result\n")
    assert re.search(r"cutting texts: [1-9]\d*", err)


def test_of_several_processes_the_first_one_speaks(command, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert cli.main(command(lambda: steps(10, 100, 0.04))) == 0
    assert capsys.readouterr().err == ""
