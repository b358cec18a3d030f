import json
import shutil

import huggingface_hub
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from inversionview.errors import UserError
from inversionview.probed import selfcheck
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from tests.paths import SHARED
from tests.probed.tiny import MODELS, some_tokens, tiny
from tests.tokenizers import byte_tokenizer, story_tokenizer

TOKENS = some_tokens()


def save(name, folder, **options):
    model = tiny(name)
    model.save_pretrained(folder, **options)
    return model


def edit_config(folder, **fields):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_without_a_tokenizer(name, tmp_path, capfd):
    model = save(name, tmp_path)
    capfd.readouterr()
    for path in (tmp_path, str(tmp_path)):
        probed = ProbedModel.from_pretrained(path, device="cpu")
        assert torch.equal(probed.logits(TOKENS), ProbedModel(model).logits(TOKENS))
    assert probed.tokenizer is None
    assert not any(module.training for module in probed.model.modules())
    assert capfd.readouterr() == ("", "")  # no progress bar, no report


def test_options(tmp_path):
    save("gpt2", tmp_path)
    probed = ProbedModel.from_pretrained(tmp_path, convention="tl", device="cpu", dtype="bfloat16")
    assert probed.convention == "tl"
    assert probed.device == torch.device("cpu")
    assert probed.capture(TOKENS, "x0.pre")[Site("resid_pre", 0)].dtype == torch.bfloat16
    assert ProbedModel.from_pretrained(tmp_path, dtype=torch.float64).model.dtype == torch.float64
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert ProbedModel.from_pretrained(tmp_path).device.type == expected


def test_numbers_stay_as_saved(tmp_path):
    tiny("gpt2").to(torch.bfloat16).save_pretrained(tmp_path)
    assert ProbedModel.from_pretrained(tmp_path).model.dtype == torch.bfloat16


def test_weights_in_several_files(tmp_path):
    model = save("llama", tmp_path, max_shard_size="5KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert ProbedModel.from_pretrained(tmp_path, device="cpu").fingerprint == ProbedModel(model).fingerprint
    lost = sorted(tmp_path.glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(UserError, match=f"{lost.name} is missing"):
        ProbedModel.from_pretrained(tmp_path)


def test_tokenizer_beside_the_model_or_elsewhere(tmp_path, tmp_path_factory):
    tokenizer_folder = tmp_path_factory.mktemp("tokenizer")
    byte_tokenizer().save_pretrained(tokenizer_folder)
    save("gpt2", tmp_path)
    assert ProbedModel.from_pretrained(tmp_path, tokenizer=tokenizer_folder).tokenizer("a b").input_ids
    own = AutoTokenizer.from_pretrained(tokenizer_folder)
    assert ProbedModel.from_pretrained(tmp_path, tokenizer=own).tokenizer is own
    shutil.copytree(tokenizer_folder, tmp_path, dirs_exist_ok=True)
    assert ProbedModel.from_pretrained(tmp_path).tokenizer("a b").input_ids == own("a b").input_ids
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=f"tokenizer in {tmp_path}"):
        ProbedModel.from_pretrained(tmp_path)


def goes_on(probed, text, n):
    ids = probed.tokenizer(text).input_ids
    for _ in range(n):
        ids.append(int(probed.logits(torch.tensor([ids]))[0, -1].argmax()))
    return ids


def test_a_text_goes_on_as_transformers_says(tmp_path):
    tokenizer = story_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    text = "Once upon a time, there was a little girl named Lily."
    ids = goes_on(ProbedModel.from_pretrained(tmp_path, device="cpu"), text, 30)
    given = tokenizer(text, return_tensors="pt")
    model.generation_config.eos_token_id = None  # ours does not stop there
    expected = model.generate(**given, max_new_tokens=30, do_sample=False)[0].tolist()
    assert tokenizer.decode(ids, skip_special_tokens=True).startswith(text)
    assert len(set(ids[-30:])) > 1
    assert ids == expected


@pytest.mark.published("models/stories260k")
def test_stories_go_on_as_its_readme_says():
    probed = ProbedModel.from_pretrained(SHARED / "models" / "stories260k", device="cpu")
    ids = goes_on(probed, "Once upon a time, there was a little girl named Lily.", 30)
    assert "She loved to play outside in the park." in probed.tokenizer.decode(ids)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-100])


def empty(file):
    file.write_bytes(b"")


def scramble(file):
    file.write_bytes(b"\xff" * 500)


@pytest.mark.parametrize("damage", [truncate, empty, scramble])
def test_damaged_weights_are_an_error_that_names_the_file(damage, tmp_path):
    save("gpt2", tmp_path)
    damage(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged or truncated") as caught:
        ProbedModel.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [truncate, empty, scramble])
def test_a_damaged_configuration(damage, tmp_path):
    save("gpt2", tmp_path)
    damage(tmp_path / "config.json")
    with pytest.raises(UserError, match=r"config\.json"):
        ProbedModel.from_pretrained(tmp_path)


def test_a_damaged_index(tmp_path):
    save("llama", tmp_path, max_shard_size="5KB")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("[]")
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        ProbedModel.from_pretrained(tmp_path)


