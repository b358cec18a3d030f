"""What cannot be trained on, from the command line: one line that says what is wrong, and no folder left behind."""

from __future__ import annotations

import copy
import json
import socket

import pytest
import transformers

from inversionview import cli
from inversionview.probed.architectures import ARCHITECTURES
from inversionview.tasks.text import formats
from inversionview.tasks.text.files import read_texts
from tests.studies.text_models import random_model, some_texts
from tests.tasks.facts.files import write_bear
from tests.tokenizers import byte_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models and texts, good ones and others."""
    folder = tmp_path_factory.mktemp("bad")
    unseen = transformers.BloomConfig(vocab_size=17, hidden_size=8, n_layer=1, n_head=1)
    models = {
        "model": random_model("gpt2"),
        "bare": random_model("gpt2"),
        "parallel": random_model("gpt_neox", use_parallel_residual=True),
        "unseen": transformers.BloomForCausalLM(unseen),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
        if name != "bare":
            byte_tokenizer().save_pretrained(folder / name)
    write_bear(folder / "bear")
    texts = some_texts(300)
    files = {
        "good.txt": "\n".join(texts).encode(),
        "empty.txt": b"",
        "blank.txt": b"\n  \n\t\n",
        "short.txt": b"a b\nc d\n",
        "binary.txt": bytes(range(256)) * 9,
        "zeros.txt": b"abc\0def\n" * 9,
        "rows.jsonl": "\n".join(json.dumps({"body": text}) for text in texts).encode(),
        "broken.txt": "\n".join(texts).encode() + b"\nA caf\xff",
        "half.jsonl": b'{"text": "one"}\n{"text": "\\ud800 two"}\n',
        "odd.jsonl": b'{"text": "one"}\n{"text": \n',
        "odd.parquet": b"PAR1 not at all",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def offline(monkeypatch):
    """No network, and a loud failure where somebody tries it again and again."""
    tries = []

    def refuse(self, address):
        tries.append(address)
        assert len(tries) < 20, tries
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *args, **kw: (_ for _ in ()).throw(socket.gaierror(-2, "no name"))
    )
    return tries


def refused(capsys, folder, *args):
    out = folder / "out"
    capsys.readouterr()
    code = cli.main(["train", *map(str, args), "--out", str(out)])
    err = capsys.readouterr().err
    assert code == 2, err
    assert len(err.splitlines()) == 1, err
    assert not out.exists()
    return err


@pytest.mark.parametrize(
    ("recipe", "more"), [("text", []), ("ioi", []), ("facts", ["--texts", "bear"])], ids=["text", "ioi", "facts"]
)
def test_a_model_without_a_tokenizer(folder, capsys, recipe, more):
    more = [folder / "bear" if part == "bear" else part for part in more]
    said = refused(capsys, folder, recipe, "--model", folder / "bare", *more)
    assert "the model has no tokenizer, and a task of texts needs one: put its files beside the model" in said


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("empty.txt", "holds no text: every one is empty"),
        ("blank.txt", "holds no text: every one is empty"),
        ("short.txt", "give 2 different windows of up to 19 tokens, too few to learn from: give at least 100"),
        ("binary.txt", "binary.txt is not text: it holds a byte of value 0"),
        ("zeros.txt", "line 1 of"),
        ("broken.txt", "broken.txt is not text in UTF-8: its byte 6 is 0xff"),
        ("half.jsonl", "half.jsonl holds half a character, \\ud800: mend that text"),
        ("odd.jsonl", "line 2 of"),
        ("odd.parquet", "is damaged or not Parquet"),
        ("none.txt", "there is no file"),
        ("rows.jsonl", "column 'text' of line 1 of"),
    ],
)
def test_texts_that_are_none(folder, capsys, file, said):
    pytest.importorskip("pyarrow")
    assert said in refused(capsys, folder, "text", "--model", folder / "model", "--texts", folder / file)


def test_a_column_that_is_not_there_beside_those_that_are(folder, capsys):
    given = ("--model", folder / "model", "--texts", folder / "rows.jsonl", "--column", "story")
    said = refused(capsys, folder, "text", *given)
    assert "column 'story'" in said
    assert "is not there; its columns are: body" in said


def test_one_endless_line_is_cut_and_of_json_refused(folder, capsys, monkeypatch):
    monkeypatch.setattr(formats, "LONGEST_LINE", 3000)
    monkeypatch.setattr(formats, "LONGEST_ROW", 5000)
    line = " ".join(some_texts(3000))
    (folder / "endless.txt").write_text(line)
    (folder / "endless.jsonl").write_text(json.dumps({"text": line}))
    [only] = read_texts(str(folder / "endless.txt"))
    assert only == line[:3000]
    said = refused(capsys, folder, "text", "--model", folder / "model", "--texts", folder / "endless.jsonl")
    assert "line 1 of" in said
    assert "is longer than 5,000 characters: give one row a line" in said


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["ioi", "--model", "gpt2"], "there is no folder gpt2, no local copy of a model of that name"),
        (["text", "--model", "nobody/such-a-model"], "there is no folder nobody/such-a-model"),
        (["text", "--texts", "nobody/texts"], "there is no file nobody/texts, and no data set of that name"),
        (["facts", "--texts", "nobody/minipile"], "there is no file nobody/minipile, and no data set of that name"),
        (["text", "--texts", "good.txt", "--decoder-from", "gpt2-medium", "--sites", "x0.post", "--epsilon", "0.5"],
         "there is no folder gpt2-medium, no local copy of a model of that name"),
    ],
    ids=["model", "model of somebody", "texts", "texts of facts", "decoder"],
)  # fmt: skip
def test_what_is_not_here_when_there_is_no_network(folder, capsys, offline, args, named):
    pytest.importorskip("datasets")
    args = [folder / part if part == "good.txt" else part for part in args]
    model = [] if "--model" in args else ["--model", folder / "model"]
    assert named in refused(capsys, folder, *args, *model)


@pytest.mark.parametrize(
    ("model", "site", "said"),
    [
        ("model", "a9.9", "has no site a9.9: there are embed, pos_embed, x0.pre, a0.0, attn0, x0.mid, m0, x0.post"),
        ("parallel", "x0.mid", "has no site x0.mid: there are embed, x0.pre, a0.0, attn0, m0, x0.post"),
        ("model", "head7", "head7"),
    ],
)
def test_sites_that_the_architecture_lacks(folder, capsys, model, site, said):
    given = ("--texts", folder / "good.txt", "--length", 8, "--sites", site)
    assert said in refused(capsys, folder, "text", "--model", folder / model, *given)


def test_an_architecture_that_is_not_in_the_table(folder, capsys):
    said = refused(capsys, folder, "text", "--model", folder / "unseen", "--texts", folder / "good.txt")
    assert "models of type 'bloom' cannot be probed: the table of architectures has no row that says where" in said
    assert said.rstrip().endswith(list(ARCHITECTURES)[-1])


def test_a_tokenizer_without_a_begin_token_and_how_positions_then_count(folder, tmp_path, capsys):
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.bos_token = None
    random_model("gpt2").save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    code = cli.main(["train", "text", "--model", str(tmp_path / "model"), "--texts", str(folder / "good.txt"),
                     "--length", "8", "--sites", "x0.post", "--epsilon", "0.5", "--steps", "1",
                     "--out", str(tmp_path / "out")])  # fmt: skip
    err = capsys.readouterr().err
    assert code == 0, err
    wanted = "the tokenizer has no BOS token: <|endoftext|> stands at position 0, and a text's own tokens count from 1"
    assert wanted in err.splitlines()
