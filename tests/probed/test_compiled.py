"""A compiled model is read and patched as the model that it was made of."""

import copy
import threading

import pytest
import torch

from inversionview.errors import UserError
from inversionview.probed.model import Patch, ProbedModel
from inversionview.studies.folder import keep_model
from tests.probed.compiled import WAYS, decoder_in_place, forward, in_place, layers, layers_in_place
from tests.probed.tiny import every_site, some_tokens, tiny

TOKENS = some_tokens()
POSITIONS = torch.tensor([1, 4, 8])


def ran(model):
    """The model, after what was compiled of it has seen an input: from then on it does not look for hooks again."""
    with torch.no_grad():
        model(TOKENS)
    return model


def checked(compiled, plain):
    torch.testing.assert_close(compiled.logits(TOKENS), plain.logits(TOKENS))
    values = plain.capture(TOKENS, every_site(plain), POSITIONS)
    for site, value in compiled.capture(TOKENS, every_site(compiled), POSITIONS).items():
        torch.testing.assert_close(value, values[site])
        patch = Patch(site, POSITIONS, 1.5 * value.roll(1, 0))
        patched = compiled.logits(TOKENS, [patch])
        torch.testing.assert_close(patched, plain.logits(TOKENS, [patch]))
        assert (patched - plain.logits(TOKENS)).abs().max() > 1e-4, site


@pytest.fixture(autouse=True)
def _forget_what_was_compiled():
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_captures_and_patches_are_those_of_the_model_that_was_compiled(way):
    plain = ProbedModel(tiny("llama"))
    compiled = ProbedModel(ran(way(tiny("llama"))))
    checked(compiled, plain)
    assert compiled.fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    "way", [in_place, forward, decoder_in_place, layers, layers_in_place], ids=lambda w: w.__name__
)
def test_it_may_be_compiled_after_it_was_given(way):
    model = tiny("llama")
    probed = ProbedModel(model)
    ran(way(model))
    checked(probed, ProbedModel(tiny("llama")))


def test_what_was_compiled_stays_compiled_outside():
    calls = []

    def counted(graph, inputs):
        calls.append(1)
        return graph.forward

    model = tiny("llama")
    model.compile(backend=counted)
    probed = ProbedModel(model)
    probed.capture(TOKENS, "x1.post")
    probed.logits(TOKENS, [Patch("x0.post", 1, torch.zeros(12))])
    assert not calls
    with torch.no_grad():
        model(TOKENS)
    assert calls
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_it_is_kept_in_a_folder_under_the_names_of_the_model_that_was_compiled(tmp_path):
    probed = ProbedModel(layers(tiny("llama")))
    keep_model(probed, tmp_path)
    again = ProbedModel.from_pretrained(tmp_path, device="cpu")
    assert again.fingerprint == probed.fingerprint
    assert torch.equal(again.logits(TOKENS), probed.logits(TOKENS))


def test_two_models_in_two_threads_leave_the_compiler_as_it_was():
    models = [ProbedModel(ran(in_place(tiny("llama", seed)))) for seed in (0, 1)]
    plain = [ProbedModel(tiny("llama", seed)) for seed in (0, 1)]
    expected = [probed.logits(TOKENS, [Patch("a0.1", 2, torch.ones(12))]) for probed in plain]
    wrong = []

    def read(index):
        for _ in range(20):
            logits = models[index].logits(TOKENS, [Patch("a0.1", 2, torch.ones(12))])
            if not torch.allclose(logits, expected[index], atol=1e-5):
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_a_model_that_does_not_come_by_what_is_read_is_refused():
    model = tiny("llama")
    other = copy.deepcopy(model.model)
    probed = ProbedModel(model)
    model.model = other  # of the same weights, so that no value could tell
    with pytest.raises(UserError, match="does not come by its LlamaDecoderLayer"):
        probed.logits(TOKENS, [Patch("x0.post", 1, torch.zeros(12))])
