"""What cannot be is refused before anything is run: texts are not written, nor inputs drawn, to find a mistake."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from inversionview import cli
from inversionview.tasks.template.task import TemplateTask
from inversionview.tasks.text import task as text_task
from tests.tasks.template.tiny import LIKES, write
from tests.tokenizers import byte_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(byte_tokenizer()), n_positions=40, n_embd=8, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def refused(capsys, monkeypatch, model, tmp_path):
    """The one line of a command that must fail before any input is drawn."""
    drawn = []
    monkeypatch.setattr(text_task, "sample_texts", lambda *args, **given: drawn.append("texts"))
    monkeypatch.setattr(text_task.Starts, "of", lambda *args: drawn.append("starts"))
    monkeypatch.setattr(TemplateTask, "sample", lambda *args, **given: drawn.append("inputs"))
    monkeypatch.chdir(tmp_path)

    def go(line: str, domain: str) -> str:
        args = [domain if word == "DOMAIN" else word.replace("_", " ") for word in line.split()]
        assert cli.main([*args, "--model", str(model)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert drawn == []
        assert list(tmp_path.iterdir()) == before
        return err.splitlines()[-1]

    write(tmp_path, LIKES.toml, "likes.toml")
    before = list(tmp_path.iterdir())
    return go


BOTH = [
    ("map DOMAIN --sites a99.0", "no site a99.0"),
    ("map DOMAIN --sites a7-9", "there are no sites a7-9"),
    ("map DOMAIN --at 99", "position 99 is not in the inputs"),
    ("map DOMAIN --where Z==1", "there is no feature 'Z'"),
    ("map DOMAIN --by Z", "has no feature 'Z'"),
    ("map DOMAIN --epsilon wide", "epsilon must be a number above 0"),
    ("map DOMAIN --epsilon causal:0.1", "a map takes one epsilon a site"),
    ("map DOMAIN --epsilon null:0.00001", "null:1e-05 needs at least 1000000 pairs"),
    ("map DOMAIN --html no/such/x.html", "cannot write no/such/x.html: there is no folder no/such"),
    ("bank DOMAIN --at 99 --out bank", "position 99 is not in the inputs"),
    ("bank DOMAIN --at 1 --sites a99.0 --out bank", "no site a99.0"),
    ("heads DOMAIN --at 99", "position 99 is not in the inputs"),
    ("heads DOMAIN --at 1 --least 2", "least must be a share"),
    ("patch DOMAIN --target 99 --at 2 --sites a0.0 --contrast random", "position 99 is not in the clean inputs"),
    ("patch DOMAIN --target 3 --at 99 --sites a0.0 --contrast random", "position 99 is not in the clean inputs"),
    ("patch DOMAIN --target 3 --at 2 --sites a99.0 --contrast random", "no site a99.0"),
    ("patch DOMAIN --target 3 --at 2 --sites a0.0 --contrast same", "there is no contrast 'same'"),
    ("patch DOMAIN --target 3 --at 2 --sites a0.0 --contrast random --where Z==1", "there is no feature 'Z'"),
    ("patch DOMAIN --target 3 --at 2 --sites a0.0 --contrast random --contrast-where Z==1", "there is no feature 'Z'"),
    ("patch DOMAIN --target 3 --at 2 --sites a0.0 --contrast random --plot no/x.svg", "cannot write no/x.svg"),
]
READING = [
    ("read DOMAIN INPUT --site a99.0", "no site a99.0"),
    ("read DOMAIN INPUT --site a0.0 --at 99", "has no position '99'"),
    ("read DOMAIN INPUT --site a0.0 --columns Z", "has no feature 'Z'"),
    ("read DOMAIN INPUT --site a0.0 --also Z", "there is no source 'Z'"),
    ("read DOMAIN INPUT --site a0.0 --prior-share 2", "the prior's share must be at least 0 and below 1"),
    ("read DOMAIN INPUT --site a0.0 --epsilon null:0.00001", "null:1e-05 needs at least 1000000 pairs"),
    ("read DOMAIN INPUT --site a0.0 -n 0", "-n must be at least 1"),
    ("test DOMAIN INPUT Z --sites a0.0", "Z"),
    ("test DOMAIN INPUT Z==1 --sites a0.0", "there is no feature 'Z'"),
    ("causal DOMAIN INPUT --site a0.0 --features Z", "has no feature 'Z'"),
    ("causal DOMAIN INPUT --site a0.0 --given Z", "has no feature 'Z'"),
    ("causal DOMAIN INPUT --site a0.0 --outputs 99", "99"),
]
INPUTS = {"text": "ab_cd", "likes.toml": "Alice_saw_Brian."}


@pytest.mark.parametrize("domain", INPUTS)
@pytest.mark.parametrize(("line", "words"), [*BOTH, *READING])
def test_a_mistake_is_known_before_anything_is_drawn(refused, domain, line, words):
    assert words in refused(line.replace("INPUT", INPUTS[domain]), domain)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --sites a99.0 --out study", "no site a99.0"),
        ("train --epsilon causal:0.1 --out study", "causal:T is of one query"),
        ("train --epsilon wide --out study", "epsilon must be a number above 0"),
        ("train --length 2 --out study", "a window needs at least"),
    ],
)
def test_a_mistake_in_training_is_known_before_texts_are_written(refused, line, words):
    assert words in refused(line, "text")


def test_of_many_sites_an_error_names_some(monkeypatch, refused):
    monkeypatch.setattr("inversionview.studies.parts.LISTED", 3)
    assert "the sites of text are: embed, pos_embed, x0.pre, ... (9 in all)" in refused(
        "map DOMAIN --sites a99.0", "text"
    )
