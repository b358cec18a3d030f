"""GGUF files: read as they are, kept in a converted form, and refused in one line where they cannot be read."""

import json
import shutil
import threading

import pytest
import torch
from transformers import AutoModelForCausalLM

from inversionview.errors import UserError
from inversionview.probed import gguf
from inversionview.probed.model import ProbedModel
from tests.probed.gguf_files import tiny_qwen, write_gguf
from tests.real_models import GEMMA3, SMOLLM2, load_real, real_model
from tests.tokenizers import byte_tokenizer

TEXT = "Once upon a time, there was a little girl named Lily."
TOKENS = torch.tensor([byte_tokenizer()(TEXT).input_ids])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INVERSIONVIEW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path, cache):
    file = tmp_path / "model" / "tiny.gguf"
    file.parent.mkdir()
    write_gguf(tiny_qwen(), file)
    return file


@pytest.fixture
def conversions(monkeypatch):
    made, convert = [], gguf._convert
    monkeypatch.setattr(gguf, "_convert", lambda *args, **options: made.append(args) or convert(*args, **options))
    return made


def test_a_file_or_the_folder_that_holds_it_is_the_model_that_was_written(file, cache, caplog):
    expected = tiny_qwen()
    for place in (file, str(file), file.parent):
        probed = ProbedModel.from_pretrained(place, device="cpu")
        assert torch.allclose(probed.logits(TOKENS), expected(TOKENS).logits, atol=1e-5)
        assert probed.model.dtype == torch.float32
        assert probed.tokenizer(TEXT).input_ids == TOKENS[0].tolist()
        assert probed.tokenizer.decode(TOKENS[0]) == TEXT
    assert [record.message for record in caplog.records if "converting" in record.message] == [
        "converting tiny.gguf, once: this takes a minute or so, and the next time nothing"
    ]


def test_quantised_weights_are_turned_back_as_transformers_does(tmp_path, cache):
    file = tmp_path / "small.gguf"
    write_gguf(tiny_qwen(), file, quantised=True)
    probed = ProbedModel.from_pretrained(file, device="cpu")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name).eval()
    assert torch.equal(probed.logits(TOKENS), theirs(TOKENS).logits)
    rounding = (probed.logits(TOKENS) - tiny_qwen()(TOKENS).logits).abs().max()
    assert 0 < rounding < 1


def test_what_came_from_gguf_is_plain_again(file, tmp_path):
    probed = ProbedModel.from_pretrained(file, device="cpu")
    probed.model.float().save_pretrained(tmp_path / "saved")
    assert ProbedModel.from_pretrained(tmp_path / "saved", device="cpu").fingerprint == probed.fingerprint
    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    with gguf.as_plain(theirs):
        theirs.save_pretrained(tmp_path / "theirs")
    assert "quantization_config" not in json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert theirs.hf_quantizer is not None  # the caller's model is left as it was
    assert ProbedModel.from_pretrained(tmp_path / "theirs", device="cpu").fingerprint == probed.fingerprint


def test_a_file_is_converted_once_for_each_type_of_numbers_wherever_it_lies(file, tmp_path, conversions):
    link = tmp_path / "link.gguf"
    link.symlink_to(file)
    copy = shutil.copy(file, tmp_path / "copy.gguf")
    for place in (file, link, copy):
        ProbedModel.from_pretrained(place, device="cpu")
    assert len(conversions) == 1
    probed = ProbedModel.from_pretrained(file, device="cpu", dtype="bfloat16")
    assert len(conversions) == 2
    assert probed.model.dtype == torch.bfloat16


def truncate(entry):
    weights = entry / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])


def lose(entry):
    (entry / "tokenizer.json").unlink()


def of_another_file(entry):
    made = json.loads((entry / "gguf.json").read_text())
    (entry / "gguf.json").write_text(json.dumps(made | {"sha256": "0" * 64}))


def of_somebody_else(entry):
    (entry / "gguf.json").write_text("[1]")


@pytest.mark.parametrize("damage", [truncate, lose, of_another_file, of_somebody_else])
def test_a_damaged_or_foreign_entry_of_the_cache_is_made_again(damage, file, cache, conversions):
    before = ProbedModel.from_pretrained(file, device="cpu").fingerprint
    [entry] = (cache / "gguf").glob("*/float32")
    damage(entry)
    assert ProbedModel.from_pretrained(file, device="cpu").fingerprint == before
    assert len(conversions) == 2


def test_two_that_ask_at_the_same_time_make_it_once(file, conversions):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(gguf.converted(file, None, readable=True))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(conversions) == 1


def test_without_its_package_one_line_says_what_to_install(file, monkeypatch):
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package gguf: pip install gguf"):
        ProbedModel.from_pretrained(file)


def refused(place):
    with pytest.raises(UserError) as caught:
        ProbedModel.from_pretrained(place, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_read_is_one_line_and_leaves_nothing(file, tmp_path, cache):
    other = tmp_path / "other.gguf"
    write_gguf(tiny_qwen(), other, architecture="rwkv7")
    assert "architecture 'rwkv7', which transformers does not read" in refused(other)
    for kept in (100, 5000, -200):
        other.write_bytes(file.read_bytes()[:kept])
        assert f"{other} is damaged or truncated" in refused(other)
    other.write_bytes(b"")
    assert "is no GGUF file" in refused(other)
    part = tmp_path / "big-00001-of-00003.gguf"
    shutil.copy(file, part)
    assert "one of several parts" in refused(part)
    assert "there is no file" in refused(tmp_path / "nowhere.gguf")
    assert not list((cache / "gguf").glob("*/*"))


def test_a_type_of_model_that_is_not_probed(file, monkeypatch):
    monkeypatch.delitem(places_table(), "qwen2")
    assert "models of type 'qwen2' cannot be probed" in refused(file)


def places_table():
    from inversionview.probed.architectures import ARCHITECTURES

    return ARCHITECTURES


def test_several_files_in_a_folder(file):
    shutil.copy(file, file.parent / "mmproj-tiny.gguf")
    assert ProbedModel.from_pretrained(file.parent, device="cpu").n_layers == 2  # an image tower is not the model
    shutil.copy(file, file.parent / "tiny.Q8_0.gguf")
    assert "holds 2 GGUF files: say which" in refused(file.parent)


def test_a_cache_that_cannot_be_made(file, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("INVERSIONVIEW_CACHE", str(tmp_path / "taken"))
    assert "INVERSIONVIEW_CACHE names another" in refused(file)


@real_model(SMOLLM2)
def test_smollm2_gives_the_logits_of_its_own_implementation():
    probed = load_real(SMOLLM2)
    ids = torch.tensor([probed.tokenizer("When Mary and John went to the store, John gave a drink to").input_ids])
    with torch.no_grad():
        expected = probed.model(ids).logits
    assert probed.tokenizer.decode(expected[0, -1].argmax()) == " Mary"
    assert torch.allclose(probed.logits(ids), expected, atol=1e-4)
    assert (probed.n_layers, probed.n_heads, probed.d_model) == (30, 9, 576)


@real_model(GEMMA3)
def test_gemma_goes_on_as_a_language_model_does():
    probed = load_real(GEMMA3)
    ids = torch.tensor([probed.tokenizer("The capital of France is the city of").input_ids])
    assert probed.tokenizer.decode(probed.logits(ids)[0, -1].argmax()) == " Paris"
