"""A bank on disk: what a kill, a full disk, another run or another model does to it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest
import torch

from inversionview import files
from inversionview.bank import folder as folders
from inversionview.bank.folder import load_bank
from inversionview.bank.making import make_bank
from inversionview.bank.plan import plan_bank
from inversionview.errors import UserError
from inversionview.files import claimed, read_tensors
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.tasks import get_task
from inversionview.tasks.vocabulary import Characters
from tests.bank.fill import ROLES, SITES, fill
from tests.paths import ROOT
from tests.preimage.tiny import FewSums, few_sums, gpt2, probed


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(folders, "SHARD_BYTES", 2**12)


def shards(folder):
    return sorted(folder.glob("shard-*"))


def test_it_is_read_as_it_was_in_memory(tmp_path):
    kept, whole = fill(tmp_path / "bank"), fill(None)
    again = load_bank(tmp_path / "bank", probed(), few_sums())
    assert len(shards(tmp_path / "bank")) > 5
    for bank in (kept, again):
        assert (bank.sites, bank.roles, bank.seed, bank.split) == (whole.sites, whole.roles, 0, "all")
        assert torch.equal(bank.tokens, whole.tokens)
        for role in ROLES:
            assert torch.equal(bank.positions(role), whole.positions(role))
            for site in map(Site.parse, SITES):
                here, there = bank.vectors(site, role), whole.vectors(site, role)
                torch.testing.assert_close(here, there, equal_nan=True, atol=1e-5, rtol=1e-4)
                rows = torch.tensor([5, 0, 7])
                there = whole.activations(site, role, rows)
                torch.testing.assert_close(bank.activations(site, role, rows), there, equal_nan=True)


def test_of_what_is_asked_for_nothing_else_is_read(tmp_path, monkeypatch):
    fill(tmp_path / "bank")
    bank, read = load_bank(tmp_path / "bank", probed(), few_sums()), set()

    def noted(path, names=None, **options):
        read.update(names or ["all"])
        return read_tensors(path, names, **options)

    monkeypatch.setattr(folders, "read_tensors", noted)
    bank.vectors(Site.parse("a1.1"), "=")
    assert read == {"z1.1@="}


def test_a_killed_run_goes_on_and_runs_nothing_twice(tmp_path, monkeypatch):
    written, ran = [], []
    write, capture = folders.write_tensors, ProbedModel.capture

    def killed(path, tensors):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(path)
        write(path, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(folders, "write_tensors", killed)
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path / "bank")
    assert len(shards(tmp_path / "bank")) == 3
    with pytest.raises(UserError, match=r"is not finished, 3 of \d+ shards are: make it again there, and it goes on"):
        load_bank(tmp_path / "bank", probed(), few_sums())
    monkeypatch.setattr(ProbedModel, "capture", lambda self, x, *rest: ran.append(x) or capture(self, x, *rest))
    bank = fill(tmp_path / "bank")
    rows = [len(read_tensors(shard)["z0.0@="]) for shard in shards(tmp_path / "bank")]
    assert sum(map(len, ran)) == sum(rows[3:])
    before = len(ran)
    fill(tmp_path / "bank")
    assert len(ran) == before
    torch.testing.assert_close(bank.vectors(bank.sites[0], "="), fill(None).vectors(bank.sites[0], "="))


def test_a_full_disk_leaves_what_is_done_and_says_so(tmp_path, monkeypatch):
    real, n = os.replace, []

    def full(source, target):
        n.append(target)
        if len(n) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full)
        with pytest.raises(UserError, match=r"shard-00003.*the disk is full.*; 3 of \d+ shards are kept, and the same"):
            fill(tmp_path / "bank")
    assert len(shards(tmp_path / "bank")) == 3
    assert len(fill(tmp_path / "bank")) == 300


def test_a_second_run_is_told_in_a_line(tmp_path):
    with claimed(tmp_path / "bank"), pytest.raises(UserError, match="is being written by another run"):
        fill(tmp_path / "bank")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not empty"):
        fill(tmp_path / "other")
    fill(tmp_path / "bank")
    with pytest.raises(UserError, match="holds another bank, with other seed"):
        fill(tmp_path / "bank", seed=1)
    with pytest.raises(UserError, match=r"holds another bank, with other .*sites"):
        fill(tmp_path / "bank", sites=("a0.1", "a1.1", "x1.post"))


def test_a_truncated_shard_is_named_and_mended_by_the_same_command(tmp_path):
    fill(tmp_path / "bank")
    shard = shards(tmp_path / "bank")[2]
    whole = shard.read_bytes()
    for damaged in (whole[:-50], whole[:20], b""):
        shard.write_bytes(damaged)
        with pytest.raises(UserError, match=r"shard-00002\.safetensors is damaged or truncated"):
            load_bank(tmp_path / "bank", probed(), few_sums())
    shard.write_bytes(shards(tmp_path / "bank")[-1].read_bytes())
    with pytest.raises(UserError, match=r"shard-00002\.safetensors is damaged: it does not hold"):
        load_bank(tmp_path / "bank", probed(), few_sums())
    shard.unlink()
    with pytest.raises(UserError, match=r"there is no tensor file at .*shard-00002"):
        load_bank(tmp_path / "bank", probed(), few_sums())
    fill(tmp_path / "bank")
    assert shard.read_bytes() == whole


def test_what_is_no_bank_is_said(tmp_path):
    with pytest.raises(UserError, match="there is no index of a bank at"):
        load_bank(tmp_path, probed(), few_sums())
    fill(tmp_path / "bank")
    index = tmp_path / "bank" / "bank.json"
    for content, says in (
        ("{", "damaged or truncated"),
        ('{"schema": 9}', "newer inversionview"),
        (json.dumps({"schema": 1}), "is damaged: it lacks"),
    ):
        index.write_text(content)
        with pytest.raises(UserError, match=says):
            load_bank(tmp_path / "bank", probed(), few_sums())


class OtherWords(FewSums):
    """The same inputs, of which begin and end are said to be others."""

    def __init__(self):
        super().__init__((100, 101))
        self.vocabulary = Characters("0123456789B+=E?", begin="B", end="E")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: (ProbedModel(gpt2(1), convention="tl"), few_sums()), "with another model"),
        (lambda: (probed(0, "raw"), few_sums()), r"with activations of another form \(tl, not raw\)"),
        (lambda: (ProbedModel(gpt2(0).bfloat16(), convention="tl"), few_sums()), "with another type of numbers"),
        (lambda: (ProbedModel(gpt2(0, n_layer=1), convention="tl"), few_sums()), "with another model"),
        (lambda: (probed(), FewSums((100, 101))), "with another version of the task"),
        (lambda: (probed(), get_task("counting")), "with another"),
        (lambda: (probed(), OtherWords()), "with another tokenizer"),
    ],
)
def test_it_is_of_its_model_its_tokenizer_and_its_task(tmp_path, other, says):
    fill(tmp_path / "bank")
    with pytest.raises(UserError, match=f"the bank .* was made {says}"):
        load_bank(tmp_path / "bank", *other())


def test_a_view_is_of_the_model_that_has_it(tmp_path):
    viewed = ProbedModel(gpt2(), convention="tl")
    viewed.add_view("part", of="a0.0", encode=torch.eye(16)[:, :3])
    plan = plan_bank(viewed, few_sums(), sites=["part", "a0.0"], roles=["="], n=20)
    make_bank(viewed, few_sums(), plan, tmp_path / "bank")
    bank = load_bank(tmp_path / "bank", viewed, few_sums())
    part, head = (bank.activations(site, "=", torch.arange(20)) for site in bank.sites)
    torch.testing.assert_close(part, head[:, :3])
    with pytest.raises(UserError, match="holds part, a view that this model has not"):
        load_bank(tmp_path / "bank", probed(), few_sums())
    other = ProbedModel(gpt2(), convention="tl")
    other.add_view("part", of="a0.0", encode=2 * torch.eye(16)[:, :3])
    with pytest.raises(UserError, match="another model, or other views"):
        load_bank(tmp_path / "bank", other, few_sums())


@pytest.mark.slow
def test_two_processes_fill_it_together_and_it_is_that_of_one(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fill(tmp_path / "one")
    finally:
        torch.set_num_threads(threads)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--module"]
    command = [*launch, "tests.bank.fill", str(tmp_path / "two")]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
