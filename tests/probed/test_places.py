"""Where models lie: the hub's own layout of links, repositories of GGUF files, revisions, and what is not there."""

import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants

from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.probed.places import place_of
from tests.probed.tiny import tiny
from tests.tokenizers import byte_tokenizer

EARLY, LATE = "a" * 40, "b" * 40


@pytest.fixture
def hub_copy(tmp_path, monkeypatch):
    """What the hub's client keeps of a model: blobs, and a folder of links for each of two revisions."""
    repo = tmp_path / "hub" / "models--some--one"
    for commit, family in ((EARLY, "gpt2"), (LATE, "llama")):
        snapshot, blobs = repo / "snapshots" / commit, repo / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir(exist_ok=True)
        tiny(family).save_pretrained(tmp_path / commit, max_shard_size="5KB")
        byte_tokenizer().save_pretrained(tmp_path / commit)
        for file in (tmp_path / commit).iterdir():
            blob = blobs / f"{commit[:4]}-{file.name}"
            shutil.move(file, blob)
            (snapshot / file.name).symlink_to(blob)
    refs = repo / "refs"
    refs.mkdir()
    (refs / "main").write_text(LATE)
    (refs / "step1000").write_text(EARLY)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return repo


@pytest.fixture
def offline(monkeypatch):
    """The hub's own client, at an address where nobody listens."""
    api = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api(endpoint="http://127.0.0.1:9"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def type_of(place, **options):
    return ProbedModel.from_pretrained(place, device="cpu", **options).model.config.model_type


def test_a_copy_by_its_name_and_revision_without_the_hub(hub_copy, offline):
    snapshot = huggingface_hub.snapshot_download
    with pytest.MonkeyPatch.context() as patch:
        where = str(hub_copy.parent)
        patch.setattr(
            huggingface_hub, "snapshot_download", lambda *args, **options: snapshot(*args, cache_dir=where, **options)
        )
        assert type_of("some/one") == "llama"
        assert type_of("some/one", revision="step1000") == "gpt2"
        assert type_of("some/one", revision=EARLY) == "gpt2"
        with pytest.raises(
            UserError, match="no local copy of a model of that name at revision step2000, and the hub"
        ) as why:
            place_of("some/one", "step2000")
    assert "\n" not in str(why.value)


def test_the_folder_in_which_the_hub_keeps_all_revisions(hub_copy):
    assert type_of(hub_copy) == "llama"
    assert type_of(hub_copy, revision="step1000") == "gpt2"
    assert type_of(hub_copy, revision=EARLY[:7]) == "gpt2"
    assert type_of(hub_copy / "snapshots" / EARLY) == "gpt2"
    with pytest.raises(UserError, match="holds no copy of revision step2000"):
        place_of(hub_copy, "step2000")


def test_a_folder_has_no_revisions(tmp_path):
    with pytest.raises(UserError, match=r"only models of the hub have revisions: leave out revision 'main'"):
        place_of(tmp_path, "main")


class Repository:
    """Stands for the hub: the files of one repository, none of them here yet."""

    def __init__(self, folder, files):
        self.folder, self.files, self.fetched = folder, files, []

    def snapshot_download(self, name, revision=None, allow_patterns=None, local_files_only=False):
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        self.fetched += allow_patterns
        return str(self.folder)

    def model_info(self, name, revision, timeout):
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in self.files])


@pytest.fixture
def repository(tmp_path, monkeypatch):
    repository = Repository(tmp_path, [])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", repository.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: repository)
    return repository


def test_of_a_repository_of_gguf_files_the_one_that_is_meant_is_fetched(repository, tmp_path):
    repository.files = ["README.md", "tiny.Q4_K_M.gguf", "mmproj-tiny.gguf"]
    assert place_of("some/tiny-GGUF") == tmp_path / "tiny.Q4_K_M.gguf"
    repository.files.append("tiny.Q8_0.gguf")
    with pytest.raises(UserError, match=r"holds 2 GGUF files: say which, some/tiny-GGUF/FILE, of tiny\.Q4_K_M\.gguf"):
        place_of("some/tiny-GGUF")
    assert place_of("some/tiny-GGUF/tiny.Q8_0.gguf") == tmp_path / "tiny.Q8_0.gguf"
    assert repository.fetched == ["tiny.Q4_K_M.gguf", "tiny.Q8_0.gguf"]
    with pytest.raises(UserError, match=r"some/tiny-GGUF on the hub has no file tiny\.Q2\.gguf"):
        place_of("some/tiny-GGUF/tiny.Q2.gguf")


def test_of_a_repository_with_both_the_weights_as_they_are_saved_are_fetched(repository, tmp_path):
    repository.files = ["config.json", "model.safetensors", "tiny.gguf"]
    assert place_of("some/tiny") == tmp_path
    assert "model*.safetensors" in repository.fetched
    assert not any(pattern.endswith("gguf") for pattern in repository.fetched)


def test_a_revision_that_there_is_not(repository, monkeypatch):
    response = SimpleNamespace(headers={}, request=None, status_code=404, text="")

    def no_such(name, revision, timeout):
        raise huggingface_hub.errors.RevisionNotFoundError("404", response=response)

    monkeypatch.setattr(repository, "model_info", no_such)
    with pytest.raises(UserError, match="the model some/tiny on the hub has no revision 'step7'"):
        place_of("some/tiny", "step7")
