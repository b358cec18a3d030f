from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from transformers.utils import logging

from inversionview import cli
from inversionview.preimage.epsilon import calibration
from inversionview.preimage.epsilon.null import null_epsilon
from inversionview.studies import description, recipes, training_runs
from inversionview.studies.verbs import map as mapping
from inversionview.tasks.addition.task import AdditionTask
from inversionview.tasks.base import Start
from tests.preimage import tiny
from tests.preimage.tiny import SITES, gpt2, save_study
from tests.studies.runs import tiny_probed, tiny_recipe

READ = ["read", "addition", "615+861=1476", "--at", "=", "--site", "a0.0", "-n", "40"]
SUM = "500+990=1490"
"""In the domain of the tests, which the sum above is not."""
EXACT = ["read", "addition", SUM, "--at", "=", "--site", "x0.post", "--exact"]
MAP = ["map", "addition", "--sites", "x0.post,x1.post", "--queries", "3"]
TEST = ["test", "addition", SUM, "F1", "--at", "=", "--sites", "x0.post,a0.1", "--random-queries", "9"]
VALIDATE = ["validate", "addition", "--cells", "3", "-n", "60"]
ONE_LINE = "inversionview: "


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return save_study(tmp_path_factory.mktemp("bundled") / "addition", name="addition")


@pytest.fixture(autouse=True)
def bundled(study, monkeypatch, tmp_path):
    monkeypatch.setattr(description, "bundled_studies", lambda: {"addition": study})
    monkeypatch.setitem(recipes.DECODER_RECIPES, "addition", tiny_recipe)
    monkeypatch.setitem(recipes.PROBED_RECIPES, "addition", tiny_probed)
    monkeypatch.setattr(training_runs, "get_task", lambda name, *of: tiny.task())
    monkeypatch.setattr("inversionview.studies.folder.get_task", lambda name, *of: tiny.few_sums())
    monkeypatch.setattr(calibration, "QUERY_PAIRS", 1000)
    monkeypatch.setattr(mapping, "null_epsilon", partial(null_epsilon, n=600))
    monkeypatch.setattr("inversionview.studies.verbs.hypotheses.BASE_DRAWS", 1000)
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 200)
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
    assert 'a0.0 at "="' in out
    assert "40 candidates drawn" not in out
    assert "40 candidates drawn" in run(*READ, "--details")[1]
    assert run(*READ, "--rows", "misses")[1].count("MISSES") == 0
    assert "--rows misses is for readings without --exact" in fails(run, *READ, "--exact", "--rows", "misses")


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
    assert "prior" in names
    assert len(names) == 7


@pytest.mark.parametrize(("share", "drawn"), [("0", None), ("0.5", 20)])
def test_the_share_of_the_prior_is_chosen(run, share, drawn):
    _, out, _ = run(*READ, "--prior-share", share, "--json")
    sources = {source["name"]: source["drawn"] for source in json.loads(out)["sources"]}
    assert sources.get("prior") == drawn
    assert sum(sources.values()) == 40


def test_read_draws_beside_the_activation_when_asked(run):
    _, out, _ = run(*READ, "-n", 100, "--also", "cosine:0.9,varied,varied:cosine", "--json")
    sources = {source["name"]: source["drawn"] for source in json.loads(out)["sources"]}
    beside = ["decoder t=1, cosine 0.9", "decoder varied", "decoder varied, cosine 0.9/0.85/0.8/0.75"]
    assert sources == {"prior": 10, "decoder t=1": 90} | dict.fromkeys(beside, 25)


def test_the_papers_rule_of_repetition_goes_by_counts_that_are_given(run, tmp_path):
    (tmp_path / "counts.json").write_text(json.dumps([7] * 10 + [0] * 5))
    given = ("-n", 600, "--also", "unrepeated", "--frequencies", tmp_path / "counts.json")
    documents = [json.loads(run(*READ, *given, "--frequent", least, "--json")[1]) for least in (7, 8)]
    drawn = [{source["name"]: source for source in document["sources"]} for document in documents]
    assert [of["decoder unrepeated"]["drawn"] for of in drawn] == [150, 150]
    assert documents[0]["samples"] != documents[1]["samples"]
    code, _, err = run(*READ, *given, "--frequent", 0)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "frequent must be at least 1" in err
    _, _, err = run(*READ, "-n", 100, "--also", "unrepeated")
    assert "no frequencies of tokens are given" in err


