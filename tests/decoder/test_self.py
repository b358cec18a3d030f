"""A decoder made of the probed model itself shares its weights with LoRA, and leaves no trace on it."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file

from inversionview.decoder.loading import load_decoder, read_decoder, save_decoder
from inversionview.decoder.model import DecoderConfig
from inversionview.decoder.pretrained import self_decoder
from inversionview.decoder.sampling import sample
from inversionview.decoder.scoring import score
from inversionview.decoder.training import DecoderObjective, DecoderTrainingConfig, Pretrained, make_decoder
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.tasks.addition.task import AdditionTask
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from inversionview.training import TrainingConfig, train
from tests.decoder.tiny import CONFIG, activations, inputs
from tests.preimage.tiny import gpt2, task
from tests.probed.compiled import WAYS
from tests.probed.spread import spread
from tests.probed.tiny import MODELS, some_tokens, tiny
from tests.real_models import GEMMA3, SMOLLM2, load_real, real_model
from tests.studies.text_models import random_model, some_texts
from tests.tokenizers import byte_tokenizer

FEW = ("gpt2", "llama", "gpt_neox", "gemma3_text", "opt")
CASES = [(kind, dtype) for kind in FEW for dtype in (torch.float32, torch.bfloat16)]
SMALL = {"trunk_blocks": 1, "trunk_width": 32, "d_model": 32}


def of_itself(probed, rank=2, seed=0):
    """A decoder as of `tiny`, on the probed model, in which everything that is trained matters."""
    torch.manual_seed(seed)
    decoder = self_decoder(
        DecoderConfig(**CONFIG | {"fingerprint": probed.fingerprint, "convention": "raw"}), probed, rank
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    decoder.set_normalisation(torch.randn(3, 8, generator=generator), torch.tensor([1.0, 0.5, 2.0]))
    return decoder.eval()


def seen_of(probed, tokens):
    """All that there is to see of a model: activations, logits, its fingerprint, and what its modules are."""
    modules = [(name, type(module)) for name, module in probed.model.named_modules()]
    weights = [(name, p.dtype, p.requires_grad, p.data_ptr()) for name, p in probed.model.named_parameters()]
    config = json.loads(probed.model.config.to_json_string()), probed.model.config._attn_implementation
    plain = modules, weights, config, probed.model.training, probed.fingerprint
    return plain, [*probed.capture(tokens, probed.sites).values(), probed.logits(tokens)]


def assert_untouched(before, after):
    assert before[0] == after[0]
    assert all(torch.equal(a, b) for a, b in zip(before[1], after[1], strict=True))


@pytest.mark.parametrize(("kind", "dtype"), CASES, ids=str)
def test_weights_are_in_memory_once_with_lora_and_twice_without(kind, dtype):
    probed = ProbedModel(tiny(kind).to(dtype))
    before = seen_of(probed, some_tokens())
    theirs = {p.data_ptr(): p for p in probed.model.parameters()}
    shared = of_itself(probed).body.backbone
    frozen = [p for name, p in shared.named_parameters() if "lora_" not in name]
    apart = [p for p in frozen if p.data_ptr() not in theirs]
    assert not any(p.requires_grad for p in frozen)
    assert all(p.dim() < 2 and p.dtype == torch.float32 for p in apart), "but norms and biases in half precision"
    assert not apart or dtype == torch.bfloat16
    own = of_itself(probed, rank=0).body.backbone
    assert all(p.requires_grad and p.dtype == torch.float32 for p in own.parameters())
    assert not any(p.data_ptr() in theirs for p in own.parameters())
    assert_untouched(before, seen_of(probed, some_tokens()))


@pytest.mark.parametrize(("kind", "dtype"), CASES, ids=str)
@torch.no_grad()
def test_it_computes_one_distribution_in_fp32_also_on_weights_in_half_precision(kind, dtype):
    decoder = of_itself(ProbedModel(tiny(kind).to(dtype)))
    z, site = activations(2)
    drawn = sample(decoder, z, site, 20, generator=torch.Generator().manual_seed(0))
    for query in range(2):
        tokens = drawn.tokens[query]
        forced = decoder.log_prob(tokens, z[query].expand(20, -1), site[query].expand(20))
        torch.testing.assert_close(drawn.log_prob[query], forced, rtol=1e-4, atol=1e-4)
        [scored] = score(decoder, tokens, z[query], int(site[query]))
        torch.testing.assert_close(scored.sum(1), forced, rtol=1e-4, atol=1e-4)
    tokens, (z, site) = inputs(4), activations(4)
    exact = decoder.log_prob(tokens, z, site)
    decoder.compute_dtype = torch.bfloat16
    rough = decoder.log_prob(tokens, z, site)
    assert 0 < (rough - exact).abs().max() < 0.2 * exact.abs().max()


@torch.no_grad()
def test_weights_in_half_precision_give_what_the_same_numbers_in_fp32_give():
    half = tiny("llama").to(torch.bfloat16)
    decoders = [of_itself(ProbedModel(model)) for model in (half, copy.deepcopy(half).float())]
    tokens, (z, site) = inputs(4), activations(4)
    one, other = (decoder.log_prob(tokens, z, site) for decoder in decoders)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [*sorted(set(MODELS) - {*FEW, "falcon rw"})])
@pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match")  # peft, of a mixture of experts
def test_every_architecture_that_is_read_can_be_its_own_decoder(kind):
    probed = ProbedModel(tiny(kind))
    before = seen_of(probed, some_tokens())
    decoder = of_itself(probed)
    z, site = activations(1)
    assert sample(decoder, z, site, 5, generator=torch.Generator().manual_seed(0)).log_prob.isfinite().all()
    assert_untouched(before, seen_of(probed, some_tokens()))


def test_one_that_cannot_is_refused_by_name():
    with pytest.raises(UserError, match="a model of type falcon cannot be a decoder's backbone: it"):
        of_itself(ProbedModel(tiny("falcon rw")))


def test_a_model_on_several_devices_is_refused():
    with pytest.raises(UserError, match="spread over several devices: load the model on one, or give") as error:
        of_itself(ProbedModel(spread("llama")))
    assert "\n" not in str(error.value)


@torch.no_grad()
@pytest.mark.parametrize("compiled", WAYS, ids=lambda way: way.__name__)
def test_a_compiled_or_hooked_model_is_shared_as_it_was_before(compiled):
    tokens, (z, site) = inputs(3), activations(3)
    expected = of_itself(ProbedModel(tiny("llama"))).log_prob(tokens, z, site)
    model = compiled(tiny("llama"))
    calls = []
    for module in model.modules():
        module.register_forward_hook(lambda *_: calls.append(1))
    decoder = of_itself(ProbedModel(model, checked=False))
    calls.clear()
    torch.testing.assert_close(decoder.log_prob(tokens, z, site), expected)
    assert not calls


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("rank", [0, 2])
def test_capture_logits_and_fingerprint_are_the_same_before_during_and_after_training(tmp_path, text, rank):
    """And those of a model of which no decoder was made."""
    if text:
        tokenizer = byte_tokenizer()
        models = [ProbedModel(random_model("gpt2"), tokenizer) for _ in range(2)]
        domain = TextTask.from_texts(Vocabulary(tokenizer), some_texts(100), 8)
    else:
        models, domain = [ProbedModel(gpt2(), convention="tl") for _ in range(2)], task()
    sites = [Site.parse(name) for name in ("x0.pre", "a0.1", "x1.post")]
    rows = domain.sample(6, generator=torch.Generator().manual_seed(0))
    probed, alone = models
    before = seen_of(probed, rows)
    assert all(torch.equal(a, b) for a, b in zip(before[1], seen_of(alone, rows)[1], strict=True))
    module = make_decoder(probed, domain, sites, n_statistics=64, pretrained=Pretrained("self", rank), **SMALL)
    assert module.config.vocab_size == domain.vocab_size
    objective = DecoderObjective(module, probed, domain, DecoderTrainingConfig(full_steps=2))

    class Watch:
        def log(self, step, total, values):
            assert_untouched(before, seen_of(probed, rows))

        def close(self):
            pass

    config = TrainingConfig(batch_size=8, steps=4, log_every=1, precision="bf16", warmup_steps=1, learning_rate=0.01)
    start = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert len(train(objective, config, tmp_path, logger=Watch()).losses) == 4
    assert_untouched(before, seen_of(probed, rows))
    trained = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, start[name])}
    assert any("lora_" in name or not rank for name in trained if name.startswith("body.backbone"))
    assert not rank or all("lora_" in name for name in start if name.startswith("body.backbone"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_saved_it_keeps_only_what_was_trained_and_comes_back_on_the_model_that_is_there(tmp_path, dtype, monkeypatch):
    probed = ProbedModel(tiny("llama").to(dtype))
    decoder = of_itself(probed)
    save_decoder(decoder, tmp_path / "decoder")
    names = list(load_file(tmp_path / "decoder" / "model.safetensors"))
    assert all(name.startswith(("trunk.", "slots.", "condition_norm")) or "lora_" in name for name in names)
    saved = json.loads((tmp_path / "decoder" / "config.json").read_text())
    assert (saved["base"], saved["lora_rank"], saved["base_fingerprint"]) == ("self", 2, probed.fingerprint)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "self").mkdir()  # a folder of this name has nothing to do with it
    loaded = load_decoder(tmp_path / "decoder", probed, AdditionTask())
    tokens, (z, site) = inputs(4), activations(4)
    assert torch.equal(loaded.log_prob(tokens, z, site), decoder.log_prob(tokens, z, site))
    shared = {p.data_ptr() for p in probed.model.parameters()} & {p.data_ptr() for p in loaded.parameters()}
    assert shared
    with pytest.raises(UserError, match=r"was trained on the probed model .*, and this is the probed model"):
        load_decoder(tmp_path / "decoder", ProbedModel(tiny("gpt2")), AdditionTask())
    with pytest.raises(UserError, match="which is needed to load it"):
        read_decoder(tmp_path / "decoder", AdditionTask())


@torch.no_grad()
def test_without_lora_all_weights_are_kept(tmp_path):
    probed = ProbedModel(tiny("gpt2"))
    decoder = of_itself(probed, rank=0)
    save_decoder(decoder, tmp_path / "decoder")
    loaded = load_decoder(tmp_path / "decoder", probed, AdditionTask())
    tokens, (z, site) = inputs(4), activations(4)
    assert torch.equal(loaded.log_prob(tokens, z, site), decoder.log_prob(tokens, z, site))


@real_model(SMOLLM2, GEMMA3)
@pytest.mark.parametrize(("name", "dtype"), [(SMOLLM2, "float32"), (SMOLLM2, "bfloat16"), (GEMMA3, "float32")])
def test_a_real_model_from_gguf_is_its_own_decoder(name, dtype):
    """With slots that say nothing yet and LoRA's matrices at zero, it is the language model, bits of bf16 aside."""
    probed = load_real(name)
    if dtype == "bfloat16":
        probed = ProbedModel(copy.deepcopy(probed.model).to(torch.bfloat16), probed.tokenizer)
    words = probed.tokenizer("The cat sat on the mat and looked at", return_tensors="pt")["input_ids"]
    before = seen_of_few(probed, words)
    config = {"d_activation": probed.d_model, "vocab_size": probed.vocab_size, "sites": ("x5.post",), "max_length": 20,
              "begin": int(words[0, 0]), "end": 2, "pad": 2}  # fmt: skip
    decoder = self_decoder(DecoderConfig(**CONFIG | config), probed, 16)
    theirs = {p.data_ptr() for p in probed.model.parameters()}
    apart = sum(p.numel() for p in decoder.parameters() if p.data_ptr() not in theirs and not p.requires_grad)
    assert apart < 1e5
    z, site = (
        torch.randn(1, probed.d_model, generator=torch.Generator().manual_seed(0)),
        torch.zeros(1, dtype=torch.long),
    )
    loss = decoder(words[:, :-1], z, site, None, words[:, 1:].flatten())
    loss.backward()
    assert all(p.grad is not None for p in decoder.parameters() if p.requires_grad)
    after = seen_of_few(probed, words)
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert torch.equal(before[2], after[2])


def seen_of_few(probed, tokens):
    return probed.fingerprint, probed.capture(tokens, "x5.post")[Site.parse("x5.post")], probed.logits(tokens)
