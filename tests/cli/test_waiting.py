"""What is said of long work on standard error."""

from __future__ import annotations

import logging
import re
import sys
import time

import click
import pytest

from inversionview import cli
from inversionview.cli import waiting
from inversionview.cli.program import cli as commands
from inversionview.progress import advance, doing, stage


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


def test_what_is_short_says_nothing_where_nobody_waits(command, capsys):
    def short():
        with doing("cutting"):
            steps(2, 10, 0.01)

    assert cli.main(command(short)) == 0
    assert capsys.readouterr().err == ""


def test_many_short_stages_are_told_as_one_long_one_is(command, capsys):
    def several():
        for _ in range(20):
            steps(2, 10, 0.01)

    assert cli.main(command(several)) == 0
    assert "cutting texts: " in capsys.readouterr().err


def test_a_terminal_is_told_before_anything_else_is_done(command, capsys, monkeypatch):
    said = []

    def work():
        with doing("loading models"):
            said.append(capsys.readouterr().err)

    monkeypatch.setattr(waiting, "_LOOK", 60)  # no thread has a turn
    monkeypatch.setattr(waiting._Line, "watch", lambda self, over: None)
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    assert cli.main(command(work)) == 0
    assert said == ["\rloading models, 0 s\x1b[K"]
    assert capsys.readouterr().err == "\r\x1b[K"


def test_of_imports_the_modules_that_are_there_tell_how_far_they_are(command, capsys, monkeypatch):
    def work():
        with doing(waiting.IMPORTING):
            time.sleep(0.05)
            for number in range(10):
                monkeypatch.setitem(sys.modules, f"made_for_this_test_{number}", sys)
            time.sleep(0.3)

    monkeypatch.setattr(waiting, "MODULES", 2 * len(sys.modules))
    assert cli.main(command(work)) == 0
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"loading torch, 50%, 0 s, about [\d,]+ (s|min) left", line)


def test_between_its_stages_a_command_says_what_it_does(command, capsys):
    def work():
        with doing("reading"):
            steps(1, 10, 0.01)
            time.sleep(0.35)
            with doing("loading"):
                time.sleep(0.25)
            time.sleep(0.25)

    assert cli.main(command(work)) == 0
    said = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert list(dict.fromkeys(said)) == ["reading", "loading"]
    assert said[-1] == "reading"


def test_what_is_warned_of_has_a_line_of_its_own(command, capsys, monkeypatch):
    def work():
        with doing("reading"):
            time.sleep(0.1)
            logging.getLogger("inversionview.somewhere").warning("it has no %s", "norm")
            time.sleep(0.1)

    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    assert cli.main(command(work)) == 0
    assert "\r\x1b[Kit has no norm\n\rreading" in capsys.readouterr().err


def test_a_line_is_no_wider_than_the_terminal_and_long_waits_are_in_minutes(command, capsys, monkeypatch):
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    monkeypatch.setattr(waiting, "_columns", lambda: 30)

    def work():
        with stage("cutting texts into windows of tokens", 1_000_000):
            time.sleep(0.03)
            advance(100)
            time.sleep(0.2)

    assert cli.main(command(work)) == 0
    lines = capsys.readouterr().err.split("\r")
    assert max(len(line.removesuffix("\x1b[K")) for line in lines) == 29
    monkeypatch.setattr(waiting, "_columns", lambda: 56)
    assert cli.main(command(work)) == 0
    last = capsys.readouterr().err.split("\r")[-2].removesuffix("\x1b[K")
    assert re.fullmatch(r"cutting.*…: 100 of 1,000,000, 0 s, about \d+ min left", last)
    assert len(last) <= 55


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
