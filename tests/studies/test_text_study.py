"""A study of free text, from the command line, for several architectures."""

from __future__ import annotations

import dataclasses
import json

import pytest

from inversionview import cli
from inversionview.studies.recipes import DECODER_RECIPES, Budget, DecoderRecipe
from inversionview.studies.recipes.text import free_text
from inversionview.studies.study import load_study
from tests.studies.text_models import FAMILIES, random_model, some_texts
from tests.tokenizers import byte_tokenizer


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 50)
    monkeypatch.setattr("inversionview.preimage.epsilon.calibration.NULL_PAIRS", 300)
    monkeypatch.setattr("inversionview.reading.information.PRIOR_DRAWS", 200)
    monkeypatch.setattr("inversionview.studies.recipes.text.SAMPLED", 500)
    monkeypatch.setattr("inversionview.tasks.text.sampling._TRIAL_TEXTS", 20)

    def small_decoder(budget: Budget, seed: int) -> DecoderRecipe:
        plan = free_text(budget, seed)
        sizes = {"d_model": 16, "n_heads": 2, "trunk_blocks": 1, "trunk_width": 16}
        return dataclasses.replace(
            plan, decoder=sizes, rate_queries=2, training=dataclasses.replace(plan.training, batch_size=16)
        )

    monkeypatch.setitem(DECODER_RECIPES, "text", small_decoder)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def run(capsys, *args: object) -> dict:
    code = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out) if "--json" in args else {}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_commands_work_for_any_architecture(family, tokenizer, tmp_path, capsys, monkeypatch):
    model, study = tmp_path / "model", tmp_path / "study"
    random_model(family).save_pretrained(model)
    tokenizer.save_pretrained(model)
    (tmp_path / "texts.txt").write_text("\n".join(some_texts(300)), encoding="utf-8")
    run(capsys, "train", "--model", model, "--texts", tmp_path / "texts.txt", "--length", 8,
        "--sites", "a1.1,x1.post", "--epsilon", "null:0.3", "--steps", 2, "--out", study)  # fmt: skip
    read = run(capsys, "read", study, "The small dog saw", "--at", "dog", "--site", "a1.1", "-n", 30, "--json")
    assert read["query"]["position"] == 3
    begin, words = tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids(["The", "Ġsmall", "Ġdog", "Ġsaw"])
    assert read["query"]["tokens"] == [begin, *words, begin]
    assert read["drawn"] == 30
    rates = run(capsys, "evaluate", study, "-n", 20, "--json")
    assert set(rates["sites"]) == {"a1.1", "x1.post"}
    assert all(row["epsilon"] > 0 for row in rates["sites"].values())
    cells = run(capsys, "map", study, "--queries", 2, "--draws", 300, "--json")["cells"]
    assert {cell["site"] for cell in cells} == {"a1.1", "x1.post"}
    effects = run(capsys, "patch", study, "--target", 4, "--at", 3, "--sites", "a1.1", "--contrast", "random",
                  "--where", "length > 4", "--contrast-where", "length > 4", "-n", 20, "--json")["effects"]  # fmt: skip
    assert len(effects) == 1


def test_a_model_s_own_texts_have_sizes_and_given_ones_have_none(tokenizer, tmp_path, capsys):
    model = tmp_path / "model"
    random_model("gpt2").save_pretrained(model)
    tokenizer.save_pretrained(model)
    own, given = tmp_path / "own", tmp_path / "given"
    (tmp_path / "texts.txt").write_text("\n".join(some_texts(300)), encoding="utf-8")
    settings = ("--length", 5, "--epsilon", 0.5, "--sites", "x0.post", "--steps", 1)
    run(capsys, "train", "text", "--model", model, "--texts", tmp_path / "texts.txt", *settings, "--out", given)
    found = load_study(given)
    preimage = found.preimage(found.query("The dog", site="x0.post"), n=60, prior_share=0.5)
    assert preimage.log_prior is None
    assert preimage.bits == ()
    run(capsys, "train", "text", "--model", model, *settings, "--out", own)
    found = load_study(own)
    preimage = found.preimage(found.query("The dog", site="x0.post"), n=60, prior_share=0.5, epsilon=100.0)
    assert preimage.log_prior is not None
    assert preimage.inside.any()


def test_a_study_s_texts_go_with_it_to_another_decoder(tokenizer, tmp_path, capsys):
    model, first, second = tmp_path / "model", tmp_path / "first", tmp_path / "second"
    random_model("gpt2").save_pretrained(model)
    tokenizer.save_pretrained(model)
    (tmp_path / "texts.txt").write_text("\n".join(some_texts(300)), encoding="utf-8")
    run(capsys, "train", "text", "--model", model, "--texts", tmp_path / "texts.txt", "--length", 6,
        "--sites", "x0.post", "--epsilon", 0.5, "--steps", 1, "--out", first)  # fmt: skip
    run(capsys, "train", first, "--steps", 2, "--out", second)
    assert load_study(second).task.max_length == load_study(first).task.max_length == 7
    run(capsys, "train", first, "--resume", "--steps", 1, "--out", first)


def test_texts_are_not_for_sums(tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("a b c\n")
    assert cli.main(["train", "addition", "--texts", str(tmp_path / "texts.txt"), "--out", str(tmp_path / "out")]) == 2
    assert "inputs of addition are not made of texts" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
