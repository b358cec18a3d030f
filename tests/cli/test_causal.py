from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from inversionview.cli import cli
from inversionview.errors import UserError
from inversionview.studies.description import read_description
from tests.preimage.tiny import gpt2, save_study

ASKED = ("--target", "A1", "--at", "=", "--sites", "a0.0,a1.1", "--contrast", "change:F1,S1", "-n", "30")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return save_study(tmp_path_factory.mktemp("studies") / "tiny", with_decoder=False)


def run(study, *args):
    return CliRunner().invoke(cli, ["patch", str(study), *map(str, args)], catch_exceptions=True)


def test_json_is_the_document_and_nothing_else(study):
    done = run(study, *ASKED, "--json", "--order", "both", "--where", "A1 != 1")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert {"schema", "study", "n", "clean", "effects"} <= set(document)
    assert document["study"] == "tiny"
    assert 0 < document["n"] < 30
    assert [effect["order"] for effect in document["effects"]] == ["forward"] * 2 + ["reverse"] * 2
    assert [effect["sites"] for effect in document["effects"]] == [
        ["a0.0"],
        ["a0.0", "a1.1"],
        ["a1.1"],
        ["a1.1", "a0.0"],
    ]
    for effect in document["effects"]:
        assert {"sites", "order", "patched", "drop", "se"} <= set(effect)
        assert effect["drop"] == pytest.approx(document["clean"] - effect["patched"])


def test_effects_are_shown_and_written(study, tmp_path):
    html, plot = tmp_path / "effects.html", tmp_path / "effects.svg"
    done = run(study, *ASKED, "--html", html, "--plot", plot, "--direction", "clean-into-contrast")
    assert done.exit_code == 0
    assert "+ a1.1 at =" in done.stdout
    assert "clean run into the contrast one" in " ".join(done.stdout.split())
    assert f"wrote {html}" in done.stderr
    assert "+ a1.1 at =" in html.read_text()
    assert "<svg" in plot.read_text()


def test_another_model_is_patched_in_its_place(study, tmp_path):
    gpt2(9).save_pretrained(tmp_path / "other")
    own, other = (
        json.loads(run(study, *ASKED, "--json", *more).stdout)
        for more in ((), ("--model", tmp_path / "other", "--convention", "raw"))
    )
    assert other["study"] == "other"
    assert own["clean"] != other["clean"]
    assert own["n"] == other["n"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((*ASKED, "--convention", "tl"), "--convention is for another model"),
        ((*ASKED, "--sites", "a9.0"), "this model has no site a9.0"),
        ((*ASKED, "--sites", "a0.0,a0.0"), "twice"),
        ((*ASKED, "--at", "13"), "position 13 is padding"),
        ((*ASKED, "--at", "14"), "position 14 is not in"),
        ((*ASKED, "--where", "A1 == 1 and A1 == 2"), "none of the 30 clean inputs drawn meets"),
        ((*ASKED, "--contrast-where", "F2 == 1 and F2 == 2"), "contrast inputs drawn for each of 30 clean ones meets"),
        ((*ASKED, "--contrast", "flip"), "addition has no flip"),
    ],
)
def test_mistakes_are_one_line(study, args, message):
    done = run(study, *args)
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)
    assert done.stdout == ""


def test_the_study_needs_no_decoder(study):
    assert read_description(study).decoder is None
