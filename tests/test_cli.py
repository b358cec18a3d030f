from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from transformers.utils import logging

from inversionview import cli
from inversionview.studies import description, recipes, training_runs
from tests.preimage import tiny
from tests.preimage.tiny import SITES, gpt2, save_study
from tests.studies.test_training_runs import tiny_probed, tiny_recipe

READ = ["read", "addition", "615+861=1476", "--at", "=", "--site", "a0.0", "-n", "40"]
ONE_LINE = "inversionview: "


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return save_study(tmp_path_factory.mktemp("bundled") / "addition", name="addition")


@pytest.fixture(autouse=True)
def bundled(study, monkeypatch, tmp_path):
    monkeypatch.setattr(description, "bundled_studies", lambda: {"addition": study})
    monkeypatch.setitem(recipes.DECODER_RECIPES, "addition", tiny_recipe)
    monkeypatch.setitem(recipes.PROBED_RECIPES, "addition", tiny_probed)
    monkeypatch.setattr(training_runs, "get_task", lambda name: tiny.task())
    monkeypatch.setattr("inversionview.studies.study.get_task", lambda name: tiny.task())
    monkeypatch.setattr("inversionview.studies.evaluate.ACCURACY_INPUTS", 200)
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TRANSFORMERS_VERBOSITY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # so that what a command sets is undone
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def no_bars():
    """What the commands ask of transformers, which is imported by now."""
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture
def run(capsys):
    """Run a command in this process: exit code, standard output, standard error."""

    def go(*args: object) -> tuple[int, str, str]:
        code = cli.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out, err

    return go


def fails(run, *args: object, code: int = 2) -> str:
    """The one line on standard error of a command that must fail."""
    got, out, err = run(*args)
    assert got == code
    err = err.lstrip("\n")  # after ^C the terminal needs a new line
    assert out == ""
    assert err.startswith(ONE_LINE)
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err[len(ONE_LINE) : -1]


def test_read_shows_the_reading(run):
    code, out, _ = run(*READ)
    assert code == 0
    assert "a0.0 at =" in out
    assert "40 candidates drawn" in out


def test_read_json_prints_one_document_twice_the_same(run):
    code, out, _ = run(*READ, "--json", "--seed", 0)
    assert code == 0
    document = json.loads(out)
    fields = ("schema", "study", "query", "epsilon", "metric", "position_rule", "seed", "exact", "drawn", "distinct",
              "in_domain", "inside", "samples")  # fmt: skip
    assert set(fields) <= set(document)
    assert document["study"] == "addition"
    assert document["drawn"] == 40
    assert document["query"]["input"] == "615+861=1476"
    assert run(*READ, "--json", "--seed", 0)[1] == out
    assert run(*READ, "--json", "--seed", 1)[1] != out


