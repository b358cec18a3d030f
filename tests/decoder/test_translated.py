"""A decoder with another tokenizer than the task's: the same texts, each with one probability."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from inversionview.criterion import Criterion
from inversionview.decoder.loading import load_decoder, save_decoder
from inversionview.decoder.sampling import sample
from inversionview.decoder.scoring import score
from inversionview.decoder.tokens import Retokenised
from inversionview.decoder.training import DecoderObjective, DecoderTrainingConfig, Pretrained, make_decoder
from inversionview.errors import UserError
from inversionview.preimage.estimates.rates import in_epsilon
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from inversionview.training import TrainingConfig, train
from tests.decoder.texts import texts, tokenizer
from tests.preimage.tiny import task as addition

SITES = [Site.parse(name) for name in ("x0.pre", "a1.1")]


@pytest.fixture(scope="module")
def task():
    return TextTask.from_texts(Vocabulary(tokenizer(20)), texts(), 10)


@pytest.fixture(scope="module")
def probed(task):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=task.vocab_size, n_positions=32, n_embd=8, n_layer=2, n_head=2, bos_token_id=0,
                        eos_token_id=1)  # fmt: skip
    return ProbedModel(GPT2LMHeadModel(config).eval(), task.tokenizer)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder, own = tmp_path_factory.mktemp("base"), tokenizer(8, "<stop>")
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=len(own) + 3, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
                         num_attention_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1,
                         pad_token_id=None)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    own.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def decoder(task, probed, base):
    small = {"d_model": 16, "trunk_blocks": 1, "trunk_width": 16}
    made = make_decoder(probed, task, SITES, n_statistics=64, pretrained=Pretrained(str(base)), **small)
    assert isinstance(made.adapter, Retokenised)
    data = DecoderTrainingConfig(groups=2, full_steps=150)
    settings = TrainingConfig(batch_size=32, steps=150, warmup_steps=5, learning_rate=5e-3, precision="fp32")
    train(DecoderObjective(made, probed, task, data), settings, base / "training")
    return made.eval()


def activation(seed=0):
    return torch.randn(8, generator=torch.Generator().manual_seed(seed))


def drawn(decoder, n=200):
    return sample(decoder, activation()[None], torch.tensor([1]), n, generator=torch.Generator().manual_seed(0))


def test_rows_come_back_from_the_other_tokens(task, decoder):
    translated = decoder.adapter.to_own(task.windows)
    assert translated.exact.float().mean() > 0.9
    assert not torch.equal(translated.tokens[:, :5], task.windows[:, :5])
    rows, known = decoder.adapter.to_task(translated.tokens[translated.exact])
    assert known.all()
    assert torch.equal(rows, task.windows[translated.exact])


def test_own_tokens_end_where_their_text_ends(task, decoder):
    translation = decoder.adapter
    translated = translation.to_own(task.windows[:50])
    for row, own, homes in zip(task.windows[:50], translated.tokens, translated.homes, strict=True):
        ids, inner = translation.task.inner(row), translation.own.inner(own)
        for place in range(1, len(inner) + 1):
            home, written = int(homes[place]), len(translation.own.text(inner[:place]).replace("�", ""))
            assert written <= len(translation.task.text(ids[:home]))
        assert homes[len(inner) + 1] == len(ids) + 1


def test_a_prefix_of_the_task_s_tokens_is_cut_where_it_ends(task, decoder):
    translation = decoder.adapter
    translated = translation.to_own(task.windows[:50])
    for length in (1, 3, 5):
        cut = translation.cut(translated, torch.full((50,), length))
        for row, own, count in zip(task.windows[:50], translated.tokens, cut.tolist(), strict=True):
            ids = translation.task.inner(row)
            if length <= len(ids):  # as in training, where no activation is taken behind the text
                written = translation.own.text(own[1 : count + 1].tolist()).strip("�")
                assert translation.task.text(ids[:length]).startswith(written) or count == 1


def test_draws_are_texts_with_the_density_that_scoring_gives(task, decoder):
    draws = drawn(decoder)
    rows, log_prob = draws.tokens[0], draws.log_prob[0]
    inside = ~log_prob.isnan()
    assert inside.float().mean() > 0.3
    assert not task.contains(rows[~inside]).any()
    [scored] = score(decoder, rows[inside], activation(), 1)
    torch.testing.assert_close(scored.sum(1), log_prob[inside], rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        forced = decoder.log_prob(
            rows[inside], activation().expand(int(inside.sum()), -1), torch.ones(int(inside.sum()), dtype=int)
        )
    torch.testing.assert_close(forced, log_prob[inside], rtol=1e-3, atol=1e-3)


def test_other_tokens_of_a_text_have_no_probability(task, decoder):
    words = {token: task.tokenizer.convert_ids_to_tokens(token) for token in range(2, task.vocab_size)}
    pairs = {token: task.tokenizer.convert_tokens_to_ids(list(word)) for token, word in words.items() if len(word) == 2}
    inner = [task.vocabulary.inner(row) for row in task.windows]
    ids, at = next((ids, ids.index(t)) for ids in inner for t in pairs if t in ids and len(ids) + 3 <= task.max_length)
    row, split = (task.vocabulary.row(x, task.max_length) for x in (ids, [*ids[:at], *pairs[ids[at]], *ids[at + 1 :]]))
    assert task.decode(split) == task.decode(row)
    [found] = score(decoder, torch.stack([row, split]), activation(), 0)
    assert found.sum(1)[0].isfinite()
    assert found.sum(1)[1] == -torch.inf


def test_rates_and_files_are_as_of_any_decoder(task, probed, decoder, tmp_path):
    rates = in_epsilon(decoder, probed, task, 10, criterion=Criterion.parse(0.5, "euclidean"),
                       generator=torch.Generator().manual_seed(0), floor=False)  # fmt: skip
    assert rates.samples.any.shape == (2, 10)
    save_decoder(decoder, tmp_path / "decoder")
    loaded = load_decoder(tmp_path / "decoder", probed, task)
    assert loaded.config == decoder.config
    assert torch.equal(drawn(loaded, 20).tokens, drawn(decoder, 20).tokens)


def test_what_is_no_text_and_what_is_constrained_is_refused(task, probed, base):
    with pytest.raises(UserError, match="inputs of task addition are no text"):
        make_decoder(probed, addition(), SITES, n_statistics=8, pretrained=Pretrained(str(base)))
    with pytest.raises(UserError, match="cannot be constrained"):
        make_decoder(probed, task, SITES, n_statistics=8, pretrained=Pretrained(str(base)), constrained=True)
