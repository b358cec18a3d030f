"""The line of words in readings; whether the model uses what it says; parts of a domain; what is kept with a study."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from inversionview.cli.program import main
from inversionview.errors import UserError
from inversionview.preimage.sources.banked import all_distances
from inversionview.reading.conditions import holds
from inversionview.report.answer import answer_of
from inversionview.results.explanation import DETECTION, GENERATION, OTHERS
from inversionview.results.explanations import SiteExplanation
from inversionview.results.preimage import Preimage
from inversionview.studies.description import EXPLANATIONS
from inversionview.studies.kept_explanations import keep_explanations, kept_explanations, write_explanations
from inversionview.studies.settings import ExplainSettings
from inversionview.studies.study import Study, load_study
from inversionview.studies.verbs import explain_by_features, explain_inputs
from inversionview.studies.verbs.explain import explain_sites

SUM = "615+861=1476"
FACT = "The currency of Japan is the yen."


@pytest.fixture(scope="module")
def addition():
    return load_study("addition", device="cpu")


@pytest.fixture(scope="module")
def facts():
    return load_study("facts-small", device="cpu")


@pytest.fixture(scope="module")
def asked(facts):
    return facts.query(FACT, at="END", site="m0")


def test_a_reading_says_in_words_what_its_members_share(addition):
    query = addition.query(SUM, at="=", site="a0.2")
    reading = addition.preimage(query, colors=False)
    found = reading.explanation
    assert "F1 + S1 == 14" in found.expression
    assert found.scores[GENERATION].value > 0.9
    assert found.scores[GENERATION].n == 100, "a tenth of the candidates"
    answer = answer_of(reading.to_reading())
    assert answer.in_words == f"{found.words}: 100% of inputs that fit are members, 2.5% of random ones"
    assert "detection" in answer.in_words_detail
    assert addition.preimage(query, colors=False).explanation == found
    assert addition.preimage(query, colors=False, explain=False).explanation is None
    assert reading.at_epsilon(0.2).explanation is None


def test_of_few_draws_it_says_what_is_lacking(addition):
    reading = addition.preimage(addition.query(SUM, at="=", site="a0.2"), 100, colors=False)
    assert "draw more" in reading.explanation.says_nothing
    assert reading.explanation.scores == {}


def test_what_cannot_be_said_in_words_is_left_out(addition):
    query = addition.query(SUM, at="=", site="a0.2")
    assert addition.preimage(query, 200, position_rule="any", colors=False).explanation is None
    vector = addition.query(at="=", site="a0.2", vector=[1.0] * addition.probed.width("a0.2"))
    assert addition.preimage(vector, 200, colors=False).explanation is None


def test_an_exact_reading_says_what_explain_says(facts, asked):
    exact = facts.exact_preimage(asked, epsilon=1.0).explanation
    explained = facts.explain(asked, epsilon=1.0, written=20).best
    assert exact.words == explained.words
    for name in explained.scores.keys() - {OTHERS}:
        assert exact.scores[name] == explained.scores[name]
    assert facts.exact_preimage(asked, epsilon=1.0, explain=False).explanation is None


def test_many_exact_readings_hold_no_more_distances_than_memory_bears(facts, asked, monkeypatch):
    monkeypatch.setattr("inversionview.studies.verbs.exact.MOST_DISTANCES", facts.task.size)
    assert facts.exact_preimages([asked], epsilon=1.0)[0].explanation is not None
    assert [one.explanation for one in facts.exact_preimages([asked, asked], epsilon=1.0)] == [None, None]


def test_a_bank_is_asked_and_nothing_is_run(facts, asked, monkeypatch, tmp_path):
    study = Study(facts.probed, facts.task, epsilon=1.0)
    bank = study.bank("END", sites=["m0"], folder=tmp_path / "bank")
    monkeypatch.setattr(explain_inputs.Written, "_activations", None)
    monkeypatch.setattr(explain_by_features, "WRITTEN", (1, len(bank.tokens)))  # all that fit
    found = study.preimage(asked, bank=tmp_path / "bank").explanation
    score = found.scores[GENERATION]
    settings = ExplainSettings()
    z_q = facts.probed.capture(torch.tensor([asked.tokens]), ["m0"], asked.position).popitem()[1][0]
    look = explain_inputs.look_in_bank(bank, asked, 1.0, z_q, "euclidean", settings)
    pool = look.pool()
    assert (pool.distances > 1.0).all(), "non-members"
    assert len(pool.tokens) + len(pool.members) == np.isfinite(look.distances).sum()
    for_finding = {tuple(row) for row in look.evidence.tokens[~look.evidence.scored].tolist()}
    distances = all_distances(bank, asked, z_q, "euclidean")
    fits = holds(facts.task, found.expression, bank.tokens, bank.positions("END").clamp_min(0))
    rows = [
        i
        for i, row in enumerate(bank.tokens.tolist())
        if fits[i]
        and torch.isfinite(distances[i])
        and tuple(row) not in for_finding
        and row[: len(asked.tokens)] != list(asked.tokens)
    ]
    assert 0 < score.n == len(rows) < int(fits.sum()), "those on the side for finding are left out"
    assert score.value == pytest.approx(np.mean([float(distances[i]) <= 1.0 for i in rows]))
    assert found.scores[OTHERS].value < score.value


def test_words_are_saved_with_the_reading(facts, asked, tmp_path):
    reading = facts.exact_preimage(asked, epsilon=1.0)
    for name in ("one.json", "one.parquet"):
        reading.save(tmp_path / name)
        assert Preimage.load(tmp_path / name).explanation == reading.explanation
    assert reading.to_dict()["explanation"]["expression"] == reading.explanation.expression


def test_every_surface_has_the_line(capsys):
    options = ["read", "facts-small", FACT, "--at", "END", "--site", "m0", "-n", "200", "--epsilon", "1.0"]
    assert main(options) == 0
    assert "IN WORDS " in capsys.readouterr().out
    assert main([*options, "--no-explain"]) == 0
    assert "IN WORDS " not in capsys.readouterr().out
    assert main([*options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["explanation"]["found_by"] == "features"


# Used


def test_what_is_said_is_used_or_not(facts, asked):
    found = facts.explain(asked, epsilon=1.0, exact=False, n=1500, written=60, used=True)
    assert found.best.used.name == found.best.words
    assert found.best.used.value == "yes"
    assert found.best.used.verdict or found.best.used.why_not
    assert found.to_dict()["explanations"][0]["used"]["sharing"]["n"] <= 60
    assert found.best.used.line in repr(found)
    assert facts.explain(asked, epsilon=1.0, exact=False, n=500).best.used is None


def test_what_a_head_of_addition_says_is_used(addition):
    query = addition.query(SUM, at="=", site="a0.2")
    used = addition.explain(query, exact=False, n=1500, written=400, used=True).best.used
    assert used.verdict == "used"
    assert used.difference > 0.05
    assert used.line.startswith("used, 0.")


def test_what_most_members_have_is_used_though_its_entropy_does_not_tell(facts, asked):
    """Few inputs are about currencies, most members are: so the entropy of being about one is no smaller in them."""
    for study, settings in ((facts, {}), (Study(facts.probed, facts.task), {"n": 4000})):
        found = study.explain(asked, epsilon=1.0, exact=False, written=60, used=True, **settings).best
        assert found.used.share < 0.5
        assert found.used.difference > 1
        assert found.used.verdict == "used"


def test_the_inputs_of_a_bank_need_not_be_drawn_again(facts, asked, monkeypatch):
    monkeypatch.setattr("inversionview.causal.use.draw_pool", None)
    study = Study(facts.probed, facts.task)
    found = study.explain(asked, epsilon=1.0, exact=False, written=60, used=True).best
    assert (found.used.sharing.n, found.used.differing.n) == (60, 60)
    with pytest.raises(TypeError):
        facts.explain(asked, epsilon=1.0, exact=False, n=1500, written=60, used=True)


def test_sites_tell_how_often_it_is_used(facts):
    options = {"epsilon": 1.0, "queries": 3, "written": 40, "exact": False, "n": 1000}
    [one] = facts.explain_sites(["m0"], "END", used=True, **options).sites
    says = max(score.n for score in one.scores.values())
    assert one.used.n <= says
    assert one.used.value is None or 0 <= one.used.value <= 1
    assert facts.explain_sites(["m0"], "END", **options).sites[0].used is None


# Parts of a domain


def test_a_part_of_a_domain_is_explained_by_itself(capsys):
    study = load_study("counting", device="cpu")
    drawn = study.task.sample(200, generator=torch.Generator().manual_seed(0))
    text = next(text for text in map(study.task.decode, drawn) if len(text) < 14 and len(set(text[:8])) > 1)
    query = study.query(text, at=":", site="a0.0")
    found = study.explain(query, given="counts", epsilon=0.5, written=20)
    part = study.exact_preimage(query, given="counts", epsilon=0.5)
    assert found.exact
    assert found.given == part.given == study.task.restrictions["counts"]
    assert found.members == part.n_inside - 1
    assert found.best.words == part.explanation.words
    assert found.to_dict()["given"] == found.given
    with pytest.raises(UserError, match="leave out given"):
        explain_sites(study.parts, ["a0.0"], ":", study.criterion, ExplainSettings(given="counts"))
    assert main(["explain", "counting", "--sites", "a0.0", "--at", ":", "--given", "counts"]) == 2
    assert "leave out --by and --given" in capsys.readouterr().err


# Kept with a study


def said(site, words="tells S in 1 of 1 activations"):
    return SiteExplanation(site, "END", words, 1, (), {})


def test_what_sites_say_is_kept_with_a_study_of_ones_own(facts, tmp_path):
    folder = tmp_path / "own"
    facts.save(folder)
    study = load_study(folder)
    assert kept_explanations(study) == []
    keep_explanations(study, [said("a0.0"), said("m0")])
    keep_explanations(study, [said("m0", "tells nothing")])
    assert {one.site: one.words for one in kept_explanations(study)} == {
        "a0.0": said("a0.0").words,
        "m0": "tells nothing",
    }
    write_explanations(folder, "another model", [said("m0")])
    assert kept_explanations(study) == []
    (folder / EXPLANATIONS).write_text("{", encoding="utf-8")
    assert kept_explanations(study) == []
    keep_explanations(facts, [said("m0")])
    assert said("m0") not in kept_explanations(facts), "a bundled study is no place for it"


def test_the_command_keeps_them_and_writes_a_page(facts, tmp_path, capsys):
    folder = tmp_path / "own"
    facts.save(folder)
    page = tmp_path / "sites.html"
    options = ["--queries", "2", "--written", "20", "--sampled", "-n", "300"]
    assert main(["explain", str(folder), "--sites", "m0", "--at", "END", "--html", str(page), *options]) == 0
    printed = capsys.readouterr().out
    [kept] = kept_explanations(load_study(folder))
    assert kept.site == "m0"
    assert "What sites say" in page.read_text(encoding="utf-8")
    assert "generation" in printed
    assert main(["explain", str(folder), "--sites", "m0", "--at", "END", "--epsilon", "1.0", *options]) == 0
    assert kept_explanations(load_study(folder)) == [kept], "of another ε nothing is kept"
    assert main(["explain", str(folder), FACT, "--site", "m0", "--html", str(page)]) == 2
    assert "--html is for --sites" in capsys.readouterr().err


def test_a_table_of_sites_draws_itself(facts):
    told = facts.explain_sites(["m0"], "END", queries=2, written=20, exact=False, n=300, epsilon=1.0)
    assert "<table" in told._repr_html_()
    assert "What facts-small says in words" in told.to_html()
    with_scores = dataclasses.replace(told, sites=(told.sites[0],))
    assert told == with_scores
    assert DETECTION in told.sites[0].scores or told.sites[0].words.startswith("t")
