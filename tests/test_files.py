"""Files: whole or not at all, and every fault a UserError that names the file."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from inversionview import files
from inversionview.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def small_files_only():
    """A real failure to write: the kernel lets no file grow beyond 1 MiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_written_is_read_back(tmp_path):
    content = {"β": [1, 2.5, None], "a": {"x": "é"}}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json", "thing") == content
    tensors = {"w": torch.randn(3, 4), "n": torch.arange(5), "h": torch.randn(2).bfloat16(), "t": torch.randn(3, 2).T}
    files.write_tensors(tmp_path / "a.safetensors", tensors, {"step": "7"})
    read = files.read_tensors(tmp_path / "a.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert files.read_metadata(tmp_path / "a.safetensors") == {"step": "7"}
    assert names(tmp_path) == ["a.json", "a.safetensors"]


def test_files_get_the_usual_permissions(tmp_path):
    files.write_atomic(tmp_path / "text", "x")
    files.write_tensors(tmp_path / "tensors", {"x": torch.zeros(1)})
    with files.atomic_folder(tmp_path / "folder") as part:
        save_file({"x": torch.zeros(1)}, part / "tensors")
    (tmp_path / "plain").touch()
    plain = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "text").stat().st_mode == plain
    assert (tmp_path / "tensors").stat().st_mode == plain
    assert (tmp_path / "folder" / "tensors").stat().st_mode == plain


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [
    lambda path: files.write_atomic(path, b"x" * 1_100_000),
    lambda path: files.write_tensors(path, {"x": torch.zeros(1_100_000)}),
])  # fmt: skip
def test_a_write_that_fails_leaves_the_old_file(tmp_path, write):
    path = tmp_path / "kept"
    path.write_text("old")
    with small_files_only(), pytest.raises(UserError, match=r"cannot write .*kept: .*[Ff]ile too large") as caught:
        write(path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["kept"]


def test_a_full_disk_is_called_that(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"a\.json: the disk is full"):
        files.write_json(tmp_path / "a.json", {})
    assert names(tmp_path) == []


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "study"
    with files.atomic_folder(path) as part:
        (part / "inner").mkdir()
        (part / "inner" / "a").write_text("1")
        assert not path.exists()
    assert names(tmp_path) == ["study"]
    with pytest.raises(ZeroDivisionError), files.atomic_folder(path) as part:
        (part / "b").write_text(str(1 // 0))
    assert (names(tmp_path), names(path)) == (["study"], ["inner"])
    with files.atomic_folder(path) as part:
        (part / "b").write_text("2")
    assert (names(tmp_path), names(path)) == (["study"], ["b"])


def test_a_folder_write_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "study"
    path.mkdir()
    with (
        small_files_only(),
        pytest.raises(UserError, match=r"cannot write .*study: File too large"),
        files.atomic_folder(path) as part,
    ):
        (part / "big").write_bytes(b"x" * 1_100_000)
    assert names(tmp_path) == ["study"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "study"
    with files.atomic_folder(path) as part:
        (part / "a").write_text("1")
    path.rename(tmp_path / ".study.old")  # where a kill leaves it
    files.restore_folder(path)
    assert names(path) == ["a"]


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00", b"nonsense"])
def test_damaged_json_names_the_file(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"the study .*a\.json is damaged or truncated: ") as caught:
        files.read_json(tmp_path / "a.json", "study")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 7, 40, -4])
def test_truncated_tensors_name_the_file(tmp_path, keep):
    path = tmp_path / "a.safetensors"
    files.write_tensors(path, {"x": torch.zeros(64)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"a\.safetensors is damaged or truncated: "):
        files.read_tensors(path)
    with pytest.raises(UserError, match=r"a\.safetensors is damaged or truncated: "):
        files.read_metadata(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no study at .*a\.json"):
        files.read_json(tmp_path / "a.json", "study")
    with pytest.raises(UserError, match=r"there is no tensor file at .*a\.safetensors"):
        files.read_tensors(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="cannot read the study"):
        files.read_json(tmp_path, "study")
    with pytest.raises(UserError, match="cannot read the tensor file"):
        files.read_tensors(tmp_path)


def test_a_claimed_folder_was_empty_and_is_writable(tmp_path):
    path = tmp_path / "a" / "b"
    with files.claimed(path) as held:
        assert held == path
        assert names(path) == [".claim"]
        (path / "x").write_text(json.dumps(1))
    assert names(path) == ["x"]
    with pytest.raises(UserError, match="exists and is not empty"), files.claimed(path):
        pass
    with files.claimed(path, resume=True):
        assert names(path) == [".claim", "x"]
    with pytest.raises(UserError, match="is a file"), files.claimed(path / "x"):
        pass
    with pytest.raises(UserError, match="cannot write into the folder"), files.claimed(path / "x" / "y"):
        pass
    assert names(path) == ["x"]


def test_a_claimed_folder_that_stays_empty_goes_again_with_its_parents(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.claimed(tmp_path / "a" / "b"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    (tmp_path / "a").mkdir()
    with files.claimed(tmp_path / "a"):
        pass
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_is_claimed_by_one_at_a_time(tmp_path, resume):
    said = rf"out is being written by another run \(process {os.getpid()} on \S+\): wait until that is done"
    other_way = tmp_path / "link"
    other_way.symlink_to("out")
    with files.claimed(tmp_path / "out"), pytest.raises(UserError, match=said.replace("out", "link", 1)):
        files.claimed(other_way, resume=resume).__enter__()
    with files.claimed(tmp_path / "out", resume=resume):
        pass


def test_who_waits_gets_a_folder_when_it_is_let_go(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        with files.claimed(tmp_path):
            waiting = pool.submit(files.claimed(tmp_path, resume=True, wait=30).__enter__)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
        assert waiting.result(timeout=30) == tmp_path


KILLED = """
import os, signal, sys
from pathlib import Path
from inversionview import files
with files.claimed(sys.argv[1]), files.atomic_folder(Path(sys.argv[1]) / "model") as part:
    (part / "half").write_text("1")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_claimed_is_free_and_what_it_had_not_finished_goes(tmp_path):
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert names(out) == [".claim", ".model.claim", ".model.part"]
    with files.claimed(out), files.atomic_folder(out / "model"):
        pass
    assert names(out) == ["model"]


def test_two_that_write_one_folder_do_not_mix(tmp_path):
    with files.atomic_folder(tmp_path / "study", new=True) as part:
        (part / "a").write_text("1")
        with pytest.raises(UserError, match="study is being written by"), files.atomic_folder(tmp_path / "study"):
            pass
    with pytest.raises(UserError, match="not empty"), files.atomic_folder(tmp_path / "study", new=True):
        pass
    assert (names(tmp_path), names(tmp_path / "study")) == (["study"], ["a"])


def test_entries_appear_in_a_claimed_folder_together_and_replace_what_was_there(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "old").touch()
    (tmp_path / "kept").touch()
    with pytest.raises(ZeroDivisionError), files.filled(tmp_path, "study.json") as part:
        (part / "study.json").write_text(str(1 // 0))
    assert names(tmp_path) == ["kept", "task"]
    with files.filled(tmp_path, "study.json") as part:
        (part / "study.json").write_text("{}")
        (part / "task").mkdir()
        (part / "task" / "new").touch()
        assert names(tmp_path) == [".new.part", "kept", "task"]
    assert (names(tmp_path), names(tmp_path / "task")) == (["kept", "study.json", "task"], ["new"])


@pytest.mark.parametrize("fault", [
    Exception("No space left on device (os error 28)"),  # of tokenizers
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
])  # fmt: skip
def test_a_full_disk_is_known_when_rust_says_it(tmp_path, fault):
    with pytest.raises(UserError, match="the disk is full"), files.atomic_folder(tmp_path / "model"):
        raise fault
    assert names(tmp_path) == []


@pytest.fixture
def closed():
    """A folder that may be looked at and not written to; root, who may write anywhere, is somebody else meanwhile."""
    with tempfile.TemporaryDirectory() as folder:  # others may not enter pytest's
        Path(folder).chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield Path(folder)
        os.seteuid(user)


def test_a_folder_without_permission_is_refused(closed):
    with pytest.raises(UserError, match="cannot write into the folder"):
        files.claimed(closed).__enter__()


def test_a_folder_that_may_not_be_looked_into_is_refused(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match="cannot write into the folder"):
        files.claimed(tmp_path).__enter__()
