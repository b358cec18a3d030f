"""Studies on the hub: pushed to a stand-in of it, and back by name, revision, and without it."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys

import huggingface_hub
import pytest
import torch

import inversionview as iv
from inversionview import cli
from inversionview.decoder.loading import save_decoder
from inversionview.errors import UserError
from inversionview.studies.description import MAP, PROBED, bundled_studies, read_description, write_description
from inversionview.studies.finding import cached_studies
from inversionview.studies.kept import keeps
from tests.preimage import tiny
from tests.studies.hub_server import Repo, standing_in

NAME = "somebody/sums"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with standing_in(monkeypatch, tmp_path / "cache") as hub:
        yield hub


@pytest.fixture
def study(tmp_path):
    """One on disk, with a decoder and a map."""
    folder = tmp_path / "sums"
    tiny.study().save(folder)
    (folder / MAP).write_text('{"schema": 1}')
    return iv.load_study(folder)


def asked(hub):
    """What the hub was asked for since the last time."""
    requests, hub.requests = hub.requests, []
    return requests


def same(one, other):
    """Two studies are equal: what is said of them, weights to the bit, and what a reading gives."""
    assert dataclasses.replace(one.parts.description, name="") == dataclasses.replace(other.parts.description, name="")
    assert one.probed.fingerprint == other.probed.fingerprint
    theirs = other.decoder.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in one.decoder.state_dict().items())
    readings = [
        study.preimage(study.query("500+990=1490", at="=", site="a0.0"), 50, explain=False).to_dict()
        for study in (one, other)
    ]
    assert readings[0]["samples"] == readings[1]["samples"]
    return True


def test_a_study_comes_back_equal(hub, study):
    commit = study.push_to_hub(NAME)
    back = iv.load_study(NAME)
    assert same(study, back)
    assert back.folder.name == commit
    assert (back.folder / MAP).read_text() == '{"schema": 1}'
    assert not keeps(back)  # what is made later does not go into the hub's cache


def test_a_revision_is_what_it_was_and_needs_no_hub_once_it_is_here(hub, study, tmp_path):
    first = study.push_to_hub(NAME)
    other = tiny.study(epsilon=0.2)
    second = other.push_to_hub(NAME, message="a wider ε")
    assert first != second
    assert iv.load_study(NAME).criterion.largest == 0.2
    assert iv.load_study(NAME, revision=first).criterion.largest == 0.5
    asked(hub)
    assert iv.load_study(f"{NAME}@{first}").criterion.largest == 0.5
    assert asked(hub) == []
    with pytest.raises(UserError, match="names a revision already: leave out revision 'main'"):
        iv.load_study(f"{NAME}@{first}", revision="main")


def test_a_branch_of_its_own(hub, study):
    study.push_to_hub(NAME)
    tiny.study(epsilon=0.2).push_to_hub(NAME, revision="wide")
    assert iv.load_study(NAME).criterion.largest == 0.5
    assert iv.load_study(NAME, revision="wide").criterion.largest == 0.2
    with pytest.raises(UserError, match="the study somebody/sums on the hub has no revision 'narrow'"):
        iv.load_study(NAME, revision="narrow")


def test_where_the_hub_is_down_the_local_copy_is_read_and_that_is_said(hub, study, caplog):
    commit = study.push_to_hub(NAME)
    iv.load_study(NAME)
    hub.down = True
    assert same(study, iv.load_study(NAME))
    assert f"the hub cannot be reached: study {NAME} is read from the local copy of commit {commit}" in caplog.text
    with pytest.raises(UserError, match="there is no folder somebody/others, no local copy of a study") as why:
        iv.load_study("somebody/others")
    assert "the hub cannot be reached" in str(why.value)
    assert "\n" not in str(why.value)


def test_offline_from_the_cache_in_another_process(hub, study, tmp_path):
    commit = study.push_to_hub(NAME)
    iv.load_study(NAME)
    program = f"import inversionview as iv; s = iv.load_study({NAME!r}); print(s.folder.name, s.probed.fingerprint)"
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_ENDPOINT": hub.address}
    asked(hub)
    run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
    assert run.stdout.split() == [commit, study.probed.fingerprint], run.stderr
    assert asked(hub) == []


def test_a_copy_that_lacks_a_file_is_not_read(hub, study):
    commit = study.push_to_hub(NAME)
    folder = iv.load_study(NAME).folder
    (folder / "decoder" / "model.safetensors").unlink()
    hub.down = True
    with pytest.raises(UserError, match="no local copy of a study"):
        iv.load_study(NAME, revision=commit)
    hub.down = False
    assert same(study, iv.load_study(NAME, revision=commit))


def test_what_a_study_has_no_more_goes_from_the_repository(hub, study):
    study.push_to_hub(NAME)
    repo = hub.repos[NAME]
    there = set(repo.commits[repo.branches["main"]])
    assert {"README.md", "study.json", MAP, "decoder/model.safetensors", "probed/model.safetensors"} <= there
    iv.Study(tiny.probed(), tiny.task()).push_to_hub(NAME)
    now = set(repo.commits[repo.branches["main"]])
    assert there - now == {MAP, "decoder/config.json", "decoder/model.safetensors"}
    assert iv.load_study(NAME).decoder is None


def test_code_and_pickled_weights_are_not_fetched(hub, study):
    study.push_to_hub(NAME)
    repo = hub.repos[NAME]
    files = dict.fromkeys(("probed/modeling.py", "decoder/pytorch_model.bin", "run.py"), b"raise SystemExit")
    repo.commit("main", {**repo.commits[repo.branches["main"]], **files})
    asked(hub)
    folder = iv.load_study(NAME).folder
    assert not [request for request in asked(hub) if request.endswith((".py", ".bin"))]
    assert not [file for name in files for file in [folder / name] if file.exists()]


def test_a_repository_that_is_no_study(hub):
    hub.repos["somebody/model"] = Repo()
    hub.repos["somebody/model"].commit("main", {"config.json": b"{}"})
    with pytest.raises(UserError, match=r"somebody/model on the hub is no study: it has no study\.json"):
        iv.load_study("somebody/model")
    with pytest.raises(UserError, match="there is no folder somebody/nothing, and no study of that name on the hub"):
        iv.load_study("somebody/nothing")


def test_who_may_not_write_is_told_how(hub, study, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(UserError, match="the hub does not let you write somebody/sums: log in with `hf auth login`"):
        study.push_to_hub(NAME)
    assert hub.repos == {}
    with pytest.raises(UserError, match="'sums' is no name of a repository on the hub: give user/name"):
        study.push_to_hub("sums")


def test_a_full_disk_is_not_the_hubs_fault(hub, study, monkeypatch):
    study.push_to_hub(NAME)
    iv.load_study(NAME)
    fetch = huggingface_hub.snapshot_download

    def full(*args, local_files_only=False, **options):
        if local_files_only:
            return fetch(*args, local_files_only=True, **options)
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(UserError, match="the study somebody/sums cannot be kept here: No space left on device"):
        iv.load_study(NAME)


def test_a_push_that_does_not_reach_the_hub(hub, study):
    hub.down = True
    with pytest.raises(UserError, match="somebody/sums was not pushed: the hub cannot be reached") as why:
        study.push_to_hub(NAME)
    assert "\n" not in str(why.value)


def test_the_card_says_what_is_read_and_rates_beside_their_floors(hub, study):
    evaluation = study.evaluate(n=20, cells=0)
    study.push_to_hub(NAME, license="mit", evaluation=evaluation)
    card = (iv.load_study(NAME).folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: inversionview\nlicense: mit\n")
    rates = evaluation.sites["a0.0"].any
    assert f"| a0.0 | {rates.rate:.3f} ± {rates.se:.3f} | {rates.floor:.3f} |" in card
    assert f'iv.load_study("{NAME}")' in card
    assert study.probed.fingerprint[:12] in card
    study.push_to_hub(NAME)
    card = (iv.load_study(NAME).folder / "README.md").read_text()
    assert "were not measured when it was pushed" in card
    assert "named no licence" in card
    with pytest.raises(UserError, match="the evaluation is of study other, and this is tiny"):
        study.push_to_hub(NAME, evaluation=dataclasses.replace(evaluation, study="other"))


def test_a_model_that_is_named_on_the_hub_stays_there(hub, study, tmp_path):
    """It is no part of the repository, which names it with its revision, and is fetched from where it is."""
    repo = hub.repos.setdefault("somebody/model", Repo())
    commit = repo.commit("main", {file.name: file.read_bytes() for file in sorted((study.folder / PROBED).iterdir())})
    shutil.rmtree(study.folder / PROBED)
    described = dataclasses.replace(
        read_description(study.folder), probed="somebody/model", loading={"revision": commit}, bank="/home/me/bank"
    )
    write_description(study.folder, described)
    iv.load_study(study.folder).push_to_hub(NAME)
    back = iv.load_study(NAME)
    assert back.parts.description == dataclasses.replace(described, bank="")
    assert not (back.folder / PROBED).exists()
    assert back.probed.fingerprint == study.parts.fingerprint
    card = (back.folder / "README.md").read_text()
    assert "base_model: somebody/model" in card
    assert f"revision `{commit}`" in card


def test_saving_a_study_loses_nothing_that_is_said_of_it(study, tmp_path):
    described = dataclasses.replace(
        read_description(study.folder), recipe="sums", decoder_from="self", lora_rank=4, bank="/somewhere"
    )
    write_description(study.folder, described)
    iv.load_study(study.folder).save(tmp_path / "again")
    assert read_description(tmp_path / "again") == described
    assert (tmp_path / "again" / MAP).read_text() == (study.folder / MAP).read_text()


def test_studies_lists_those_that_are_here(hub, study, capsys):
    assert cached_studies() == {}
    first = study.push_to_hub(NAME)
    iv.load_study(NAME)
    study.push_to_hub(NAME, half=True)
    iv.load_study(NAME)
    here = cached_studies()
    assert list(here) == [NAME, f"{NAME}@{first}"]
    (here[NAME] / "study.json").unlink()
    (here[NAME] / "study.json").write_text("{")
    assert cli.main(["studies"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"{NAME} from the hub" in out
    assert all(name in out for name in bundled_studies())


def test_on_the_command_line(hub, study, capsys):
    study.push_to_hub(NAME)
    asked(hub)
    assert cli.main(["read", NAME, "500+990=1490", "--site", "a0.0", "--at", "=", "-n", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["query"]["input"] == "500+990=1490"
    assert asked(hub).count(f"GET /api/models/{NAME}") == 1, "the hub is asked once for the newest"


def test_a_decoder_of_16_bits(hub, study, tmp_path):
    study.push_to_hub(NAME, half=True)
    save_decoder(study.decoder, tmp_path / "half", half=True)
    back = iv.load_study(NAME)
    assert (back.folder / "decoder/model.safetensors").read_bytes() == (
        tmp_path / "half/model.safetensors"
    ).read_bytes()
