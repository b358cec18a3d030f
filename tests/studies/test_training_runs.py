from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F

from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.studies import recipes, training_runs
from inversionview.studies.description import read_description
from inversionview.studies.recipes import Budget
from inversionview.studies.study import Study, load_study
from inversionview.studies.train_probed import ProbedObjective
from inversionview.studies.training_runs import default_sites, train_decoder, train_probed
from inversionview.tasks import get_task
from tests.preimage.tiny import gpt2, probed, save_study, task
from tests.studies.runs import losses, stop_at, tiny_probed

pytestmark = pytest.mark.usefixtures("tiny_runs")


def test_a_model_in_bf16_is_read_in_bf16_ever_after(tmp_path, model, monkeypatch):
    monkeypatch.setattr(training_runs, "COPIED_BELOW", 0)  # so that the study names the model, which is saved in fp32
    out = tmp_path / "half"
    train_decoder("addition", out, model=model, dtype="bfloat16", device_map="auto", budget=Budget(steps=1))
    for how in ({}, {"device_map": "auto"}):
        study = load_study(out, **how)
        assert study.probed.model.dtype == torch.bfloat16
        assert len(study.preimage(study.query("615+861=1476", at="=", site="a0.0"), n=10).distances) > 0
    assert json.loads((out / "study.json").read_text())["dtype"] == "bfloat16"
    train_decoder(out, out, resume=True, budget=Budget(steps=1))
    with pytest.raises(UserError, match="started with dtype bfloat16, not float32"):
        train_decoder(out, out, resume=True, dtype="float32")
    again = tmp_path / "again"
    train_decoder(out, again, budget=Budget(steps=1))
    assert load_study(again).probed.model.dtype == torch.bfloat16
    full = tmp_path / "full"
    train_decoder(out, full, dtype="float32", budget=Budget(steps=1))
    assert load_study(full).probed.model.dtype == torch.float32


def test_processes_share_no_devices(tmp_path, model, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="give a device_map to a single process"):
        train_decoder("addition", tmp_path / "out", model=model, device_map="auto", budget=Budget(steps=1))
    assert not (tmp_path / "out").exists()


def test_a_decoder_for_a_model_becomes_a_study_that_reads(tmp_path, model):
    out = tmp_path / "mine"
    result = train_decoder("addition", out, model=model, budget=Budget(steps=5))
    assert result.steps == 5
    assert not result.interrupted
    study = load_study(out)
    assert study.name == "mine"
    assert read_description(study.folder).convention == "tl"
    assert study.sites == ("x0.pre", "a0.0", "a0.1", "x0.mid", "x0.post", "a1.0", "a1.1", "x1.mid", "x1.post")
    assert read_description(study.folder).probed == "probed"
    assert study.probed.fingerprint == ProbedModel(gpt2()).fingerprint
    found = study.preimage(study.query("615+861=1476", at="=", site="a1.1"), n=20)
    assert found.n_drawn == 20
    rates = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    assert any("rate/a0.0" in line for line in rates), "the in-ε rates reach the training"


def test_nothing_held_out_is_seen_in_training(tmp_path, model, monkeypatch):
    splits = []
    real = task().sample

    def sample(n, *, generator, split="all"):
        splits.append(split)
        return real(n, generator=generator, split=split)

    monkeypatch.setattr(task(), "sample", sample)
    train_decoder("addition", tmp_path / "out", model=model, budget=Budget(steps=3))
    assert set(splits) == {"train"}


def test_what_is_asked_for_takes_the_place_of_the_recipes(tmp_path, model):
    out = tmp_path / "raw"
    train_decoder("addition", out, model=model, convention="raw", sites=["a0.1", "blocks.1.hook_resid_post"], seed=7)
    study = load_study(out)
    assert study.sites == ("a0.1", "x1.post")
    assert study.probed.convention == study.decoder.config.convention == "raw"
    assert study.decoder.config.d_model == 16