def test_the_options_of_read_reach_the_document(run):
    options = ["--epsilon", "0.7", "--metric", "cosine", "--position-rule", "any", "--seed", "3"]
    ladder = ["--temperatures", "0.5, 1,2", "--noise", "0,0.1"]
    code, out, _ = run(*READ, *options, *ladder, "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["epsilon"], document["metric"], document["position_rule"]) == (0.7, "cosine", "any")
    assert document["seed"] == 3
    names = {name for sample in document["samples"] for name in sample["sources"]}
    assert "decoder t=0.5, noise 0.1" in names
    assert len(names) == 6


def test_read_without_a_position_takes_the_last(run):
    code, out, _ = run("read", "addition", "100+200=300", "--site", "a0.0", "-n", "5", "--json")
    assert code == 0
    assert json.loads(out)["query"]["at"] == "A3"


def test_read_writes_html_beside_json_and_replaces_an_older_file(run, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("old")
    code, out, err = run(*READ, "--json", "--html", report)
    assert code == 0
    json.loads(out)
    assert "report.html" in err
    page = report.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "615" in page or "6" in page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_study_in_a_folder_is_read_like_a_bundled_one(run, study):
    _, by_name, _ = run(*READ, "--json")
    _, by_path, _ = run("read", study, *READ[2:], "--json")
    assert by_path == by_name


def test_demo_reads_three_sites_writes_a_report_and_says_what_to_do_next(run, tmp_path, monkeypatch):
    real = ("a0.0", "a0.1", "x0.post")
    monkeypatch.setattr(cli, "DEMO_SITES", real)  # the tiny model has no more heads
    code, out, _ = run("demo")
    assert code == 0
    for site in real:
        assert f"{site} at =" in out
    assert "run through the model again" in " ".join(out.split())
    assert "inversionview-report.html" in out
    assert "Next:" in out
    page = (tmp_path / "inversionview-report.html").read_text()
    assert all(site in page for site in real)
    assert run("demo", "--html", tmp_path / "other.html")[0] == 0
    assert (tmp_path / "other.html").exists()


def test_what_demo_and_training_advise_are_commands_that_there_are(run, monkeypatch):
    monkeypatch.setattr(cli, "DEMO_SITES", SITES[1:2])
    _, out, _ = run("demo")
    advice = [line.split() for line in out.splitlines() if line.startswith("  inversionview ")]
    assert len(advice) >= 3
    for words in advice:
        assert words[1] in cli.cli.commands


def test_studies_lists_studies_and_recipes(run):
    code, out, err = run("studies")
    assert code == 0
    assert err == ""
    assert "addition" in out
    assert "a0.1" in out
    assert "recipe" in out


def test_evaluate_prints_rates_beside_floors(run):
    code, out, _ = run("evaluate", "addition", "-n", "10")
    assert code == 0
    assert "a0.0" in out
    assert "floor" in out
    assert "mean" in out
    code, out, _ = run("evaluate", "addition", "-n", "10", "--json")
    document = json.loads(out)
    assert code == 0
    assert set(document["sites"]) == set(SITES)
    assert set(document["mean"]) == {"any", "same"}
    assert run("evaluate", "addition", "-n", "10", "--json")[1] == out


def test_train_makes_a_study_that_read_takes(run, tmp_path):
    gpt2().save_pretrained(tmp_path / "model")
    out = tmp_path / "mine"
    code, printed, err = run("train", "addition", "--model", tmp_path / "model", "--out", out, "--steps", "3",
                             "--sites", "a0.0, x1.post", "--convention", "tl")  # fmt: skip
    assert code == 0
    assert "3 steps" in printed
    assert f"inversionview evaluate {out}" in printed
    assert "loss" in err
    assert run("read", out, "615+861=1476", "--site", "x1.post", "-n", "5")[0] == 0


def test_train_probed_makes_a_study_that_train_takes(run, tmp_path):
    out = tmp_path / "probed"
    code, printed, _ = run("train-probed", "addition", "--out", out, "--steps", "2")
    assert code == 0
    assert "exact match on held-out inputs: " in printed
    assert f"inversionview train {out}" in printed
    assert run("train", out, "--out", tmp_path / "study", "--steps", "2")[0] == 0


def interrupted(monkeypatch):
    """Send Ctrl-C at the second step, as a terminal does."""
    from inversionview import training

    class Bar:
        def __init__(self, about: str) -> None:
            pass

        def log(self, step, total, values):
            if step == 2:
                os.kill(os.getpid(), signal.SIGINT)

        def close(self):
            pass

    monkeypatch.setattr(training, "ProgressBar", Bar)


@pytest.mark.parametrize("command", [["train"], ["train-probed"]])
def test_ctrl_c_in_training_leaves_a_checkpoint_and_says_how_to_go_on(run, tmp_path, monkeypatch, command):
    if command == ["train"]:
        gpt2().save_pretrained(tmp_path / "model")
        command = ["train", "addition", "--model", tmp_path / "model"]
    else:
        command = ["train-probed", "addition"]
    with monkeypatch.context() as patched:
        interrupted(patched)
        line = fails(run, *command, "--out", tmp_path / "out", "--steps", "6", code=130)
    assert re.fullmatch(r"stopped after [23] steps; the same command with --resume goes on", line)
    assert list((tmp_path / "out" / "training").glob("checkpoint-*"))
    code, out, _ = run(*command, "--out", tmp_path / "out", "--steps", "6", "--resume")
    assert code == 0
    assert "6 steps" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--site a5.0", "not trained on site a5.0; the sites of addition are: x0.pre, a0.0"),
        ("--site head", "unknown site 'head'; the sites of addition are: x0.pre"),
        ("--at Z", "has no position 'Z'; its positions are F1 F2 F3 + S1"),
        ("--at 0", "is its begin token, which is never read"),
        ("--at 99", "has no position '99'"),
        ("--epsilon 0", "epsilon must be a number above 0"),
        ("--epsilon -1", "epsilon must be a number above 0"),
        ("--epsilon nan", "epsilon must be a number above 0"),
        ("--epsilon wide", "'wide' is not a valid float (see `inversionview read --help`)"),
        ("-n 0", "n must be at least 1"),
        ("--temperatures 0", "temperature must be above 0"),
        ("--temperatures hot", "--temperatures takes numbers separated by commas, such as 0.5,1,2, not 'hot'"),
        ("--noise ,", "give at least one noise"),
        ("--metric l1", "'euclidean', 'cosine'"),
        ("--position-rule x", "'same', 'any'"),
        ("--html no/such/folder/x.html", "cannot write no/such/folder/x.html"),
        ("--frobnicate", "No such option"),
    ],
)
def test_a_mistake_in_reading_is_one_line_and_exit_code_2(run, options, words):
    assert words in fails(run, "read", "addition", "615+861=1476", "--site", "a0.0", "-n", "5", *options.split())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("read nowhere 615+861=1476 --site a0.0", "there is no study 'nowhere': give a study's folder; the bundled"),
        ("read addition 615+861=1477 --site a0.0", "615+861 is 1476, not '1477'"),
        ("read addition 615x861=1476 --site a0.0", "'x' at character 3"),
        ("read addition 615+861=1476", "Missing option '--site'"),
        ("read addition", "Missing argument 'INPUT'"),
        ("evaluate nowhere", "there is no study 'nowhere'"),
        ("evaluate addition -n 0", "n must be at least 1"),
        ("train nowhere --out o", "the bundled studies are: addition; the recipes are: addition"),
        ("train addition --out o --steps 1 --minutes 1", "steps or minutes, and not both"),
        ("train addition --out o --minutes 0", "minutes must be more than 0"),
        ("train addition --out o --resume", "there is no run in o to resume"),
        ("train addition --out o --model no/model/at/all", "there is no folder"),
        ("train addition", "Missing option '--out'"),
        ("train-probed nowhere --out o", "there is no recipe 'nowhere' for a probed model; the recipes are: addition"),
        ("chat", "there is no command 'chat'; the commands are: demo, studies, read, train"),
        ("--frobnicate", "No such option"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, line, words):
    assert words in fails(run, *line.split())


