"""Loggers: what they write, and what a resumed run finds."""

import errno
import io
import json

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import GeneralTracker
from rich.console import Console

from inversionview.errors import UserError
from inversionview.training import JsonLines, Loggers, ProgressBar, Trackers, logging

VALUES = {"loss": 1.5, "mean_loss": 1.25, "instances_per_second": 1234.5, "learning_rate": 0.001}


def test_lines_are_there_at_once_and_an_old_file_is_replaced(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("old\n")
    logger = JsonLines(path)
    logger.log(3, None, {"loss": 0.1})
    assert path.read_text() == '{"step": 3, "loss": 0.1}\n'
    logger.close()


@pytest.mark.parametrize("tail", ["", '{"step": 7, "lo', '{"step": 7}\n{"ste', "\x00\x00"])
def test_a_resumed_file_keeps_what_the_checkpoint_knows(tmp_path, tail):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (2, 4, 4, 6)) + tail)
    logger = JsonLines(path, keep_until=4)
    logger.log(5, 9, {})
    logger.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4, 4, 5]


def test_a_full_disk_is_a_clear_error(tmp_path):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    logger = JsonLines(tmp_path / "metrics.jsonl")
    logger._file.close()
    logger._file = Full()
    with pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl: No space left"):
        logger.log(1, None, {})


def test_the_bar_shows_loss_rate_and_time_left():
    screen = io.StringIO()
    bar = ProgressBar(Console(file=screen, force_terminal=True, width=120), about="decoder")
    bar.log(5, None, VALUES)
    bar.log(5, 40, {"rate/a0.0": 0.5})
    bar.log(10, 40, VALUES)
    bar.close()
    shown = screen.getvalue()
    for text in ("decoder", "10/40", "loss 1.2500, 1,234 instances/s", "left"):
        assert text in shown


def test_without_a_terminal_there_are_lines_now_and_then():
    screen = io.StringIO()
    bar = ProgressBar(Console(file=screen, width=40))
    for step in (1, 2, 3, 9):
        bar.log(step, 9, VALUES)
    bar.close()
    assert screen.getvalue().splitlines() == [
        "training: step 1 of 9, loss 1.2500, 1,234 instances/s",
        "training: step 9 of 9, loss 1.2500, 1,234 instances/s",
    ]


def test_lines_say_the_time_left_of_a_run_in_minutes_before_and_after_its_steps_are_known(monkeypatch):
    now, screen = iter(range(100, 1000, 10)), io.StringIO()
    monkeypatch.setattr(logging, "perf_counter", lambda: float(next(now)))
    bar = ProgressBar(Console(file=screen), lines_every=0, minutes=5)
    bar.log(10, None, VALUES | {"seconds": 20.0})
    bar.log(20, 100, VALUES | {"seconds": 40.0})
    said = [line.split("instances/s")[1] for line in screen.getvalue().splitlines()]
    assert said[0] == ", about 5 min left"
    assert said[1] == ", about 4 min left"
    bar = ProgressBar(Console(file=(screen := io.StringIO()), force_terminal=True, width=120), minutes=0.5)
    bar.log(10, None, VALUES | {"seconds": 20.0})
    bar.close()
    assert "about 10 s left" in screen.getvalue()


def test_several_loggers_and_trackers_get_the_same(tmp_path):
    class Kept(GeneralTracker):
        name, requires_logging_directory = "kept", False

        def __init__(self):
            super().__init__()
            self.config, self.logged, self.finished = None, [], False

        @property
        def tracker(self):
            return None

        def store_init_configuration(self, values):
            self.config = values

        def log(self, values, step=None, **kwargs):
            self.logged.append((step, values))

        def finish(self):
            self.finished = True

    kept = Kept()
    try:
        trackers = Trackers(Accelerator(cpu=True, log_with=kept), "addition", {"seed": 1})
        loggers = Loggers(trackers, JsonLines(tmp_path / "metrics.jsonl"))
        loggers.log(2, 9, VALUES)
        loggers.close()
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert (kept.config, kept.logged, kept.finished) == ({"seed": 1}, [(2, VALUES)], True)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 2, **VALUES}
