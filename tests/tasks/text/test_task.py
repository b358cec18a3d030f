"""Free text: windows of given texts, and texts of a model whose probability is known exactly."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from inversionview.errors import UserError
from inversionview.files import write_tensors
from inversionview.probed.model import ProbedModel
from inversionview.progress import told
from inversionview.reading.information import base_masses
from inversionview.reading.items import Features, _made
from inversionview.studies.verbs.query import find_position
from inversionview.tasks import Configured, get_task
from inversionview.tasks.base import Feature
from inversionview.tasks.positions import first_end
from inversionview.tasks.text import sampling
from inversionview.tasks.text import task as text_task
from inversionview.tasks.text.features import word_feature
from inversionview.tasks.text.sampling import Starts, affordable, block_rows
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.tasks.text.words import TEXTS, model, tokenizer


@pytest.fixture(scope="module")
def given() -> TextTask:
    return TextTask.from_texts(Vocabulary(tokenizer()), TEXTS, 8, words=("dog",))


@pytest.fixture(scope="module")
def sampled() -> TextTask:
    return TextTask.sampled(model(), 4, n=2000, seed=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_windows_are_the_texts(given):
    assert sorted(map(given.decode, given.windows)) == sorted(TEXTS)
    assert given.contains(given.windows).all()
    assert given.max_length == 9
    assert given.log_prior(given.windows[:3]).isnan().all(), "given texts have no density"


def test_long_texts_are_cut_into_windows():
    task = TextTask.from_texts(Vocabulary(tokenizer()), TEXTS, 4)
    assert {len(task.vocabulary.inner(row)) for row in task.windows} == {3}, "what is left over is one token"
    assert len(task.windows) == 6**3
    with pytest.raises(UserError, match="36 different windows of up to 2 tokens, too few"):
        TextTask.from_texts(Vocabulary(tokenizer()), TEXTS, 3)


def test_the_split_is_of_the_text_alone(given):
    for split in ("train", "held-out"):
        rows = given.sample(500, generator=generator(), split=split)
        assert (given.is_held_out(rows) == (split == "held-out")).all()
    wide = torch.nn.functional.pad(given.windows, (0, 3), value=given.pad)
    assert torch.equal(given.is_held_out(wide), given.is_held_out(given.windows))
    assert 0.05 < given.is_held_out(given.windows).double().mean() < 0.15


def test_a_text_comes_back_and_what_does_not_fit_is_refused(given):
    row = given.encode("the cat saw")
    assert given.decode(row) == "the cat saw"
    assert given.token_strings(row)[0] == "<s>"
    assert given.contains(row[None]).all()
    with pytest.raises(UserError, match="8 tokens, and inputs here have 7 at most"):
        given.encode("the cat saw a dog a dog ran")
    with pytest.raises(UserError, match="empty"):
        given.encode(" ")
    with pytest.raises(UserError, match="does not know token 2 of 'the zebra saw'"):
        given.encode("the zebra saw")


def test_malformed_rows_are_not_in_the_domain(given):
    good = given.encode("the cat saw")
    for place, token in ((0, 5), (2, given.begin), (2, given.pad)):
        bad = good.clone()
        bad[place] = token
        assert not given.contains(bad[None]).any()
    assert not given.contains(good[None, :-1]).any(), "no end token"


def test_positions_have_names(given):
    row = given.encode("the dog saw a dog")
    for name, index in (("first", 1), ("last", 5), ("3", 3), ("dog", 2), ("dog#2", 5), ("saw a", 4)):
        assert find_position(given, row, name) == index
        assert given.position_of(row[None], name).tolist() == [index]
    assert given.position_of(row[None], "dog#3").tolist() == [-1]
    assert given.position_of(row[None], "6").tolist() == [-1]
    assert given.role(row, 3) == "3"
    for name in ("cat", "og", "do", "dog#3", "#", "2#1", "first#1"):
        with pytest.raises(UserError, match=f"has no position '{name}'; .* or a whole word of it .*: WORD#2"):
            find_position(given, row, name)
    with pytest.raises(UserError, match="occurrences count from 1: write zebra#1"):
        find_position(given, row, "zebra#0")


def test_features_need_no_labels(given):
    rows = torch.stack([given.encode(text) for text in ("the dog saw a", "a cat ran the")])
    positions = torch.tensor([2, 1])

    def named(name: str) -> list[str]:
        feature = given.features[name]
        return [feature.values[code] for code in feature.compute(rows, positions)]

    assert named("token") == ["'dog'", "'a'"]
    assert named("token-1") == ["'the'", "none"]
    assert named("position") == ["2", "1"]
    assert named("length") == ["4", "4"]
    assert named("has:dog") == ["yes", "no"]
    part = word_feature("do", given.vocabulary, given.decode)
    assert part.compute(rows, positions).tolist() == [0, 0]


def test_a_feature_of_ones_own():
    task = TextTask.from_texts(Vocabulary(tokenizer()), TEXTS, 8)
    feature = Feature("even", ("no", "yes"), lambda tokens, positions: (positions + 1) % 2, "an even position")
    task.add_feature(feature)
    assert task.features["even"] is feature
    with pytest.raises(UserError, match="already"):
        task.add_feature(feature)


def test_a_feature_that_is_added_late_has_a_prior_too():
    task = TextTask.from_texts(Vocabulary(tokenizer()), TEXTS, 8)
    assert "even" not in base_masses(task, "1")
    task.add_feature(Feature("even", ("no", "yes"), lambda tokens, positions: (positions + 1) % 2, "an even position"))
    assert base_masses(task, "1")["even"].tolist() == [1, 0]


def everything(task: TextTask) -> torch.Tensor:
    tokens = range(3, 9)
    width = task.max_length
    rows = [task.vocabulary.row(ids, width) for n in range(1, width - 1) for ids in product(tokens, repeat=n)]
    return torch.stack(rows)


def test_a_model_s_own_texts_have_probabilities_that_add_up_to_one(sampled):
    rows = everything(sampled)
    assert sampled.contains(rows).all()
    assert sampled.log_prior(rows).double().exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_and_are_drawn_as_often_as_these_say(sampled):
    rows = everything(sampled)
    expected = sampled.log_prior(rows).double().exp()
    drawn = torch.cat([sampled.sample(5000, generator=generator(seed)) for seed in range(4)])
    seen = (drawn[:, None] == rows).all(dim=2).double().mean(dim=0)
    assert seen.sum().item() == pytest.approx(1)
    errors = (expected * (1 - expected) / len(drawn)).sqrt()
    assert ((seen - expected).abs() < 5 * errors + 1e-3).all()


def test_what_is_kept_is_drawn_alike(sampled):
    lengths = (sampled.windows != sampled.pad).sum(dim=1) - 2
    assert sampled.contains(sampled.windows).all()
    assert (lengths == 3).double().mean() == pytest.approx(0.5 + 0.5 / 3, abs=0.05)


def test_a_short_text_and_a_wide_one_have_the_same_probability(sampled):
    rows = sampled.windows[:50]
    wide = torch.nn.functional.pad(rows, (0, 2), value=sampled.pad)
    torch.testing.assert_close(sampled.log_prior(wide), sampled.log_prior(rows))


def test_the_same_seed_gives_the_same_texts():
    once, again = (TextTask.sampled(model(), 4, n=200, seed=3).windows for _ in range(2))
    assert torch.equal(once, again)


def test_a_model_that_cannot_write_such_texts_is_refused_before_it_is_run():
    with pytest.raises(UserError, match="16 positions: the length must be at most 15, not 20"):
        TextTask.sampled(model(), 20, n=200)
    larger = tokenizer()
    larger.add_tokens(["more", "tokens"])
    assert int(TextTask.sampled(ProbedModel(model().model, larger), 4, n=200).windows.max()) < 9
    larger.add_tokens([f"word{i}" for i in range(8)])
    with pytest.raises(UserError, match="the tokenizer has 19 tokens and the model 9: it is another model's"):
        TextTask.sampled(ProbedModel(model().model, larger), 4, n=200)


def test_texts_are_written_when_one_is_first_needed(monkeypatch):
    probed = model()
    with monkeypatch.context() as broken:
        broken.setattr(probed, "next_logits", None)  # the model is not run
        task = TextTask.sampled(probed, 4, n=200, seed=3)
        rows = task.encode(task.decode(model_text(task)))[None]
        assert task.contains(rows).all()
        assert (task.roles, task.max_length) == (("1", "2", "3"), 5)
        assert task.position_of(rows, "1").tolist() == [1]
        assert {"token", "position", "length"} <= set(task.features)
    made = task.sample(30, generator=generator(), split="train")
    assert torch.equal(task.windows, TextTask.sampled(model(), 4, n=200, seed=3).windows)
    assert {tuple(row.tolist()) for row in made} <= {tuple(row.tolist()) for row in task.windows}


def model_text(task):
    """Some text of one token."""
    first = next(i for i in range(task.vocab_size) if i not in task.vocabulary.special)
    return task.vocabulary.row([first])


def test_members_of_texts_are_told_apart_by_features_and_not_by_columns(given):
    [items] = _made(given, "2")
    assert isinstance(items, Features)
    assert {"token", "token-1"} <= set(items.names)
    assert not {"position", "held out"} & set(items.names)


def test_what_is_run_together_is_bounded_by_its_logits():
    assert block_rows(20, 512) == 1024
    assert block_rows(21, 262_144) * 21 * 262_144 <= 2**26
    assert block_rows(10_000, 262_144) == 1


@pytest.mark.parametrize("kind", ["given", "sampled"])
def test_it_comes_back_from_its_folder(kind, request, tmp_path):
    task = request.getfixturevalue(kind)
    assert isinstance(task, Configured)
    task.save(tmp_path)
    loaded = get_task("text", tmp_path, model)
    assert torch.equal(loaded.windows, task.windows)
    assert set(loaded.features) == set(task.features)
    rows = task.windows[:20]
    torch.testing.assert_close(loaded.log_prior(rows), task.log_prior(rows), equal_nan=True)
    with pytest.raises(UserError, match="task text is made for a model: open its study"):
        get_task("text", tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "says"),
    [("[]", "no schema version"), ('{"schema": 9}', "a newer inversionview"), ("{oops", "damaged or truncated")],
)
def test_a_damaged_description_is_named(given, tmp_path, content, says):
    given.save(tmp_path)
    (tmp_path / "task.json").write_text(content)
    with pytest.raises(UserError, match=says):
        get_task("text", tmp_path)


def test_a_task_without_its_texts_is_named(given, tmp_path):
    given.save(tmp_path)
    write_tensors(tmp_path / "texts.safetensors", {"other": torch.zeros(2)})
    with pytest.raises(UserError, match="has no windows of text"):
        get_task("text", tmp_path)


def test_begin_and_end_may_be_one_token():
    task = TextTask.from_texts(Vocabulary(tokenizer(bos_token="<s>", eos_token="<s>")), TEXTS, 6)
    assert task.begin == task.end == task.pad
    row = task.encode("the cat")
    assert task.eligible(row[None]).tolist() == [[False, True, True, False]]
    assert task.decode(row) == "the cat"
    assert task.contains(task.windows).all()


def test_a_tokenizer_without_a_begin_token_lends_another():
    vocabulary = Vocabulary(tokenizer(eos_token="</s>"))
    assert not vocabulary.has_bos
    assert vocabulary.begin == vocabulary.end
    note = TextTask.from_texts(vocabulary, TEXTS, 6).note
    assert note.startswith("the tokenizer has no BOS token: </s> stands at position 0")
    assert TextTask.from_texts(Vocabulary(tokenizer()), TEXTS, 6).note == ""
    bare = tokenizer(eos_token="</s>")
    bare.eos_token = None
    with pytest.raises(UserError, match="no BOS, EOS or padding token"):
        Vocabulary(bare)
    with pytest.raises(UserError, match="no tokenizer"):
        Vocabulary(None)


def test_texts_are_not_enumerated(given):
    assert given.size is None
    with pytest.raises(UserError, match="cannot be enumerated"):
        given.enumerate()


def test_a_model_in_train_mode_samples_the_texts_that_it_samples_in_evaluation():
    def texts(training: bool, seed: int) -> torch.Tensor:
        probed = model(resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
        probed.model.train(training)
        made = TextTask.sampled(probed, 4, n=300, seed=seed)
        assert probed.model.training == training
        return torch.cat([made.windows, made.sample(50, generator=generator(3))])

    expected = texts(False, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)  # what dropout would draw from
        assert torch.equal(texts(True, 0), expected)
        assert torch.equal(texts(True, 0), expected)
    assert not torch.equal(texts(True, 1), expected)


def test_of_a_large_model_less_is_sampled(monkeypatch):
    probed = model()
    weights = sum(parameter.numel() for parameter in probed.model.parameters())
    assert affordable(1000, 10, probed) == 1000
    monkeypatch.setattr(sampling, "SMALL", weights // 4)
    assert affordable(1000, 10, probed) == pytest.approx(250, abs=1)
    assert affordable(1000, 400, probed) == 400
    assert affordable(300, 400, probed) == 300
    task = TextTask.sampled(probed, 4, n=500, seed=0)
    assert len(task.windows) == 500  # written now
    monkeypatch.setattr(text_task, "_MOST_NEW", 100)
    monkeypatch.setattr(text_task, "_FEWEST_NEW", 20)
    new = []
    real = text_task.sample_texts
    monkeypatch.setattr(text_task, "sample_texts", lambda *args, n, **given: new.append(n) or real(*args, n=n, **given))
    for n in (20, 25, 26, 60, 101):
        drawn = task.sample(n, generator=generator(1))
        assert drawn.shape == (n, task.max_length)
        assert task.contains(drawn).all()
    assert new == [20, 25], "of more the texts that were kept are drawn from"


@pytest.mark.parametrize("small", [True, False])
def test_in_a_large_vocabulary_what_was_seen_still_counts_most(small, monkeypatch):
    monkeypatch.setattr(sampling, "_TRIAL_TEXTS", 200)
    monkeypatch.setattr(sampling, "_FEWEST_TRIALS", 50)
    monkeypatch.setattr(sampling, "_SENTENCE_ENDS", ("cat",))
    if not small:
        monkeypatch.setattr(sampling, "SMALL", 1)
    probed, vocabulary, drawn = model(), Vocabulary(tokenizer()), []
    real = sampling._continued

    def noting(*args, **given):
        drawn.append(real(*args, **given))
        return drawn[-1]

    monkeypatch.setattr(sampling, "_continued", noting)
    for unseen in (512, 2):
        drawn.clear()
        monkeypatch.setattr(sampling, "_UNSEEN", unseen)
        starts = Starts.of(probed, vocabulary, generator())
        texts = torch.cat(drawn)
        assert len(texts) == (200 if small else 50)
        cat = probed.tokenizer.convert_tokens_to_ids("cat")
        after = torch.bincount(texts[:, 2:][texts[:, 1:-1] == cat], minlength=9).double()
        more = after + 0.5 * len(texts) / 200 * min(1, unseen / 9)
        more[sorted(vocabulary.special)] = 0
        torch.testing.assert_close(starts.log_probs.double().exp(), more / more.sum(), atol=1e-6, rtol=1e-5)


def test_how_far_the_sampling_is_is_told_and_what_is_run_together_is_bounded(monkeypatch):
    monkeypatch.setattr(sampling, "_MOST_LOGITS", 9 * 64)
    monkeypatch.setattr(sampling, "_TRIAL_TEXTS", 100)
    most, heard = [], []
    real = sampling._continued

    def noting(probed, vocabulary, begun, *rest):
        most.append(len(begun))
        return real(probed, vocabulary, begun, *rest)

    monkeypatch.setattr(sampling, "_continued", noting)
    probed = model()
    with told(lambda *news: heard.append(news[:3])):
        assert len(TextTask.sampled(probed, 6, n=150).windows) == 150
    assert max(most) <= 64
    stages = {
        name: [(done, of) for stage, done, of in heard if stage == name]
        for name in dict.fromkeys(h[0] for h in heard)
        if name
    }
    assert list(stages) == ["sampling a table of first tokens, in tokens", "sampling texts, in tokens"]
    for told_of in stages.values():
        assert told_of[0][0] == 0
        assert told_of[-1][0] == told_of[-1][1] > 0


def test_no_text_is_written_further_than_the_longest_of_those_that_are_written_with_it(monkeypatch):
    monkeypatch.setattr(sampling, "_MOST_LOGITS", 9 * 10)
    probed = model()
    starts = Starts.of(probed, Vocabulary.of(probed), generator())
    written = []
    real = sampling._continued
    monkeypatch.setattr(
        sampling, "_continued", lambda *given: written.append((len(given[2]), given[3])) or real(*given)
    )
    rows = sampling.sample_texts(probed, Vocabulary.of(probed), starts, n=200, width=6, generator=generator())
    lengths = first_end(rows, Vocabulary.of(probed).end) - 1
    assert sum(n for n, _ in written) == 200
    assert [end - 1 for _, end in written] == [int(block[-1]) for block in torch.split(lengths.sort().values, 10)]


def test_a_rare_token_is_drawn_as_often_as_it_is_probable():
    probabilities = torch.zeros(1, 40_000)
    probabilities[0, 1:-1] = 0.999 / 39_998
    probabilities[0, 7], probabilities[0, 39_990] = 0.0005, 0.0005
    probabilities /= probabilities.sum()
    drawn = torch.cat([sampling._picked(probabilities.expand(1000, -1), generator(seed))[:, 0] for seed in range(40)])
    assert not ((drawn == 0) | (drawn == 39_999)).any(), "they have no probability"
    for rare in (7, 39_990):
        assert abs((drawn == rare).sum() - 20) < 4 * 20**0.5


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 1), (0.5 + 2e-10, 2), (0.9, 3)])
def test_a_token_is_where_its_number_falls_however_rare_it_is(uniform, token, monkeypatch):
    monkeypatch.setattr(sampling.torch, "rand", lambda *shape, **_: torch.full(shape, uniform, dtype=torch.float64))
    probabilities = torch.tensor([[0.0, 0.5, 1e-9, 0.5]])
    assert sampling._picked(probabilities, generator()).tolist() == [[token]]


def test_tokens_are_those_of_the_texts_for_training(given):
    rows = given.windows[~given.is_held_out(given.windows)]
    assert set(given.used_tokens.tolist()) == {*rows.unique().tolist(), given.pad}
    assert given.other_tokens
    few = TextTask(given.vocabulary, given.windows[(given.windows != 4).all(dim=1)])
    assert 4 not in few.used_tokens.tolist()
    assert get_task("addition").used_tokens is None
    assert not get_task("addition").other_tokens