def test_sites_where_the_epsilon_is_out_of_reach_are_left_out_unless_they_were_asked_for(tmp_path, model, caplog):
    out, one_step = tmp_path / "out", Budget(steps=1)
    train_decoder("addition", out, model=model, epsilon="null:0.05", budget=one_step)
    assert load_study(out).sites == ("a0.0", "a0.1", "x0.mid", "x0.post", "a1.0", "a1.1", "x1.mid", "x1.post")
    assert load_study(out).decoder.config.sites == load_study(out).sites
    assert "no decoder is trained for x0.pre: unrelated inputs often have the very same activation" in caplog.text
    train_decoder(out, out, resume=True, budget=one_step)
    sites = ["x0.pre", "a0.1"]
    with pytest.raises(UserError, match=r"very same activation, 0\.\d+ of them at x0\.pre"):
        train_decoder("addition", tmp_path / "asked", model=model, epsilon="null:0.05", sites=sites, budget=one_step)
    assert not (tmp_path / "asked").exists()


def test_a_study_is_a_source_and_its_model_too(tmp_path):
    first = save_study(tmp_path / "first", with_decoder=False, epsilon=0.25, metric="cosine")
    train_decoder(first, tmp_path / "second", budget=Budget(steps=2))
    second = load_study(tmp_path / "second")
    assert second.sites == load_study(first).sites
    assert (read_description(second.folder).epsilon, read_description(second.folder).metric) == (0.25, "cosine")
    train_decoder("addition", tmp_path / "third", model=first, budget=Budget(steps=2))
    assert load_study(tmp_path / "third").probed.fingerprint == second.probed.fingerprint


def test_live_objects_are_trained_for_without_a_name(tmp_path):
    study = Study(probed(), task(), sites=["a0.1", "x1.post"], epsilon=0.4, metric="cosine", name="mine")
    train_decoder(study, tmp_path / "out", budget=Budget(steps=2))
    trained = load_study(tmp_path / "out")
    assert trained.sites == study.sites
    assert trained.criterion == study.criterion
    assert trained.probed.fingerprint == study.probed.fingerprint
    assert trained.preimage(trained.query("615+861=1476", at="=", site="a0.1"), n=10).n_drawn == 10
    assert train_decoder(study, tmp_path / "out", resume=True, budget=Budget(steps=2)).steps == 2
    other = Study(ProbedModel(gpt2(seed=5), convention="tl"), task())
    with pytest.raises(UserError, match="another one than the run was started with"):
        train_decoder(other, tmp_path / "out", resume=True)
    again = tmp_path / "again"
    train_decoder(trained, again, epsilon="0.2", budget=Budget(steps=1))
    assert load_study(again).criterion.constant == 0.2


def test_the_recipe_reads_the_bundled_model_where_there_is_one(tmp_path, monkeypatch):
    bundled = save_study(tmp_path / "bundled")
    monkeypatch.setattr(training_runs.on_disk, "bundled_studies", lambda: {"addition": bundled})
    train_decoder("addition", tmp_path / "out", budget=Budget(steps=2))
    assert load_study(tmp_path / "out").probed.fingerprint == probed().fingerprint
    monkeypatch.setattr(training_runs.on_disk, "bundled_studies", dict)
    with pytest.raises(UserError, match="there is no bundled model for addition here: give one with --model"):
        train_decoder("addition", tmp_path / "other")


def test_a_large_model_is_named_and_not_copied(tmp_path, model, monkeypatch):
    monkeypatch.setattr(training_runs, "COPIED_BELOW", 100)
    out = tmp_path / "out"
    train_decoder("addition", out, model=model, budget=Budget(steps=2))
    assert not (out / "probed").exists()
    assert read_description(out).probed == str(model)
    assert load_study(out).decoder is not None


def test_an_interrupted_run_is_no_readable_study_yet_and_resumes_to_the_same_losses(tmp_path, model):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train_decoder("addition", whole, model=model, budget=Budget(steps=8), seed=3)
    result = train_decoder("addition", cut, model=model, budget=Budget(steps=8), seed=3, logger=stop_at(3))
    assert result.interrupted
    with pytest.raises(UserError, match="has no decoder yet"):
        load_study(cut).evaluate(2)
    result = train_decoder("addition", cut, resume=True)
    assert (result.steps, result.interrupted) == (8, False)
    assert losses(cut) == losses(whole)
    a, b = (load_study(folder).decoder.state_dict() for folder in (whole, cut))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_resuming_with_something_else_is_refused(tmp_path, model):
    out = tmp_path / "out"
    train_decoder("addition", out, model=model, sites=["a0.0"], budget=Budget(steps=8), logger=stop_at(2))
    gpt2(seed=4).save_pretrained(tmp_path / "other")
    for changes, words in (
        ({"sites": ["a0.1"]}, "the run was started with sites a0.0, not a0.1"),
        ({"convention": "raw"}, "the run was started with convention tl, not raw"),
        ({"model": tmp_path / "other"}, "is another one than the run was started with: its fingerprint is"),
        ({"seed": 1}, "was started with seed 0, not 1"),
        ({"budget": Budget(steps=9)}, "was started with steps 8, not 9"),
    ):
        with pytest.raises(UserError) as raised:
            train_decoder("addition", out, resume=True, **changes)
        assert words in str(raised.value)
    given_again = {"model": model, "sites": ["a0.0"], "convention": "tl", "budget": Budget(steps=8), "seed": 0}
    assert train_decoder("addition", out, resume=True, **given_again).steps == 8


