"""Decoders that write the tokens that occur alone, with and without a class for all others."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product

import pytest
import torch

from inversionview.decoder.loading import read_decoder, save_decoder
from inversionview.decoder.model import RaggedRows
from inversionview.decoder.sampling import common_tokens, sample, sample_varied
from inversionview.decoder.scoring import score
from inversionview.decoder.training import make_decoder
from inversionview.sites import Site
from inversionview.tasks import get_task
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.decoder.tiny import activations, tiny_decoder
from tests.tasks.text.words import TEXTS
from tests.tasks.text.words import model as text_model

FEW = {"vocab_size": 9, "max_length": 4, "begin": 2, "end": 7, "pad": 8, "tokens": (2, 4, 5, 7, 8)}
OTHERS = (0, 1, 3, 6)
"""What is not among the tokens."""


def rows_of(tokens) -> torch.Tensor:
    """Every row of two tokens or fewer, each with its end and padding."""
    rows = [[2, 7, 8, 8], *([2, a, 7, 8] for a in tokens), *([2, a, b, 7] for a, b in product(tokens, repeat=2))]
    return torch.tensor(rows)


def unended(tokens) -> torch.Tensor:
    return torch.tensor([[2, *row] for row in product(tokens, repeat=3)])


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_densities_sum_to_one_over_all_rows_of_tokens(others, temperature):
    decoder = tiny_decoder(**FEW, others=others)
    z, site = activations(1)
    inner = [t for t in range(9) if t != 7]
    rows = torch.cat([rows_of(inner), unended(inner)])
    log_probs = score(decoder, rows, z[0], int(site), [temperature])[0].sum(dim=1)
    assert math.isclose(log_probs.double().exp().sum(), 1.0, rel_tol=1e-5)
    outside = torch.isin(rows, torch.tensor(OTHERS)).any(dim=1)
    assert log_probs[outside].isinf().all() != others
    assert log_probs[~outside].isfinite().all()
    if temperature == 1:
        whole = decoder.log_prob(rows, z.expand(len(rows), -1), site.expand(len(rows)))
        torch.testing.assert_close(log_probs, whole, rtol=1e-4, atol=1e-4)


def test_all_others_are_equally_probable_in_one_place():
    decoder = tiny_decoder(**FEW, others=True)
    z, site = activations(1)
    rows = torch.tensor([[2, t, 5, 7] for t in OTHERS])
    scores = score(decoder, rows, z[0], int(site))[0]
    assert (scores == scores[0]).all()
    logits = decoder(rows[:1, :-1], decoder.coordinates(z, site), site).log_softmax(-1)
    assert logits.shape == (3, 6)
    torch.testing.assert_close(scores[0, 1], logits[0, 5] - math.log(4))


def test_what_stands_behind_the_end_does_not_count():
    decoder = tiny_decoder(**FEW)
    z, site = activations(2)
    rows = torch.tensor([[2, 4, 7, 8], [2, 4, 7, 0]])
    log_prob = decoder.log_prob(rows, z[:1].expand(2, -1), site[:1].expand(2))
    assert log_prob[0] == log_prob[1]
    assert log_prob.isfinite().all()
    assert score(decoder, rows, z[0], int(site[0]))[0].sum(dim=1).isfinite().all()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sampled_frequencies_follow_the_densities(temperature):
    decoder = tiny_decoder(**FEW, others=True)
    z, site = activations(1)
    n = 40_000
    drawn = sample(decoder, z, site, n, temperature=temperature, generator=torch.Generator().manual_seed(3))
    rows = drawn.tokens[0]
    distinct, counts = torch.unique(rows, dim=0, return_counts=True)
    by_temperature = score(decoder, rows, z[0], int(site), [1.0, temperature]).sum(dim=2)
    torch.testing.assert_close(drawn.log_prob[0], by_temperature[0], rtol=1e-4, atol=1e-4)
    expected = n * score(decoder, distinct, z[0], int(site), [temperature])[0].sum(dim=1).exp()
    assert len(distinct) > 100
    assert set(rows.unique().tolist()) == set(range(9))
    often = expected > 20
    deviation = (counts - expected)[often] / expected[often].sqrt()
    assert deviation.abs().max() < 4.5
    assert deviation.pow(2).mean() < 1.5
    first = torch.bincount(rows[:, 1], minlength=9)[list(OTHERS)].double()
    assert ((first - first.mean()).abs() < 4 * first.mean().sqrt()).all()


def test_it_is_a_decoder_of_all_tokens_of_which_the_others_cannot_be(tmp_path):
    """The same weights in the rows of a whole vocabulary, whose other logits are minus infinity."""
    few = tiny_decoder(**FEW)
    whole = tiny_decoder(**{**FEW, "tokens": ()})
    state, kept = whole.state_dict(), list(FEW["tokens"])
    for name, tensor in few.state_dict().items():
        if name in ("body.token_embedding.weight", "body.head.weight"):
            state[name][kept] = tensor
        else:
            state[name] = tensor
    whole.load_state_dict(state)
    step = whole.step

    def masked(tokens, cache):
        logits = step(tokens, cache)
        logits[:, list(OTHERS)] = -torch.inf
        return logits

    whole.step = masked
    z, site = activations(5)
    args = (z, site, 50)
    ours = sample(few, *args, generator=torch.Generator().manual_seed(0))
    theirs = sample(whole, *args, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours.tokens, theirs.tokens)
    torch.testing.assert_close(ours.log_prob, theirs.log_prob, rtol=1e-4, atol=1e-4)
    rows = ours.tokens[0]
    torch.testing.assert_close(score(few, rows, z[0], 0), score(whole, rows, z[0], 0), rtol=1e-4, atol=1e-4)


def test_loss_is_minus_the_log_probability_of_the_rows():
    decoder = tiny_decoder(**FEW, others=True)
    z, site = activations(3)
    rows = torch.tensor([[2, 4, 3, 7], [2, 0, 7, 8], [2, 5, 5, 7]])
    targets = rows[:, 1:].clone()
    targets[1, 2] = -100
    read = decoder.coordinates(z, site)
    loss = decoder(rows, read, site, [RaggedRows(3, 3)], targets.flatten())
    torch.testing.assert_close(loss, -decoder.log_prob(rows, z, site).sum(), rtol=1e-4, atol=1e-4)
    loss.backward()
    assert decoder.body.head.weight.grad[5].abs().max() > 0


def test_files_say_the_tokens_in_few_letters(tmp_path):
    decoder = tiny_decoder(**FEW, others=True)
    save_decoder(decoder, tmp_path / "d")
    config = json.loads((tmp_path / "d/config.json").read_text())
    assert (config["tokens"], config["others"]) == ("2,4-5,7-8", True)
    again = read_decoder(tmp_path / "d", get_task("addition"))
    assert again.config == decoder.config
    z, site = activations(2)
    rows = torch.tensor([[2, 4, 3, 7], [2, 0, 7, 8]])
    assert torch.equal(again.eval().log_prob(rows, z, site), decoder.log_prob(rows, z, site))
    for tokens, spelled in (((), ""), ((0,), "0"), ((0, 1, 2), "0-2")):
        save_decoder(tiny_decoder(vocab_size=9, tokens=tokens, begin=0, end=1, pad=2), tmp_path / spelled)
        assert json.loads((tmp_path / spelled / "config.json").read_text())["tokens"] == spelled
        assert read_decoder(tmp_path / spelled, get_task("addition")).config.tokens == tokens


def test_a_decoder_of_before_says_nothing_of_tokens(tmp_path):
    save_decoder(tiny_decoder(), tmp_path / "d")
    path = tmp_path / "d/config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({name: content[name] for name in content if name not in ("tokens", "others")}))
    again = read_decoder(tmp_path / "d", get_task("addition"))
    assert (again.config.tokens, again.config.others, again.config.classes) == ((), False, 15)


def test_what_repeats_is_held_back_by_class():
    tokens = (0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14)
    decoder = tiny_decoder(tokens=tokens, others=True)
    common = common_tokens(decoder, get_task("addition"))
    assert common.shape == (12,)
    assert common[-6:].all()  # begin, plus, equals, end, padding, and all other digits together
    z, site = activations(2)
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    drawn = sample_varied(decoder, z, site, 70, common=torch.zeros(12, dtype=torch.bool), generator=generators)
    assert drawn.tokens.shape == (2, 70, 14)
    assert drawn.log_prob.isfinite().all()


def test_a_constrained_decoder_says_from_where_on_nothing_is_left_to_choose():
    task = get_task("addition")
    decoder = tiny_decoder(constrained=True)
    decoder.constrain(task)
    rows = torch.stack(
        [task.encode("615+861=1476"), torch.nn.functional.pad(task.encode("615+161=776"), (0, 1), value=14)]
    )
    assert decoder.undecided(rows, decoder.possible(rows)).tolist() == [7, 7]
    z, site = activations(2)
    assert (decoder.token_log_probs(rows, z, site)[:, 8:] == 0).all()
    assert tiny_decoder().undecided(rows, None).tolist() == [13, 12]


def test_a_task_that_uses_other_tokens_now_constrains_a_decoder_of_before():
    task = get_task("addition")
    plain, more = tiny_decoder(constrained=True), tiny_decoder(constrained=True)
    plain.constrain(task)
    narrow = type("Narrow", (), {
        "name": "addition", "vocab_size": 15, "used_tokens": torch.arange(14),
        "next_tokens": lambda self, tokens, start=0: task.next_tokens(tokens, start)[..., :14],
    })()  # fmt: skip
    more.constrain(narrow)
    rows = task.sample(20, generator=torch.Generator().manual_seed(0))
    z, site = activations(20)
    assert torch.equal(plain.log_prob(rows, z, site), more.log_prob(rows, z, site))
    rows[:, 9] = (rows[:, 9] + 1) % 10
    assert (more.log_prob(rows, z, site) == -torch.inf).all()
    assert replace(more.config).classes == 15


def test_loss_of_a_constrained_decoder_with_forced_ends_is_that_of_its_cut_rows():
    task = get_task("addition")
    decoder = tiny_decoder(constrained=True)
    decoder.constrain(task)
    rows = task.sample(6, generator=torch.Generator().manual_seed(0))
    z, site = activations(6)
    read, cut = decoder.coordinates(z, site), decoder.undecided(rows, decoder.possible(rows))
    assert cut.tolist() == [7] * 6
    whole = decoder(rows, read, site, [RaggedRows(6, 12)], rows[:, 1:13].flatten())
    short = decoder(rows, read, site, [RaggedRows(2, 9), RaggedRows(4, 7)],
                    torch.cat([rows[:2, 1:10].flatten(), rows[2:, 1:8].flatten()]))  # fmt: skip
    torch.testing.assert_close(whole, short)
    torch.testing.assert_close(whole, -decoder.log_prob(rows, z, site).sum(), rtol=1e-4, atol=1e-4)


def test_a_decoder_of_texts_reads_a_word_that_none_of_them_has():
    probed, saw, site = text_model(), 6, Site.parse("x0.pre")
    task = TextTask.from_texts(Vocabulary(probed.tokenizer), [text for text in TEXTS if "saw" not in text], 8)
    row = task.encode("the cat saw a dog")[None]
    assert row[0, 3] == saw
    sizes = {"n_statistics": 16, "d_model": 8, "n_heads": 1, "trunk_width": 8, "trunk_blocks": 1}
    decoder = make_decoder(probed, task, [site], **sizes)
    assert decoder.config.tokens == tuple(task.used_tokens.tolist())
    assert saw not in decoder.config.tokens
    assert (decoder.config.others, decoder.config.classes) == (True, len(task.used_tokens) + 1)
    z = probed.capture(row, [site], torch.tensor([3]))[site]
    assert decoder.token_log_probs(row, z, torch.tensor([0])).isfinite().all()
    drawn = sample(decoder, z, torch.tensor([0]), 500, generator=torch.Generator().manual_seed(0))
    assert (drawn.tokens == saw).any()
    assert torch.equal(decoder.undecided(row, None), torch.tensor([6]))
