"""Opening a domain in a model: how the model is found and loaded, the convention, and the token before a text."""

import copy
import json

import huggingface_hub
import pytest
import torch

import inversionview as iv
from inversionview.errors import UserError
from inversionview.studies import training_runs
from inversionview.studies.recipes import Budget
from inversionview.studies.study import load_study, open_study
from inversionview.studies.training_runs import train_decoder
from tests.studies.text_models import random_model
from tests.tokenizers import END_OF_TEXT, byte_tokenizer

SENTENCE = "When Alice saw Paul in the garden, Paul gave the book to Alice."
CHAT = "<|im_start|>"
THE = byte_tokenizer().convert_tokens_to_ids("the")


def chat_tokenizer():
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.add_special_tokens({"bos_token": CHAT})
    return tokenizer


def saved(folder, family="gpt2", tokenizer=None):
    tokenizer = tokenizer or byte_tokenizer()
    random_model(family, vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("chat"), tokenizer=chat_tokenizer())


def test_where_the_recipes_convention_is_not_derived_raw_is_taken_and_said(llama, gpt2, caplog):
    assert open_study("ioi", model=gpt2).probed.convention == "tl"
    assert "convention" not in caplog.text
    assert open_study("ioi", model=llama).probed.convention == "raw"
    assert "convention tl is not derived for RMSNorm" in caplog.text
    with pytest.raises(UserError, match="convention 'tl' is only derived"):
        open_study("ioi", model=llama, convention="tl")


def test_training_takes_raw_too_and_the_study_keeps_it(llama, tmp_path, caplog):
    options = {"model": llama, "sites": ["a0.1"], "epsilon": 0.5, "budget": Budget(steps=1)}
    train_decoder("ioi", tmp_path / "out", **options)
    assert "convention tl is not derived" in caplog.text
    assert load_study(tmp_path / "out").probed.convention == "raw"
    with pytest.raises(UserError, match="convention 'tl' is only derived"):
        train_decoder("ioi", tmp_path / "other", convention="tl", **options)


def test_options_of_loading(gpt2):
    study = open_study("ioi", model=gpt2, dtype="bfloat16", device="cpu", begin="the")
    assert study.probed.model.dtype == torch.bfloat16
    assert study.probed.device == torch.device("cpu")
    assert study.query(SENTENCE, site="a0.0").tokens[0] == THE
    rows = study.task.sample(5, generator=torch.Generator().manual_seed(0))
    assert set(rows[:, 0].tolist()) == {THE}
    assert bool(study.task.contains(rows).all())


def test_a_begin_token_that_there_is_not(gpt2, tmp_path):
    with pytest.raises(
        UserError, match=f"'<s>' is no token of the tokenizer; its special ones are {END_OF_TEXT!s}".replace("|", r"\|")
    ):
        open_study("ioi", model=gpt2, begin="<s>")
    random_model("gpt2").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="the model has no tokenizer, so 'a' cannot be its begin token"):
        iv.ProbedModel.from_pretrained(tmp_path, begin="a")


def test_a_callers_tokenizer_is_left_as_it_is(gpt2):
    own = chat_tokenizer()
    probed = iv.ProbedModel.from_pretrained(gpt2, tokenizer=own, begin=END_OF_TEXT)
    assert (probed.tokenizer.bos_token, own.bos_token) == (END_OF_TEXT, CHAT)


def test_it_is_said_what_stands_before_a_text_where_the_tokenizer_puts_nothing_there(gpt2, chat, caplog):
    open_study("ioi", model=gpt2)
    assert f"the tokenizer puts no token before a text; {END_OF_TEXT} stands there" in caplog.text
    caplog.clear()
    open_study("ioi", model=chat)
    assert (
        f"{CHAT} stands before each text, which in this model begins a turn of a chat (--begin '<|endoftext|>'"
        in caplog.text
    )
    caplog.clear()
    open_study("ioi", model=chat, begin=END_OF_TEXT)
    open_study("addition", model=sums(), epsilon=0.1)
    assert caplog.text == ""