def test_a_query_activation_of_norm_0_is_one_line(run, tmp_path):
    import torch

    from inversionview.decoder.loading import save_decoder
    from inversionview.decoder.training import make_decoder
    from inversionview.probed.model import ProbedModel
    from inversionview.sites import Site

    model = gpt2()
    with torch.no_grad():
        model.transformer.wte.weight[12] = model.transformer.wpe.weight[8] = 0
    probed = ProbedModel(model)
    folder = save_study(tmp_path / "zero", fingerprint=probed.fingerprint, convention="raw", sites=("x0.pre",))
    model.save_pretrained(folder / "probed")
    made = make_decoder(probed, tiny.task(), [Site.parse("x0.pre")], d_model=8, n_heads=1, n_statistics=64)
    save_decoder(made, folder / "decoder")
    assert "norm 0" in fails(run, "read", folder, "615+861=1476", "--at", "=", "--site", "x0.pre", "-n", "5")


@pytest.mark.parametrize(
    "file", ["study.json", "probed/model.safetensors", "decoder/model.safetensors", "decoder/config.json"]
)
def test_a_truncated_file_of_a_study_is_one_line(run, study, tmp_path, file):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[: len(content) // 2])
    assert file.split("/")[-1] in fails(run, "read", copy, *READ[2:])


def test_a_decoder_for_another_probed_model_is_one_line(run, study, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    gpt2(seed=8).save_pretrained(copy / "probed")
    assert "fingerprint" in fails(run, "read", copy, *READ[2:])


def test_an_output_folder_that_is_not_empty_or_cannot_be_written_is_one_line(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    (tmp_path / "file").write_text("")
    for name, words in (("full", "exists and is not empty"), ("file", "is a file"), ("file/below", "cannot write")):
        for command in (["train", "addition"], ["train-probed", "addition"]):
            assert words in fails(run, *command, "--out", tmp_path / name, "--steps", "1")


def test_a_full_disk_is_one_line(run, tmp_path, monkeypatch):
    report = tmp_path / "report.html"
    report.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inversionview.files.os.replace", full)
    code, _, err = run(*READ, "--html", report)
    assert code == 2
    assert err == f"inversionview: cannot write {report}: the disk is full; free some space and run it again\n"
    assert report.read_text() == "old"


def test_ctrl_c_ends_with_130(run, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("inversionview.studies.study.load_study", interrupt)
    assert fails(run, *READ, code=130) == "interrupted"


def test_an_unexpected_error_is_one_line_with_a_hint_and_its_trace_on_request(run, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("inversionview.studies.study.load_study", broken)
    line = fails(run, *READ, code=1)
    assert line == "RuntimeError: first line second line (set INVERSIONVIEW_TRACEBACK=1 to see where)"
    monkeypatch.setenv("INVERSIONVIEW_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="first line"):
        cli.main(READ)


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(run, args):
    code, out, err = run(*args)
    assert code == 0
    assert err == ""
    for command in ("demo", "studies", "read", "train", "train-probed", "evaluate"):
        assert f"  {command} " in out


def test_every_command_has_help(run):
    for command in cli.cli.commands:
        code, out, _ = run(command, "--help")
        assert code == 0
        assert out.startswith(f"Usage: inversionview {command}")


def test_the_module_runs_as_the_command_does():
    version = subprocess.run(
        [sys.executable, "-m", "inversionview", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("inversionview, version ")
    wrong = subprocess.run([sys.executable, "-m", "inversionview", "chat"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1


def test_standard_output_and_error_of_a_real_process_hold_nothing_else(study):
    """Progress bars and advice of the libraries below us would be on one of them."""
    done = subprocess.run(
        [sys.executable, "-m", "inversionview", "read", str(study), *READ[2:], "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    json.loads(done.stdout)
    assert done.stderr == ""
