"""The loop: what it computes, and that stopping and going on changes nothing."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from inversionview.errors import UserError
from inversionview.progress import told
from inversionview.training import Clock, Loggers, loop, processes, saved_config, train
from inversionview.training.budget import Planner
from inversionview.training.checkpoint import newest_checkpoint
from tests.paths import ROOT
from tests.training.toy import Toy, config


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def numbers(out):
    """What a run computed: its metrics without what depends on the time it took."""
    timed = ("seconds", "instances_per_second")
    return [
        {key: value for key, value in line.items() if key not in timed and "share" not in key} for line in lines(out)
    ]


def weights(toy):
    return {name: value.clone() for name, value in toy.module.state_dict().items()}


def start(out, *settings):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "tests.training.toy", str(out), *settings]
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def wait_for_step(process, out, step):
    while process.poll() is None:
        steps = [int(path.name.split("-")[1]) for path in out.glob("checkpoint-*")]
        if max(steps, default=0) >= step:
            return
        time.sleep(0.005)
    raise AssertionError("the run ended before its time")


def test_a_run_learns_and_says_what_it_did(tmp_path):
    toy = Toy(dropout=0.0, period=1000)
    result = train(toy, config(steps=200, log_every=50, batch_size=32), tmp_path / "run")
    assert toy.seen == list(range(200))
    assert result.steps == 200
    assert not result.interrupted
    assert result.losses.keys() == {50, 100, 150, 200}
    assert result.losses[200] < 0.05
    assert sum(result.shares.values()) == pytest.approx(1)
    assert all(result.shares[part] > 0 for part in ("batch", "forward_backward", "optimizer", "checkpoint", "log"))
    assert result.instances_per_second == pytest.approx(200 * 32 / result.seconds)
    last = lines(tmp_path / "run")[-1]
    assert (last["step"], last["loss"]) == (200, result.losses[200])
    assert last["learning_rate"] == pytest.approx(1e-3 * 0.02)


def test_metrics_hold_the_mean_since_the_last_line_and_the_periodic_work(tmp_path):
    each = train(Toy(), config(log_every=1), tmp_path / "each").losses
    some = train(Toy(), config(log_every=4, steps=30), tmp_path / "some").losses
    assert some == {step: each[step] for step in (*range(4, 30, 4), 30)}
    found = {line["step"]: line["mean_loss"] for line in lines(tmp_path / "some") if "loss" in line}
    for before, step in pairwise([0, *found]):
        assert found[step] == pytest.approx(
            sum(each[i] for i in range(before + 1, step + 1)) / (step - before), rel=1e-6
        )
    assert [line["step"] for line in lines(tmp_path / "some") if "shift" in line] == list(range(4, 30, 4))


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path):
    runs = [train(Toy(), config(seed=seed), tmp_path / str(i)).losses for i, seed in enumerate((0, 0, 1))]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(("number", "every"), [(signal.SIGINT, 0.0), (signal.SIGTERM, 1e9)])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, number, every):
    whole = Toy()
    train(whole, config(), tmp_path / "whole")

    class Interrupted(Toy):
        def batch(self, step, **sizes):
            if step == 13:
                signal.raise_signal(number)
            return super().batch(step, **sizes)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    first = train(Interrupted(), config(checkpoint_every_seconds=every), tmp_path / "halves")
    assert (first.interrupted, first.steps) == (True, 14)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    second = Toy(seed=99)
    result = train(second, config(), tmp_path / "halves", resume=True)
    assert (result.interrupted, result.steps, second.seen[0]) == (False, 30, 14)
    assert result.seconds > first.seconds
    assert numbers(tmp_path / "halves") == numbers(tmp_path / "whole")
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(whole).items())
    assert [path.name for path in (tmp_path / "halves").iterdir()].count("checkpoint-00000030") == 1
    assert len(list((tmp_path / "halves").glob("*checkpoint*"))) == 1


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    train(Toy(), config(steps=200), tmp_path / "whole")
    process = start(tmp_path / "killed", "steps=200", "checkpoint_every_seconds=0.0", "pause=0.005")
    wait_for_step(process, tmp_path / "killed", 5)
    time.sleep(random.uniform(0, 0.1))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert int(newest_checkpoint(tmp_path / "killed").name[-8:]) < 200
    train(Toy(seed=99), config(steps=200), tmp_path / "killed", resume=True)
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")


def test_a_kill_in_the_middle_of_a_checkpoint_costs_only_that(tmp_path):
    train(Toy(), config(), tmp_path / "whole")
    process = start(tmp_path / "killed", "checkpoint_every_seconds=0.0", "die_at=7")
    assert process.wait() == -signal.SIGKILL
    assert newest_checkpoint(tmp_path / "killed").name == "checkpoint-00000006"
    assert (tmp_path / "killed" / ".checkpoint-00000007.part").exists()
    train(Toy(seed=99), config(), tmp_path / "killed", resume=True)
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")
    assert not list((tmp_path / "killed").glob(".checkpoint*"))


def test_a_later_ctrl_c_is_not_held_back(tmp_path, monkeypatch):
    class Stubborn(Toy):
        def batch(self, step, **sizes):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)  # the same Ctrl-C, passed on by a launcher
            monkeypatch.setattr(processes, "monotonic", lambda: time.monotonic() + 2)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(Stubborn(), config(), tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_minutes_become_steps_and_the_checkpoint_keeps_them(tmp_path):
    class Hasty(Loggers):
        def log(self, step, total_steps, values):
            if total_steps is not None:
                signal.raise_signal(signal.SIGINT)

    timed = config(minutes=0.5, warmup_steps=20)
    first = train(Toy(), timed, tmp_path / "run", logger=Hasty())
    assert first.interrupted
    rates = {line["step"]: line["learning_rate"] for line in lines(tmp_path / "run") if "loss" in line}
    assert max(rates, key=rates.get) == 21
    file = newest_checkpoint(tmp_path / "run") / "state.json"
    state = json.loads(file.read_text())
    assert state["progress"]["total_steps"] > first.steps
    state["progress"]["total_steps"] = first.steps + 5
    file.write_text(json.dumps(state))
    assert saved_config(tmp_path / "run") == timed
    assert train(Toy(), timed, tmp_path / "run", resume=True).steps == first.steps + 5


def test_a_plan_that_is_renewed_is_the_length_of_the_run_and_is_kept(tmp_path, monkeypatch):
    class Shorter:
        def renew(self, step, clock):
            return 40 if step == 30 else None

    monkeypatch.setattr(Planner, "plan", lambda self, step, clock: 100 if step == 10 else None)
    monkeypatch.setattr(Planner, "renew", Shorter().renew)
    kept = []

    class Watching(Loggers):
        def log(self, step, total_steps, values):
            kept.append((step, total_steps))

    toy = Toy()
    toy.steps_of_a_pass = lambda size: 50  # asked about when the run is first planned, not when half of it is done
    assert train(toy, config(minutes=5, log_every=1), tmp_path / "run", logger=Watching()).steps == 40
    assert dict(kept)[29] == 100
    assert dict(kept)[30] == 40
    rates = [line["learning_rate"] for line in lines(tmp_path / "run") if "loss" in line]
    assert rates[-1] == min(rates[5:]), "the rate falls to its end"
    state = json.loads((newest_checkpoint(tmp_path / "run") / "state.json").read_text())
    assert state["progress"]["total_steps"] == 40


def test_a_budget_that_is_over_ends_the_run(tmp_path):
    result = train(Toy(), config(minutes=1e-9), tmp_path / "run")
    assert (result.steps, result.interrupted) == (4, False)
    assert lines(tmp_path / "run")[-1]["step"] == 4


def test_work_that_evaluates_the_module_does_not_stop_it_from_training(tmp_path):
    modes = []

    class Evaluating(Toy):
        def loss(self, module, batch):
            modes.append(module.training)
            return super().loss(module, batch)

        def after_step(self, step):
            self.module.eval()
            return super().after_step(step)

    train(Evaluating(), config(), tmp_path / "run")
    assert modes == [True] * 30


def test_bf16_is_handed_over_by_autocast_or_to_the_module(tmp_path):
    kinds = []

    class Watching(Toy):
        def loss(self, module, batch):
            kinds.append((module(batch[0]).dtype, getattr(module, "compute_dtype", None)))
            return super().loss(module, batch)

    train(Watching(), config(precision="bf16", steps=1), tmp_path / "autocast")
    own = Watching()
    own.module.compute_dtype = torch.float32
    train(own, config(precision="bf16", steps=1), tmp_path / "own")
    train(Watching(), config(steps=1), tmp_path / "fp32")
    assert kinds == [(torch.bfloat16, None), (torch.float32, torch.bfloat16), (torch.float32, None)]


def test_a_finished_run_is_resumed_by_doing_nothing(tmp_path):
    train(Toy(), config(), tmp_path / "run")
    before = numbers(tmp_path / "run")
    toy = Toy(seed=1)
    result = train(toy, config(), tmp_path / "run", resume=True)
    assert (result.steps, toy.seen, numbers(tmp_path / "run")) == (30, [], before)


@pytest.mark.parametrize(("changes", "said"), [
    ({"seed": 5}, "started with seed 0, not 5"),
    ({"batch_size": 16}, "started with batch_size 8, not 16"),
    ({"steps": 31}, "started with steps 30, not 31"),
    ({"minutes": 2}, "started with minutes None, not 2"),
])  # fmt: skip
def test_a_run_is_not_resumed_with_another_config(tmp_path, changes, said):
    train(Toy(), config(), tmp_path / "run")
    with pytest.raises(UserError, match=said):
        train(Toy(), config(**changes), tmp_path / "run", resume=True)


def test_the_output_folder_is_new_or_resumed(tmp_path):
    with pytest.raises(UserError, match="no checkpoint in"):
        train(Toy(), config(), tmp_path / "run", resume=True)
    train(Toy(), config(), tmp_path / "run", resume=False)
    with pytest.raises(UserError, match="exists and is not empty"):
        train(Toy(), config(), tmp_path / "run")


def test_a_loss_that_is_no_number_ends_the_run_with_the_good_checkpoint_kept(tmp_path):
    class Diverging(Toy):
        def loss(self, module, batch):
            return super().loss(module, batch) * (float("nan") if len(self.seen) > 10 else 1)

    with pytest.raises(UserError, match="the loss became nan by step 11"):
        train(Diverging(), config(checkpoint_every_seconds=0), tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run").name == "checkpoint-00000010"
    assert all(line.get("loss", 0) == line.get("loss", 0) for line in lines(tmp_path / "run"))


def test_a_disk_that_is_full_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Filling(Toy):
        def batch(self, step, **sizes):
            if step == 10:
                monkeypatch.setattr(os, "fsync", full)
            return super().batch(step, **sizes)

    with pytest.raises(UserError, match=r"checkpoint-00000011.*: the disk is full"):
        train(Filling(), config(checkpoint_every_seconds=0), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").glob("*checkpoint-*")] == ["checkpoint-00000010"]
    monkeypatch.undo()
    train(Toy(), config(), tmp_path / "whole")
    train(Toy(seed=9), config(), tmp_path / "run", resume=True)
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")


def test_a_run_in_another_thread_takes_no_signals(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(train, Toy(), config(), tmp_path / "run").result()
    assert (result.steps, signal.getsignal(signal.SIGINT)) == (30, handler)


def test_a_batch_that_cannot_be_shared_equally_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "Processes", lambda *_: SimpleNamespace(world=3))
    with pytest.raises(UserError, match="batch_size 8 cannot be shared equally by 3 processes"):
        train(Toy(), config(), tmp_path / "run")


def test_processes_that_do_not_know_of_each_other_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were launched but accelerate knows of 1"):
        train(Toy(), config(), tmp_path / "run", accelerator=SimpleNamespace(num_processes=1))


def test_the_logger_is_closed_whatever_happens(tmp_path):
    class Noting(Loggers):
        def __init__(self):
            self.steps, self.closed = [], False

        def log(self, step, total_steps, values):
            assert total_steps == 30
            self.steps.append(step)

        def close(self):
            self.closed = True

    class Failing(Toy):
        def after_step(self, step):
            return {} if step < 7 else 1 // 0

    logger = Noting()
    with pytest.raises(ZeroDivisionError):
        train(Failing(), config(), tmp_path / "run", logger=logger)
    assert (logger.steps, logger.closed) == ([3, 6], True)


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--module"]
    settings = ["dropout=0.0", "log_every=1", "checkpoint_every_seconds=0.2"]
    process = subprocess.run(
        [*launch, "tests.training.toy", str(tmp_path / "two"), *settings], cwd=ROOT, env=environment
    )
    assert process.returncode == 0
    one = train(Toy(dropout=0.0), config(log_every=1), tmp_path / "one").losses
    two = {line["step"]: line["loss"] for line in lines(tmp_path / "two")}
    assert {line["world"] for line in lines(tmp_path / "two") if "world" in line} == {2}
    assert two.keys() == one.keys()
    assert two == pytest.approx(one, abs=1e-5)


class Prepared(Clock):
    """As if what came before the training had taken some seconds."""

    def __init__(self, seconds):
        super().__init__()
        self._start -= seconds


def test_what_was_prepared_counts_as_a_part_of_the_run_and_of_its_minutes(tmp_path, caplog):
    alone = train(Toy(), config(minutes=0.1, steps=None), tmp_path / "alone")
    shorter = train(Toy(), config(minutes=0.1, steps=None), tmp_path / "shorter", clock=Prepared(5.0))
    assert shorter.seconds >= 5.0
    assert shorter.shares["preparation"] == pytest.approx(5.0 / shorter.seconds, abs=0.05)
    assert alone.shares["preparation"] < 0.05
    assert caplog.messages == ["the preparation took 5 s of the 0.1 minutes of this run, which is short for it"]


def test_the_steps_before_the_first_line_are_told_and_then_the_logger_tells(tmp_path):
    heard = []

    class Listening:
        def log(self, step, total_steps, values):
            heard.extend(["log"] * ("loss" in values))

        def close(self):
            pass

    with told(lambda stage, done, of, partial: heard.append((done, of)), ended=lambda: heard.append("over")):
        train(Toy(), config(steps=12, log_every=5), tmp_path / "run", logger=Listening())
    steps = [(done, 5) for done in range(6)]
    assert [news for i, news in enumerate(heard) if i == 0 or news != heard[i - 1]] == [*steps, "over", "log", "over"]


def test_a_budget_too_short_for_one_pass_is_refused_and_says_what_it_takes(tmp_path):
    toy = Toy()
    toy.steps_of_a_pass = lambda size: 10**7
    with pytest.raises(UserError, match=r"0\.02 minutes are .* steps here, and one pass .* takes 10,000,000: give at"):
        train(toy, config(minutes=0.02), tmp_path / "run")