def test_resuming_nothing_or_starting_over_something_is_refused(tmp_path, model):
    with pytest.raises(UserError, match=r"there is no run in .*none to resume"):
        train_decoder("addition", tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="full exists and is not empty"):
        train_decoder("addition", tmp_path / "full", model=model)
    assert (tmp_path / "full" / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "subtraction"}, "there is no study 'subtraction': .*; the recipes are: addition, counting"),
        ({"sites": ["a9.9"]}, r"has no site a9\.9"),
        ({"sites": ["nowhere"]}, "unknown site 'nowhere'"),
        ({"convention": "mixed"}, "unknown convention 'mixed'"),
        ({"model": "no/such/folder/anywhere"}, "there is no folder"),
        ({"budget": Budget(steps=0)}, "steps must be"),
        ({"budget": Budget(minutes=-1.0)}, "minutes must be more than 0"),
        ({"budget": Budget(minutes=1.0, steps=5)}, "steps or minutes, and not both"),
    ],
)
def test_runs_that_cannot_be_are_refused_in_one_line(tmp_path, model, changes, words):
    options = {"source": "addition", "out": tmp_path / "out", "model": model} | changes
    with pytest.raises(UserError, match=words) as raised:
        train_decoder(**options)
    assert "\n" not in str(raised.value)


def test_a_model_that_is_too_small_for_the_task_is_refused(tmp_path):
    for name, fields in (("short", {"n_positions": 8}), ("poor", {"vocab_size": 12})):
        small = gpt2(**fields)
        small.config.bos_token_id = small.config.eos_token_id = small.config.pad_token_id = 0
        small.save_pretrained(tmp_path / name)
    with pytest.raises(UserError, match="does not fit task addition: it has 8 positions, and the task needs 14"):
        train_decoder("addition", tmp_path / "out", model=tmp_path / "short")
    with pytest.raises(UserError, match="it has 12 tokens in its vocabulary, and the task needs 15"):
        train_decoder("addition", tmp_path / "out", model=tmp_path / "poor")


def test_a_probed_model_becomes_a_study_without_a_decoder_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setitem(recipes.PROBED_RECIPES, "addition", tiny_probed)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    result, accuracy = train_probed("addition", whole, budget=Budget(steps=6), seed=2)
    assert result.steps == 6
    assert 0 <= accuracy <= 1
    result, accuracy = train_probed("addition", cut, budget=Budget(steps=6), seed=2, logger=stop_at(3))
    assert result.interrupted
    assert accuracy is None
    result, accuracy = train_probed("addition", cut, resume=True)
    assert accuracy is not None
    assert losses(cut) == losses(whole)
    assert load_study(cut).probed.fingerprint == load_study(whole).probed.fingerprint
    study = load_study(whole)
    assert read_description(study.folder).decoder is None
    assert study.probed.convention == "tl"
    train_decoder(whole, tmp_path / "read", budget=Budget(steps=2))
    assert load_study(tmp_path / "read").decoder is not None


def test_an_unknown_probed_recipe_lists_the_ones_there_are(tmp_path):
    with pytest.raises(
        UserError, match="there is no recipe 'chess' for a probed model; the recipes are: addition, counting"
    ):
        train_probed("chess", tmp_path / "out")


def test_the_real_recipes_are_the_papers_sizes():
    plan = recipes.probed_addition(Budget())
    assert (plan.model["n_layer"], plan.model["n_head"], plan.model["n_embd"]) == (2, 4, 32)
    assert [plan.model[name] for name in ("embd_pdrop", "resid_pdrop", "attn_pdrop")] == [0.1, 0.1, 0.0]
    assert (plan.training.batch_size, plan.training.steps, plan.all_tokens) == (
        512,
        50 * math.ceil(607_500 / 512),
        True,
    )
    assert_constant_adamw(plan, 1e-4)
    decoder = recipes.addition(Budget(minutes=3.0), seed=5)
    assert (decoder.training.minutes, decoder.training.steps) == (3.0, None)
    assert decoder.training.seed == decoder.data.seed == 5
    assert decoder.decoder == {"constrained": True}