def test_weights_that_do_not_fit_the_configuration(tmp_path, capfd):
    save("gpt2", tmp_path)
    capfd.readouterr()
    edit_config(tmp_path, n_embd=32)
    with pytest.raises(UserError, match=f"{tmp_path} cannot be loaded") as caught:
        ProbedModel.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
    edit_config(tmp_path, n_embd=16, n_layer=3)
    with pytest.raises(UserError, match=r"lack 12 of the model's tensors, transformer\.h\.2"):
        ProbedModel.from_pretrained(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_configuration_that_makes_no_sense(tmp_path):
    save("gpt2", tmp_path)
    edit_config(tmp_path, n_head="many")
    with pytest.raises(UserError, match="cannot be loaded"):
        ProbedModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"), [({"model_type": "bert"}, "'bert'.*gpt2"), ({"model_type": None}, "None")]
)
def test_another_type_of_model(fields, message, tmp_path):
    save("gpt2", tmp_path)
    edit_config(tmp_path, **fields)
    with pytest.raises(UserError, match=message):
        ProbedModel.from_pretrained(tmp_path)


def test_code_that_comes_with_a_model_is_never_run(tmp_path):
    save("gpt2", tmp_path)
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    edit_config(tmp_path, auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    assert ProbedModel.from_pretrained(tmp_path)


def test_pickled_weights_are_refused(tmp_path):
    save("gpt2", tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickled, which is never read"):
        ProbedModel.from_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="no weights"):
        ProbedModel.from_pretrained(tmp_path)


def test_there_is_no_such_folder(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        ProbedModel.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(UserError, match="there is no folder"):
        ProbedModel.from_pretrained("./no/where")
    with pytest.raises(UserError, match=r"no model configuration at .*config\.json"):
        ProbedModel.from_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_text("")
    with pytest.raises(UserError, match="is a file: give the folder"):
        ProbedModel.from_pretrained(file)


@pytest.mark.parametrize(("option", "message"), [("device", "no device"), ("dtype", "float32, bfloat16")])
@pytest.mark.parametrize("value", ["cuda:99", "nonsense", "int8"])
def test_a_device_or_type_that_there_is_not(option, message, value, tmp_path):
    save("gpt2", tmp_path)
    with pytest.raises(UserError, match=message):
        ProbedModel.from_pretrained(tmp_path, **{option: value})


class Hub:
    """Stands for the hub: a name's local copy, if it was fetched, and what asking for it does."""

    def __init__(self, source, answer=None):
        self.source, self.answer, self.fetched, self.asked = source, answer, False, 0

    def snapshot_download(self, name, revision=None, allow_patterns=None, local_files_only=False):
        if local_files_only and not self.fetched:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        self.fetched = True
        return str(self.source)

    def model_info(self, name, revision, timeout):
        assert timeout <= 10
        self.asked += 1
        if self.answer is not None:
            raise self.answer


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda self, *args, **options: hub.model_info(*args, **options)
    )
    return hub


def test_a_model_of_the_hub_is_fetched_once(hub, tmp_path):
    save("gpt2", tmp_path)
    for _ in range(2):
        assert ProbedModel.from_pretrained("somebody/tiny.gpt-2").n_layers == 2
    assert hub.asked == 1


def test_an_unreachable_hub_is_one_line_and_soon():
    # The real client, at a port where nobody listens.
    api = huggingface_hub.HfApi
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub, "HfApi", lambda: api(endpoint="http://127.0.0.1:9"))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        with pytest.raises(UserError, match=r"no local copy.*hub cannot be reached") as caught:
            ProbedModel.from_pretrained("nobody/has-this-model")
    assert "\n" not in str(caught.value)


def test_what_the_hub_says_no_to(hub):
    response = type("Response", (), {"headers": {}, "request": None, "status_code": 404, "text": ""})()
    hub.answer = huggingface_hub.errors.RepositoryNotFoundError("404", response=response)
    with pytest.raises(UserError, match="no model of that name on the hub"):
        ProbedModel.from_pretrained("nobody/nothing")
    hub.answer = huggingface_hub.errors.GatedRepoError("403", response=response)
    with pytest.raises(UserError, match="gated"):
        ProbedModel.from_pretrained("somebody/private")


def test_a_tokenizer_of_a_vocabulary_and_merges_alone(tmp_path):
    save("gpt2", tmp_path)
    content = json.loads(byte_tokenizer().backend_tokenizer.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(content["vocab"]))
    assert ProbedModel.from_pretrained(tmp_path).tokenizer is None
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, content["merges"])]) + "\n")
    text = "Once upon a time, there was a king."
    assert ProbedModel.from_pretrained(tmp_path).tokenizer(text).input_ids == byte_tokenizer()(text).input_ids


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq"])
def test_quantised_weights_are_refused(method, tmp_path):
    save("gpt2", tmp_path)
    edit_config(tmp_path, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(UserError, match=rf"are quantised \({method}\)") as caught:
        ProbedModel.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_loaded_is_checked_before_its_first_forward(tmp_path, monkeypatch):
    save("gpt2", tmp_path)
    checked = []
    own = selfcheck.check
    monkeypatch.setattr("inversionview.probed.model.check", lambda *of: checked.append(of) or own(*of))
    probed = ProbedModel.from_pretrained(tmp_path)
    assert not checked
    for _ in range(2):
        probed.capture(TOKENS, "x0.pre")
    assert len(checked) == 1

    def refuse(*of):
        raise UserError("no")

    monkeypatch.setattr("inversionview.probed.model.check", refuse)
    other = ProbedModel.from_pretrained(tmp_path)
    for ask in (lambda: other.logits(TOKENS), lambda: other.capture(TOKENS, "x0.pre")):
        with pytest.raises(UserError, match="no"):  # each time, not only the first
            ask()