def sums():
    from tests.probed.tiny import tiny

    return iv.ProbedModel(tiny("gpt2"))


def test_a_model_in_memory_is_as_it_is(gpt2):
    probed = iv.ProbedModel.from_pretrained(gpt2)
    with pytest.raises(UserError, match=r"this one is in memory: give them to ProbedModel\.from_pretrained"):
        open_study("ioi", model=probed, dtype="bfloat16")
    study = open_study("ioi", model=probed)
    with pytest.raises(UserError, match="in memory"):
        study.with_model(probed, begin="the")


def test_a_study_in_another_model_of_another_norm(gpt2, llama, caplog):
    study = open_study("ioi", model=gpt2, sites=["a0.1", "x1.post"])
    other = study.with_model(llama, dtype="bfloat16", begin="the")
    assert (other.probed.convention, other.probed.model.dtype) == ("raw", torch.bfloat16)
    assert "convention tl is not derived" in caplog.text


class Hub:
    """A repository that has one model under each of two revisions."""

    def __init__(self, revisions):
        self.revisions, self.asked = revisions, []

    def snapshot_download(self, name, revision=None, allow_patterns=None, local_files_only=False):
        self.asked.append(revision)
        return str(self.revisions[revision])


@pytest.fixture
def hub(gpt2, tmp_path, monkeypatch):
    hub = Hub({None: gpt2, "step1000": saved(tmp_path / "early", tokenizer=chat_tokenizer())})
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


def test_a_study_of_a_model_that_is_not_copied_remembers_how_to_load_it(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(training_runs, "COPIED_BELOW", 0)
    out = tmp_path / "out"
    given = {"revision": "step1000", "begin": "the", "dtype": "bfloat16"}
    train_decoder("ioi", out, model="some/one", sites=["a0.1"], epsilon=0.5, budget=Budget(steps=1), **given)
    described = json.loads((out / "study.json").read_text())
    assert (described["probed"], described["dtype"]) == ("some/one", "bfloat16")
    assert described["loading"] == {"revision": "step1000", "begin": "the"}
    assert not (out / "probed").exists()
    assert load_study(out).query(SENTENCE, site="a0.1").tokens[0] == THE
    assert set(hub.asked) == {"step1000"}
    train_decoder("ioi", out, resume=True, budget=Budget(steps=1), **given)
    with pytest.raises(UserError, match="the run was started with begin the, not a"):
        train_decoder("ioi", out, resume=True, begin="a")


def test_a_copy_is_as_it_was_loaded(hub, tmp_path):
    out = tmp_path / "out"
    given = {"revision": "step1000", "begin": "the"}
    train_decoder("ioi", out, model="some/one", sites=["a0.1"], epsilon=0.5, budget=Budget(steps=1), **given)
    asked = len(hub.asked)
    assert load_study(out).query(SENTENCE, site="a0.1").tokens[0] == THE
    train_decoder("ioi", out, resume=True, budget=Budget(steps=1), **given)
    train_decoder(out, tmp_path / "next", sites=["a0.1"], budget=Budget(steps=1))
    assert len(hub.asked) == asked
    with pytest.raises(UserError, match="only models of the hub have revisions"):
        train_decoder(out, tmp_path / "third", revision="main")


def test_a_domain_is_read_in_a_model_from_the_command_line(llama, capsys):
    from inversionview import cli

    args = ["read", "ioi", SENTENCE, "--site", "a0.1", "-n", "20", "--epsilon", "0.5", "--json"]
    assert cli.main([*args, "--model", str(llama), "--begin", "the", "--dtype", "bfloat16", "--device", "cpu"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["query"]["tokens"][0] == THE
    assert cli.main([*args, "--begin", "the"]) == 2
    assert "--begin is for another model: give --model too" in capsys.readouterr().err
