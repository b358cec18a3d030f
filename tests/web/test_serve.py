"""The command `serve`: what it says, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from inversionview import cli
from inversionview.web import serve
from inversionview.web.serve import listen
from tests.paths import ROOT
from tests.web.served import TIMEOUT


def failed(capsys, *args):
    assert cli.main(["serve", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_port_that_is_taken_is_said_in_one_line(capsys):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        line = failed(capsys, "addition", "--port", str(port))
    assert f"cannot listen at 127.0.0.1, port {port}: address already in use; give another with --port" in line


def test_a_study_that_is_not_there_is_said_in_one_line(capsys):
    assert "there is no study 'substraction'" in failed(capsys, "substraction", "--port", "0")


def test_a_host_that_is_none_is_said_in_one_line(capsys):
    assert "cannot listen at 'no host'" in failed(capsys, "addition", "--host", "no host")
    assert "cannot listen at 203.0.113.1" in failed(capsys, "addition", "--host", "203.0.113.1")


def test_a_study_that_is_asked_for_twice_or_none_is_said(capsys):
    assert "is there twice" in failed(capsys, "addition", "addition", "--port", "0")
    assert "STUDY" in failed(capsys)


def test_a_missing_extra_is_named(capsys, monkeypatch):
    monkeypatch.setattr("inversionview.cli.serve.find_spec", lambda name: None)
    assert "pip install fastapi uvicorn" in failed(capsys, "addition")


def test_a_port_of_zero_takes_one_that_is_free():
    with listen("127.0.0.1", 0) as one, listen("::1" if socket.has_ipv6 else "127.0.0.1", 0) as two:
        assert one.getsockname()[1] > 0 < two.getsockname()[1]


def test_whoever_lets_others_in_is_told_so(capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(serve.webbrowser, "open", opened.append)
    said = []
    serve._ready("http://127.0.0.1:8/", "127.0.0.1", True, said.append)
    serve._ready("http://0.0.0.0:8/", "0.0.0.0", False, said.append)
    assert opened == ["http://127.0.0.1:8/"]
    assert said[0] == "The viewer is at http://127.0.0.1:8/ (Ctrl-C ends it)"
    assert len(said) == 3
    assert "no passwords" in said[2]


@pytest.mark.slow
def test_it_prints_its_address_answers_and_ends_with_ctrl_c_in_the_middle_of_work(folder):
    command = [sys.executable, "-m", "inversionview", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline()).group()
        with httpx.Client(base_url=address, timeout=TIMEOUT, trust_env=False) as client:
            assert client.get("/api/studies").json()["studies"][0]["name"] == "tiny"
            asked = {"input": "615+861=1476", "at": "=", "site": "x1.post"}
            with client.stream("POST", "/api/studies/tiny/exact", json=asked) as response:
                lines = response.iter_lines()
                next(lines)
                process.send_signal(signal.SIGINT)
                told_last = [line for line in lines if line.startswith("event: ")][-1]
                _, err = process.communicate(timeout=TIMEOUT)
        told = re.compile(r".*, [\d,]+ (s|min)(, about [\d,]+ (s|min) left)?")  # by a machine that is busy
        assert [line for line in err.splitlines() if not told.fullmatch(line)] == []
        assert process.returncode == 0
        assert told_last == "event: error", "it does not wait for the end of the work"
    finally:
        process.kill()
        process.communicate()
