"""Training a decoder that is made of a language model, from the command line to a reading."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from inversionview import cli
from inversionview.decoder.pretrained import PretrainedBody
from inversionview.decoder.tokens import Retokenised
from inversionview.decoder.training import Pretrained
from inversionview.errors import UserError
from inversionview.studies import recipes
from inversionview.studies.description import read_description
from inversionview.studies.recipes import Budget
from inversionview.studies.recipes.text import free_text
from inversionview.studies.study import load_study
from inversionview.studies.training_runs import train_decoder
from inversionview.tasks import get_task
from tests.decoder.backbones import saved_backbone
from tests.decoder.texts import texts, tokenizer
from tests.studies.runs import losses, stop_at

pytestmark = pytest.mark.usefixtures("tiny_runs")
QUERY = "615+861=1476"


@pytest.fixture
def base(tmp_path):
    return saved_backbone(tmp_path / "base", "llama")


@pytest.mark.parametrize("lora", [(), ("--lora", "2")])
def test_the_command_makes_a_study_that_reads(tmp_path, model, base, lora, capsys):
    out = tmp_path / "out"
    arguments = ["--model", str(model), "--decoder-from", str(base), *lora, "--sites", "a0.1,x1.post", "--steps", "3"]
    assert cli.main(["train", "addition", "--out", str(out), *arguments]) == 0, capsys.readouterr().err
    study = load_study(out)
    assert isinstance(study.decoder.body, PretrainedBody)
    assert read_description(study.folder).decoder_from == str(base)
    found = study.preimage(study.query(QUERY, at="=", site="a0.1"), n=20)
    assert found.n_drawn == 20
    config = json.loads(next((out / "training").glob("checkpoint-*/state.json")).read_text())["config"]
    assert config["learning_rate"] == (5e-4 if lora else 1e-4)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_stopped_run_resumes_to_the_same_losses(tmp_path, model, base, rank):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    given = {"model": model, "sites": ["a0.1"], "pretrained": Pretrained(str(base), rank), "budget": Budget(steps=6)}
    train_decoder("addition", whole, **given)
    assert train_decoder("addition", cut, **given, logger=stop_at(3)).interrupted
    for other in (Pretrained(str(base), rank + 1), Pretrained(str(model), rank)):
        with pytest.raises(UserError, match=r"was started with a decoder from .*base.*, not from"):
            train_decoder("addition", cut, resume=True, pretrained=other)
    assert train_decoder("addition", cut, resume=True).steps == 6
    assert losses(cut) == losses(whole)
    a, b = (load_study(folder).decoder.state_dict() for folder in (whole, cut))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("lora", [(), ("--lora", "2")])
def test_the_probed_model_itself_makes_a_study_that_reads_and_resumes(tmp_path, model, lora, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    arguments = ["addition", "--model", str(model), "--decoder-from", "self", *lora, "--sites", "a0.1", "--steps", "6"]
    assert cli.main(["train", *arguments, "--out", str(whole)]) == 0, capsys.readouterr().err
    rank = int(lora[1]) if lora else 0
    given = {"model": model, "sites": ["a0.1"], "pretrained": Pretrained("self", rank), "budget": Budget(steps=6)}
    assert train_decoder("addition", cut, **given, logger=stop_at(3)).interrupted
    with pytest.raises(UserError, match=r"was started with a decoder from self.*, not from"):
        train_decoder("addition", cut, resume=True, pretrained=Pretrained("self", rank + 1))
    assert cli.main(["train", *arguments, "--out", str(cut), "--resume"]) == 0, capsys.readouterr().err
    assert losses(cut) == losses(whole)
    described = read_description(whole)
    assert (described.decoder_from, described.lora_rank) == ("self", rank)
    study = load_study(cut)
    assert study.preimage(study.query(QUERY, at="=", site="a0.1"), n=20).n_drawn == 20
    shared = {p.data_ptr() for p in study.probed.model.parameters()} & {
        p.data_ptr() for p in study.decoder.parameters()
    }
    assert bool(shared) == bool(rank)


def test_a_probed_model_that_cannot_be_a_decoder_is_refused_before_anything_takes_long(tmp_path, monkeypatch, capsys):
    saved_backbone(tmp_path / "falcon", "falcon", vocab_size=15)
    monkeypatch.setattr("inversionview.studies.training_runs._measured", None)
    given = ["--model", str(tmp_path / "falcon"), "--convention", "raw", "--decoder-from", "self", "--lora", "2"]
    assert cli.main(["train", "addition", *given, "--out", str(tmp_path / "out"), "--steps", "2"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "a model of type falcon cannot be a decoder's backbone: it fails with a slot before its tokens" in line
    assert not (tmp_path / "out").exists()


def test_a_run_of_own_layers_is_not_resumed_on_a_language_model(tmp_path, model, base):
    out = tmp_path / "out"
    train_decoder("addition", out, model=model, sites=["a0.1"], budget=Budget(steps=4), logger=stop_at(1))
    with pytest.raises(UserError, match="was started with a decoder of its own layers, not from"):
        train_decoder("addition", out, resume=True, pretrained=Pretrained(str(base)))


def test_a_tokenizer_where_inputs_are_no_text_is_refused(tmp_path, model, base):
    words = Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="b").save_pretrained(base)
    with pytest.raises(UserError, match="inputs of task addition are no text"):
        train_decoder("addition", tmp_path / "out", model=model, pretrained=Pretrained(str(base)), sites=["a0.1"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--lora", "2"], "give it with --decoder-from"),
        (["--decoder-from", "/no/such/folder"], "there is no folder /no/such/folder"),
        (["--decoder-from", "x", "--lora", "0"], "at least 1, not 0"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path, model, arguments, says, capsys):
    given = ["train", "addition", "--model", str(model), "--out", str(tmp_path / "out"), "--steps", "2"]
    assert cli.main([*given, *arguments]) == 2
    err = capsys.readouterr().err.strip()
    assert says in err
    assert "\n" not in err


def test_a_language_model_with_another_tokenizer_reads_text(tmp_path, monkeypatch, capsys):
    chars = tokenizer(20)
    config = GPT2Config(
        vocab_size=len(chars), n_positions=32, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1
    )
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")
    chars.save_pretrained(tmp_path / "model")
    saved_backbone(tmp_path / "base", "llama", vocab_size=300, max_position_embeddings=128)
    tokenizer(8, "<stop>").save_pretrained(tmp_path / "base")
    (tmp_path / "texts.txt").write_text("\n".join(texts()), encoding="utf-8")

    def small(budget: Budget, seed: int) -> recipes.DecoderRecipe:
        plan = free_text(budget, seed)
        sizes = {"d_model": 16, "trunk_blocks": 1, "trunk_width": 16}
        return dataclasses.replace(plan, decoder=sizes, training=dataclasses.replace(plan.training, batch_size=16))

    monkeypatch.setitem(recipes.DECODER_RECIPES, "text", small)
    for user in ("training_runs", "folder", "opening"):
        monkeypatch.setattr(f"inversionview.studies.{user}.get_task", get_task)
    given = ["--model", tmp_path / "model", "--texts", tmp_path / "texts.txt", "--length", "8", "--sites", "a1.1",
             "--epsilon", "0.5", "--steps", "3", "--decoder-from", tmp_path / "base"]  # fmt: skip
    assert cli.main(["train", "text", "--out", str(tmp_path / "out"), *map(str, given)]) == 0, capsys.readouterr().err
    capsys.readouterr()
    asked = ["read", str(tmp_path / "out"), "the cat", "--at", "cat", "--site", "a1.1", "-n", "30", "--json"]
    assert cli.main(asked) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert found["drawn"] == 30
    study = load_study(tmp_path / "out")
    assert isinstance(study.decoder.adapter, Retokenised)
