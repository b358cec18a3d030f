"""Making a bundled study: of the chosen seed's model, its heads in order, with a decoder in half the room."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors import safe_open

from inversionview.studies import recipes
from inversionview.studies.description import bundled_studies
from inversionview.studies.study import load_study
from research import bundled, documents, seeds, seeds_page
from research.documents import keep
from tests.preimage.tiny import task
from tests.studies.runs import tiny_probed, tiny_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    monkeypatch.setitem(recipes.PROBED_RECIPES, "addition", tiny_probed)
    monkeypatch.setitem(recipes.DECODER_RECIPES, "addition", tiny_recipe)
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 200)
    for user in ("training_runs", "folder"):
        monkeypatch.setattr(f"inversionview.studies.{user}.get_task", lambda name, *of: task())
    for module in (documents, seeds, seeds_page):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(seeds, "RUNS", tmp_path / "seeds")
    monkeypatch.setattr(bundled, "RUNS", tmp_path / "bundled")
    monkeypatch.setattr(bundled, "KEPT", tmp_path / "kept")
    monkeypatch.setitem(bundled.BUDGETS, "addition", recipes.Budget(steps=2))


def measured(*runs):
    entries = [
        {"seed": seed, "accuracy": accuracy, "order": [1, 0], "claims": {"one": [] if agrees else ["no"]}}
        for seed, accuracy, agrees in runs
    ]
    keep("seeds-addition", {"addition": entries})


def test_the_chosen_seeds_model_is_bundled_with_its_heads_in_order(tmp_path, monkeypatch, capsys):
    places = {"addition": tmp_path / "package" / "addition"}
    (places["addition"] / "old").mkdir(parents=True)
    monkeypatch.setattr(bundled, "bundled_studies", lambda: places)
    measured((3, 0.99, False), (5, 0.985, True), (4, 0.98, False))
    assert bundled.main(["addition"]) == 0
    assert "addition is made" in capsys.readouterr().out
    made, of_seed = load_study(places["addition"]), load_study(seeds.RUNS / "addition-3")
    assert sorted(path.name for path in made.folder.iterdir()) == ["decoder", "probed", "study.json"]
    tokens = task().sample(5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(made.probed.logits(tokens), of_seed.probed.logits(tokens))
    for site, other in (("a0.0", "a0.1"), ("a0.1", "a0.0"), ("a1.0", "a1.0")):
        here, there = (
            probed.capture(tokens, [name]) for probed, name in ((made.probed, site), (of_seed.probed, other))
        )
        torch.testing.assert_close(*(next(iter(values.values())) for values in (here, there)))
    with safe_open(made.folder / "decoder" / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in list(file.keys())} == {torch.float16}
    study = json.loads((made.folder / "study.json").read_text(encoding="utf-8"))
    assert (study["name"], study["decoder"], study["probed"]) == ("addition", "decoder", "probed")


def test_a_model_that_is_kept_is_not_trained_again(tmp_path, monkeypatch):
    measured((3, 0.99, True))
    seeds.trained("addition", 3).rename(tmp_path / "moved")
    kept = bundled.KEPT / "addition-3"
    shutil.copytree(tmp_path / "moved", kept, ignore=bundled.OF_RUN)
    monkeypatch.setattr(seeds, "trained", lambda *of: pytest.fail("it was trained again"))
    bundled.keep_model("addition", tmp_path / "model")
    tokens = task().sample(5, generator=torch.Generator().manual_seed(0))
    made, there = load_study(tmp_path / "model"), load_study(kept)
    torch.testing.assert_close(made.probed.logits(tokens), there.probed.logits(tokens))


def test_without_a_seed_that_is_right_often_enough_nothing_is_bundled(tmp_path):
    measured((3, 0.9, True))
    with pytest.raises(SystemExit, match="no seed of addition is right often enough"):
        bundled.main(["addition"])


def test_every_bundled_study_can_be_made():
    assert bundled.BUDGETS.keys() == bundled_studies().keys()