def assert_constant_adamw(plan, rate):
    config = plan.training
    assert (config.learning_rate, config.learning_rate_matrices, config.weight_decay) == (rate, None, 0.01)
    assert {config.learning_rate_factor(step, total) for step in (0, 50, 999) for total in (None, 1000)} == {1.0}


@pytest.mark.parametrize("task", ["addition", "counting"])
def test_muons_way_is_of_the_same_model_and_shorter(task):
    plan, papers = recipes.probed_recipe(f"{task}-muon")(Budget(), 3), recipes.probed_recipe(task)(Budget(), 3)
    sizes = ("n_layer", "n_head", "n_embd", "vocab_size", "n_positions", "activation_function")
    assert [plan.model[name] for name in sizes] == [papers.model[name] for name in sizes]
    assert plan.training.learning_rate_matrices == 0.02
    assert plan.training.steps < papers.training.steps
    assert (plan.task, plan.training.seed) == (task, 3)


def test_all_tokens_or_those_of_the_answer_are_learnt():
    task, model = get_task("addition"), gpt2()
    tokens = torch.stack([F.pad(task.encode(text), (0, 14 - len(task.encode(text))), value=task.pad)
                          for text in ("615+861=1476", "100+200=300")])  # fmt: skip
    with torch.no_grad():
        log_probs = model(tokens[:, :-1]).logits.log_softmax(dim=-1)
    each = log_probs.gather(2, tokens[:, 1:, None])[..., 0]
    lengths = (13, 12)  # of what follows the begin token, the end token included
    for all_tokens, first in ((True, 0), (False, 8)):
        loss = ProbedObjective(model, task, all_tokens=all_tokens).loss(model, tokens)
        expected = -sum(each[i, first:length].sum() for i, length in enumerate(lengths)) / 2
        torch.testing.assert_close(loss, expected)


def test_batches_are_drawn_in_blocks_and_depend_on_the_step_alone():
    one, other = (ProbedObjective(gpt2(), get_task("addition"), seed) for seed in (3, 3))
    steps = [0, 1, 63, 64, 65]
    batches = {step: one.batch(step, size=6) for step in steps}
    for step in reversed(steps):
        assert torch.equal(other.batch(step, size=6), batches[step])
        shares = [other.batch(step, size=6, rank=rank, world=2) for rank in range(2)]
        assert torch.equal(torch.stack(shares, dim=1).flatten(0, 1), batches[step])
    assert len({tuple(batch.flatten().tolist()) for batch in batches.values()}) == len(steps)
    assert not get_task("addition").is_held_out(torch.cat(list(batches.values()))).any()
    assert not torch.equal(ProbedObjective(gpt2(), get_task("addition"), 4).batch(0, size=6), batches[0])


def test_counting_is_trained_as_the_paper_did():
    plan, decoder = recipes.probed_counting(Budget()), recipes.counting(Budget(steps=7))
    assert (plan.model["n_layer"], plan.model["n_head"], plan.model["n_embd"]) == (2, 1, 64)
    assert plan.model["vocab_size"] == get_task("counting").vocab_size
    assert plan.model["n_positions"] == get_task("counting").max_length
    assert plan.model["resid_pdrop"] == 0
    assert (plan.training.batch_size, plan.training.steps, plan.all_tokens) == (128, 914_100, False)
    assert_constant_adamw(plan, 5e-4)
    assert (decoder.training.minutes, decoder.training.steps) == (None, 7)


def test_the_default_sites_are_the_first_stream_then_those_of_the_recipe_in_each_layer():
    assert default_sites(probed(), recipes.addition(Budget()).kinds) == (
        "x0.pre", "a0.0", "a0.1", "x0.mid", "x0.post", "a1.0", "a1.1", "x1.mid", "x1.post",
    )  # fmt: skip
    assert default_sites(probed(), recipes.counting(Budget()).kinds) == (
        "x0.pre", "a0.0", "a0.1", "x0.mid", "m0", "x0.post", "a1.0", "a1.1", "x1.mid", "m1", "x1.post",
    )  # fmt: skip
