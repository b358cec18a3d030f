from __future__ import annotations

import json

import click
import pytest

from inversionview.causal.use import use
from inversionview.cli.causal import causal
from inversionview.errors import UserError
from tests.preimage import tiny
from tests.preimage.tiny import few_sums, save_study

SUM = "990+500=1490"
FEATURES = ("F1", "A1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_study(tmp_path_factory.mktemp("studies") / "tiny")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("inversionview.studies.folder.get_task", lambda name, *of: few_sums())


@pytest.fixture
def study():
    return tiny.study()


def asked(study, site="x0.post", at="="):
    return study.query(SUM, at, site)


def test_it_is_exact_where_the_task_can_enumerate(study):
    found = study.causal(asked(study), n=30, features=FEATURES)
    exact = study.exact_preimage(asked(study))
    assert found == use(study.probed, study.task, exact, n_members=30, n_others=30, features=FEATURES)
    assert found.exact
    assert found.inside == exact.n_inside
    assert [feature.name for feature in found.features] == list(FEATURES)


def test_a_sample_needs_the_decoder_and_reaches_fewer(study):
    exact = study.causal(asked(study), n=30, features=FEATURES)
    found = study.causal(asked(study), n=30, draws=100, exact=False, features=FEATURES)
    assert not found.exact
    assert 0 < found.inside < exact.inside
    assert found.weighted
    assert found.random == exact.random, "non-members owe nothing to the sample"


def test_settings_reach_the_result(study):
    found = study.causal(
        asked(study, at="S2"), n=25, epsilon=0.3, metric="cosine", position_rule="any", features=["F1"],
        given="A1", outputs=["A1", 10], seed=5,
    )  # fmt: skip
    assert (found.epsilon, found.metric, found.position_rule, found.seed) == (0.3, "cosine", "any", 5)
    assert (found.at, found.given, found.outputs) == ("S2", ("A1",), ("A1", "A2"))
    assert found.random.n == 25


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"features": ["Q"]}, "no feature 'Q'"),
        ({"given": ["Q"]}, "no feature 'Q'"),
        ({"outputs": ["S3"]}, "an output must be a position"),
        ({"epsilon": -1}, "epsilon must be"),
    ],
)
def test_what_cannot_be_is_known_before_anything_is_run(study, monkeypatch, changes, words):
    monkeypatch.setattr(
        "inversionview.studies.verbs.exact.exact_preimages", lambda *args, **settings: pytest.fail("was run")
    )
    with pytest.raises(UserError, match=words) as caught:
        study.causal(asked(study), **changes)
    assert len(str(caught.value).splitlines()) == 1


def command(*args: object) -> None:
    causal.main([str(arg) for arg in args], standalone_mode=False)


def test_the_command_prints_one_document(folder, capsys, tmp_path):
    page = tmp_path / "page.html"
    args = ["--at", "=", "--site", "x0.post", "-n", 30, "--features", "F1, A1", "--given", "C3", "--outputs", "=,10"]
    command(folder, SUM, *args, "--json", "--html", page)
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["query"]["input"] == SUM
    assert found["outputs"] == ["=", "A2"]
    assert found["given"] == ["C3"]
    assert [feature["name"] for feature in found["features"]] == ["F1", "A1"]
    assert err == f"wrote {page}\n"
    assert "is x0.post at = used?" in page.read_text(encoding="utf-8")


def test_the_command_draws_a_table_of_another_model_too(folder, capsys):
    model = folder / "probed"
    command(folder, SUM, "--at", "=", "--site", "a0.0", "-n", 30, "--features", "F1", "--model", model)
    assert "probed, 990+500=1490: is a0.0 at = used?" in capsys.readouterr().out
    command(folder, SUM, "--site", "a0.0", "-n", 30, "--model", model, "--sampled")
    assert "is a0.0 at A4 used?" in capsys.readouterr().out
    with pytest.raises(UserError, match="--convention is for another model"):
        command(folder, SUM, "--site", "a0.0", "--convention", "raw")
    with pytest.raises(click.UsageError, match="site"):
        command(folder, SUM)