def test_read_exact_counts_everything_and_shows_the_nearest(run):
    code, out, err = run(*EXACT, "-n", "3", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["exact"] is True
    assert len(document["samples"]) == 3
    assert (document["domain"], document["drawn"], document["distinct"], document["in_domain"]) == (1156,) * 4
    assert 3 < document["inside"] < 1156
    assert document["size"]["inputs"] == document["inside"]
    assert document["size"]["interval"] is None
    everything = json.loads(run(*EXACT, "-n", "2000", "--json")[1])
    assert len(everything["samples"]) == everything["inside"] == document["inside"]
    assert everything["samples"][:3] == document["samples"]
    distances = [sample["distance"] for sample in everything["samples"]]
    assert distances == sorted(distances)
    assert max(distances) <= 0.5 == document["epsilon"]
    assert SUM in {sample["input"] for sample in everything["samples"]}
    assert all(sample["inside"] for sample in everything["samples"])
    by_epsilon = {point["epsilon"]: point["inside"] for point in document["curve"]}
    assert by_epsilon[0.2] == sum(distance <= 0.2 for distance in distances)
    assert run(*EXACT, "-n", "3", "--json")[1] == out


def test_read_exact_takes_the_other_options(run):
    _, out, _ = run(*EXACT, "--metric", "cosine", "--position-rule", "any", "--epsilon", "0.02", "--json")
    document = json.loads(out)
    assert (document["metric"], document["position_rule"], document["epsilon"]) == ("cosine", "any", 0.02)
    assert document["bits"]


def test_read_exact_says_so_in_the_terminal_and_in_html(run, tmp_path):
    code, out, _ = run(*EXACT, "-n", "3", "--html", tmp_path / "r.html")
    assert code == 0
    n = json.loads(run(*EXACT, "-n", "1", "--json")[1])["inside"]
    assert f"exactly {n} of 1,156 inputs" in " ".join(out.split())
    assert "exactly" in (tmp_path / "r.html").read_text()


def test_an_index_is_kept_and_answers_the_same(run, tmp_path):
    code, out, err = run(*EXACT, "--index", tmp_path / "index", "--json")
    assert (code, err) == (0, "")
    assert run(*EXACT, "--index", tmp_path / "index", "--json")[1] == out
    without, document = json.loads(run(*EXACT, "--json")[1]), json.loads(out)
    for one, other in zip(without.pop("samples"), document.pop("samples"), strict=True):
        assert one["distance"] == pytest.approx(other["distance"], abs=1e-6)
    assert document == without
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["x0.post"]
    assert run(*EXACT, "--index", tmp_path / "index", "--position-rule", "any")[0] == 0
    for path in (tmp_path / "index" / "x0.post").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert "index" in fails(run, *EXACT, "--index", tmp_path / "index")


@pytest.mark.parametrize(("rule", "more"), [("null:0.2", ()), ("null:0.2", ("--exact",)), ("causal:0.5", ("--exact",))])
def test_epsilon_by_a_rule(run, rule, more):
    command = ["read", "addition", SUM, "--at", "A4", "--site", "x1.post", "--epsilon", rule, *more]
    code, out, _ = run(*command, "-n", "20", "--json")
    document = json.loads(out)
    assert code == 0
    assert 0 < document["epsilon"] != 0.5
    assert document["epsilon_from"].startswith(f"{rule}: ")
    assert run(*command, "-n", "20", "--json")[1] == out
    assert f"ε = {document['epsilon']:g}" in run(*command, "-n", "20")[1]


def test_map_prints_every_cell(run, tmp_path):
    code, out, _ = run(*MAP)
    assert code == 0
    assert "x0.post" in out
    assert "F1" in out
    code, out, err = run(*MAP, "--json", "--html", tmp_path / "map.html")
    document = json.loads(out)
    assert code == 0
    assert "map.html" in err
    assert (tmp_path / "map.html").read_text().startswith("<!DOCTYPE html>")
    assert (document["study"], document["schema"], document["queries"], document["seed"]) == ("addition", 1, 3, 0)
    assert {cell["site"] for cell in document["cells"]} == {"x0.post", "x1.post"}
    assert len(document["cells"]) == 24
    for cell in document["cells"]:
        assert set(cell["bits"]) == set(tiny.task().features)
        assert {"bits", "of", "se"} <= set(cell["bits"]["F1"])
    assert run(*MAP, "--json")[1] == out
    assert run(*MAP, "--json", "--seed", 1)[1] != out


def test_map_of_a_study_is_the_one_that_is_kept_with_it_until_another_is_measured(run, study, monkeypatch, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    monkeypatch.setattr(mapping, "QUERIES", 3)
    code, out, _ = run("map", copy, "--json")
    assert code == 0
    assert json.loads(out)["queries"] == 3
    kept = json.loads((copy / "map.json").read_text())["map"]
    assert kept == json.loads(out)
    marked = json.dumps(json.loads((copy / "map.json").read_text()) | {"map": kept | {"seed": 17}})
    (copy / "map.json").write_text(marked)
    with monkeypatch.context() as patched:
        patched.setattr("inversionview.studies.study.load_study", None)  # no study is opened for it
        assert json.loads(run("map", copy, "--json")[1]) == kept | {"seed": 17}
        assert run("map", copy, "--html", tmp_path / "map.html")[0] == 0
    for options in (["--seed", "1"], ["--sites", "x0.post"], [SUM], ["--where", "F1 == 5"], ["--epsilon", "0.4"]):
        assert json.loads(run("map", copy, *options, "--json")[1])["seed"] == options.count("1")
        assert (copy / "map.json").read_text() == marked
    assert json.loads(run("map", copy, "--measure", "--json")[1]) == kept
    assert json.loads((copy / "map.json").read_text())["map"] == kept


def test_map_of_one_feature_says_where_it_is(run, study, monkeypatch, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    monkeypatch.setattr(mapping, "QUERIES", 3)
    code, out, _ = run("map", copy, "--feature", "F1")
    assert code == 0
    assert out.splitlines()[0].endswith("what each activation knows, in bits about F1")
    assert " F1  x0.pre at F1" in out
    code, _, err = run("map", copy, "--feature", "G9")
    assert (code, err.count("\n")) == (2, 1)
    assert "the map has no feature 'G9': it has" in err
    monkeypatch.setattr("inversionview.studies.study.Study.map", None)  # nothing is measured for it
    code, _, err = run("map", copy, "--measure", "--feature", "G9")
    assert (code, err.count("\n")) == (2, 1)
    assert "has no feature 'G9'; its features are:" in err


def test_a_kept_map_of_another_model_is_measured_anew(run, study, monkeypatch, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    monkeypatch.setattr(mapping, "QUERIES", 3)
    assert run("map", copy)[0] == 0
    kept = json.loads((copy / "map.json").read_text())
    (copy / "map.json").write_text(json.dumps(kept | {"fingerprint": "another", "map": kept["map"] | {"seed": 17}}))
    assert json.loads(run("map", copy, "--json")[1]) == kept["map"]


def test_map_of_one_input_is_what_read_exact_says(run):
    code, out, _ = run("map", "addition", SUM, "--sites", "x0.post", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["input"], document["queries"], document["epsilon"]) == (SUM, 1, 0.5)
    [cell] = [cell for cell in document["cells"] if cell["at"] == "="]
    reading = json.loads(run(*EXACT, "-n", "1", "--json")[1])
    assert cell["log2_domain_over_preimage"] == pytest.approx(np.log2(1156 / reading["inside"]), abs=1e-4)
    for known in reading["bits"]:
        assert cell["bits"][known["name"]]["bits"] == pytest.approx(known["bits"], abs=1e-4)
    assert SUM in run("map", "addition", SUM, "--sites", "x0.post")[1]


def test_map_with_an_epsilon_of_each_cell_and_of_inputs_that_meet_a_condition(run):
    code, out, _ = run(*MAP, "--epsilon", "null:0.2", "--where", "C1 == 'yes'", "--metric", "cosine", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["epsilon"], document["epsilon_rule"], document["where"]) == (None, "null:0.2", "C1 == 'yes'")
    assert document["metric"] == "cosine"
    assert len({cell["epsilon"] for cell in document["cells"]}) > 5


def test_map_of_another_model_needs_no_decoder(run, tmp_path):
    gpt2(seed=9).save_pretrained(tmp_path / "other")
    code, out, _ = run(*MAP, "--model", tmp_path / "other", "--convention", "raw", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["study"] == "other"
    assert document["cells"] != json.loads(run(*MAP, "--json")[1])["cells"]


def test_test_prints_each_site_beside_its_controls(run):
    code, out, _ = run(*TEST)
    assert code == 0
    assert "x0.post" in out
    assert "a0.1" in out
    code, out, err = run(*TEST, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert (document["schema"], document["study"], document["input"]) == (1, "addition", SUM)
    assert [found["site"] for found in document["tests"]] == ["x0.post", "a0.1"]
    for found in document["tests"]:
        assert found["exact"] is True
        assert found["p_corrected"] >= found["p_value"] >= 0.1
        assert 0 <= found["consistency"] <= 1
    assert run(*TEST, "--json")[1] == out


def test_test_takes_an_expression_and_draws_where_asked(run):
    command = ["test", "addition", SUM, "F1 + S1 == 14", "--at", "=", "--sites", "x0.post", "--random-queries", "3"]
    code, out, _ = run(*command, "--sampled", "-n", "40", "--epsilon", "0.7", "--seed", "2", "--json")
    [found] = json.loads(out)["tests"]
    assert code == 0
    assert (found["exact"], found["seed"], found["site"]) == (False, 2, "x0.post")
    assert "F1 + S1 == 14" in found["name"]


def test_heads_are_shown_in_their_order(run):
    code, out, err = run("heads", "addition", "--at", "=", "-n", "30", "--least", "0.3")
    assert code == 0
    assert "over 30 inputs at =; counts: share above 0.3" in err
    code, said, err = run("heads", "addition", "--at", "=", "-n", "30", "--least", "0.3", "--json")
    document = json.loads(said)
    assert (code, err) == (0, "")
    assert (document["study"], document["at"], document["seed"], document["n"]) == ("addition", "=", 0, 30)
    assert [part["site"] for part in document["parts"]] == ["x0.pre", "a0.0", "a0.1", "x1.pre", "a1.0", "a1.1"]
    counts = {part["site"]: part["counts"] for part in document["parts"] if part["site"].startswith("a")}
    assert 0 < sum(counts.values()) < len(counts)
    assert sorted(counts, key=out.index) == sorted(counts, key=lambda head: -counts[head])
    assert run("heads", "addition", "--at", "=", "-n", "30", "--least", "0.3", "--seed", "1", "--json")[1] != said


def test_validate_prints_coverage(run):
    code, out, err = run(*VALIDATE, "--json")
    document = json.loads(out)
    assert code == 0
    assert err.strip() == ""
    assert (document["schema"], document["study"], document["n"], len(document["cells"])) == (1, "addition", 60, 3)
    assert (document["temperatures"], document["prior_share"], document["seed"]) == ([1.0, 2.0], 0.4, 0)
    assert {"size", "reach"} <= {row["estimator"] for row in document["estimators"]}
    assert run(*VALIDATE, "--json")[1] == out
    code, out, _ = run(*VALIDATE, "--temperatures", "1", "--prior-share", "0.9", "--seed", "1")
    assert code == 0
    assert "coverage" in out
    assert "size" in out


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


def demo_reads(monkeypatch, *sites: str) -> None:
    places = tuple((site, "=") for site in sites)
    monkeypatch.setattr(AdditionTask, "start", Start("615+861=1476", places))


def test_demo_reads_one_activation_says_whether_it_is_used_and_what_to_do_next(run, tmp_path, monkeypatch):
    demo_reads(monkeypatch, "a0.1", "a0.0")
    code, out, _ = run("demo")
    assert code == 0
    assert out.count("\nMEMBERS") == 1
    assert 'a0.1 at "="' in out
    assert "run again" in " ".join(out.split())
    used, report, *advice = out.partition("\nTRUST")[2].split("\n\n")[1:]
    assert used.startswith(("Used: activations of members", "Not used: ", "Not known, because"))
    assert report == "The same in a browser: inversionview-report.html"
    assert advice[0].startswith("Next:\n  inversionview demo --all")
    assert len(out.splitlines()) <= 45
    page = (tmp_path / "inversionview-report.html").read_text()
    assert "a0.1" in page
    assert run("demo", "--html", tmp_path / "other.html")[0] == 0
    assert (tmp_path / "other.html").exists()


def test_demo_reads_the_study_that_is_named(run, monkeypatch):
    demo_reads(monkeypatch, "a0.1", "a0.0")
    assert run("demo", "addition")[1] == run("demo")[1]
    code, _, err = run("demo", "counting")  # which is not bundled here
    assert code == 2
    assert "there is no study 'counting'" in err
    code, _, err = run("demo", "chess")
    assert (code, err.count("\n")) == (2, 1)


def test_demo_of_all_reads_one_activation_of_each_study_or_all_of_one(run, tmp_path, monkeypatch):
    real = ("a0.0", "a0.1", "x0.post")
    demo_reads(monkeypatch, *real)  # the tiny model has no more heads
    assert run("demo", "--all")[1].count("\nMEMBERS") == 1
    code, out, _ = run("demo", "addition", "--all")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if ' at "=" of 615+861=1476 ' in line] == list(real)
    assert "sed: activations" not in out
    assert all(site in (tmp_path / "inversionview-report.html").read_text() for site in real)


def test_what_demo_and_training_advise_are_commands_that_there_are(run, monkeypatch):
    demo_reads(monkeypatch, SITES[1])
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
    code, out, _ = run("evaluate", "addition", "-n", "10", "--cells", "0")
    assert code == 0
    assert "a0.0" in out
    assert "floor" in out
    assert "mean" in out
    code, out, _ = run("evaluate", "addition", "-n", "10", "--cells", "0", "--json")
    document = json.loads(out)
    assert code == 0
    assert set(document["sites"]) == set(SITES)
    assert set(document["mean"]) == {"any", "same"}
    assert run("evaluate", "addition", "-n", "10", "--cells", "0", "--json")[1] == out


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


def test_train_asks_what_for_where_neither_a_recipe_nor_a_model_is_given(run, tmp_path):
    code, printed, err = run("train", "--out", tmp_path / "mine")
    assert (code, printed) == (2, "")
    assert "a study, a recipe, or --model" in err
    assert not (tmp_path / "mine").exists()


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
        def __init__(self, about: str, minutes: float | None) -> None:
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
        ("--epsilon wide", "a share of unrelated pairs between 0 and 1, such as null:0.01, or a tolerance in nats"),
        ("--epsilon null:", "not null:"),
        ("--epsilon null:1.5", "not null:1.5"),
        ("--epsilon null:0.0001", "null:0.0001 needs at least 100000 pairs"),
        ("--epsilon causal:0", "not causal:0"),
        ("--epsilon 1e-9:0.1", "not 1e-9:0.1"),
        ("--exact --epsilon wide", "not wide"),
        ("--exact -n 0", "-n must be at least 1, not 0"),
        ("--exact --metric l1", "'euclidean', 'cosine'"),
        ("--index index", "--index is for --exact: give both, or neither"),
        ("--exact --index study.txt/below", "study.txt"),
        ("--prior-share 1", "the prior's share must be at least 0 and below 1, such as 0.1, not 1"),
        ("--prior-share -0.5", "the prior's share must be at least 0"),
        ("--prior-share most", "'most' is not a valid float"),
        ("-n 1", "n is 1, and with 1 for the prior too few are left"),
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
    Path("study.txt").write_text("a file where a folder is asked for")
    assert words in fails(run, "read", "addition", "615+861=1476", "--site", "a0.0", "-n", "5", *options.split())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "read nowhere 615+861=1476 --site a0.0",
            "there is no study 'nowhere': give a study's folder, or user/name on the hub; the bundled",
        ),
        ("read addition 615+861=1477 --site a0.0", "615+861 is 1476, not '1477'"),
        ("read addition 615x861=1476 --site a0.0", "'x' at character 3"),
        ("read addition 615+861=1476", "Missing option '--site'"),
        ("read addition", "Missing argument 'INPUT'"),
        ("evaluate nowhere", "there is no study 'nowhere'"),
        ("evaluate ioi", "ioi is a recipe: make a study by it, inversionview train ioi --model gpt2 --out FOLDER, and"),
        ("map nowhere", "there is no study 'nowhere'"),
        ("map addition --epsilon causal:0.05", "a map takes one epsilon a site: a number or null:P"),
        ("map addition --epsilon some", "epsilon must be a number above 0"),
        ("map addition --queries 1", "a map needs at least 2 queries a cell"),
        ("map addition --sites a9.9", "not trained on site a9.9; the sites of addition are"),
        ("map addition --convention raw", "--convention is for another model: give --model too"),
        ("map addition --model no/model/at/all", "there is no folder"),
        ("map addition 615+861=1477", "615+861 is 1476, not '1477'"),
        ("map addition 500+990=1490 --where F1==5", "give an input or a condition, not both"),
        ("map addition --where Z==1", "Z"),
        ("map addition --html no/such/folder/x.html --sites x0.post --queries 2", "cannot write no/such/folder/x.html"),
        ("test nowhere 500+990=1490 F1 --sites a0.0", "there is no study 'nowhere'"),
        ("test addition 500+990=1490 --sites a0.0", "Missing argument 'HYPOTHESIS'"),
        ("test addition 500+990=1490 F1", "Missing option '--sites'"),
        ("test addition 500+990=1490 F1 --sites ,", "give at least one query"),
        ("test addition 500+990=1490 Z9 --sites a0.0", "Z9"),
        ("test addition 500+990=1490 F1==F1 --sites a0.0", "F1==F1"),
        ("test addition 500+990=1490 F1 --sites a0.0 --random-queries 0", "random_queries must be at least 1"),
        ("test addition 500+990=1490 F1 --sites a0.0 --epsilon wide", "wide"),
        ("test addition 500+990=1490 F1 --sites a0.0 --at Q", "has no position 'Q'"),
        ("validate nowhere", "there is no study 'nowhere'"),
        ("validate addition --cells 0", "validate at least 1 cell, not 0"),
        ("validate addition -n 2", "n is 2"),
        ("validate addition --temperatures hot", "--temperatures takes numbers separated by commas"),
        ("validate addition --prior-share 2", "the prior's share must be at least 0 and below 1"),
        ("evaluate addition -n 0", "n must be at least 1"),
        ("train nowhere --out o", "the bundled studies are: addition; the recipes are: addition, counting"),
        ("train addition --out o --steps 1 --minutes 1", "steps or minutes, and not both"),
        ("train addition --out o --minutes 0", "minutes must be more than 0"),
        ("train addition --out o --resume", "there is no run in o to resume"),
        ("train addition --out o --model no/model/at/all", "there is no folder"),
        ("train addition", "Missing option '--out'"),
        (
            "train-probed nowhere --out o",
            "no recipe 'nowhere' for a probed model; the recipes are: addition, counting",
        ),
        ("chat", "there is no command 'chat'; the commands are: demo, studies, read, explain, bank, map, heads,"),
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
    for command in [
        "demo",
        "studies",
        "read",
        "map",
        "test",
        "patch",
        "causal",
        "train",
        "train-probed",
        "evaluate",
        "validate",
    ]:
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
    progress = re.compile(r".*, [\d,]+ (s|min)(, about [\d,]+ (s|min) left)?")  # of a machine that is busy
    assert [line for line in done.stderr.splitlines() if not progress.fullmatch(line)] == []
