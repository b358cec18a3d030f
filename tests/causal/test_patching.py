from __future__ import annotations

import numpy as np
import pytest
import torch

from inversionview.causal import patching
from inversionview.causal.contrast import Pairs, make_pairs
from inversionview.causal.effects import Configuration, PatchSite, ordered, parse_patch_sites
from inversionview.causal.patching import patch_effects
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from tests.causal.tiny import COUNTING, addition, counting, difference, patched_difference, probed
from tests.preimage import tiny

HEADS = "a0.0,a0.1,a1.0,a1.1"
BOTH = ("contrast-into-clean", "clean-into-contrast")


def sums(n=24, target="A1", contrast="change:F1,S1", **settings) -> Pairs:
    return make_pairs(addition(), n, target=target, contrast=contrast, **settings)


def counts(n=24, contrast="random", **settings) -> Pairs:
    return make_pairs(counting(), n, target="answer", contrast=contrast, **settings)


def sets(text, at=None, order="each"):
    return ordered(parse_patch_sites(text, at), order)


def by_hooks(model, pairs, configuration, direction):
    """What a plain loop says, one pair after the other."""
    places = {site: pairs.places(site.at) for site in configuration.sites}
    found = []
    for i in range(len(pairs)):
        rows = [pairs.clean[i], pairs.contrast[i]]
        targets = [int(pairs.clean_target[i]), int(pairs.contrast_target[i])]
        spots = [(site.site, *(int(at[i]) for at in places[site])) for site in configuration.sites]
        if direction == "clean-into-contrast":
            rows, targets = rows[::-1], targets[::-1]
            spots = [(site, there, here) for site, here, there in spots]
        answers = int(pairs.answer[i]), int(pairs.contrast_answer[i])
        found.append(patched_difference(model, *rows, targets[0], answers, spots))
    return np.array(found)


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize(
    ("task", "sites"),
    [
        ("addition", "a0.0@=,a1.1@="),
        ("addition", "embed@F1,pos_embed@2,x0.post@5,m0@=,attn1@="),
        ("addition", "x1.pre@S1,a0.1@A1"),  # A1 comes after what predicts it
        ("counting", "a0.1@letter,a1.0@:"),
        ("counting", "embed@letter,pos_embed@letter,x0.post@:,a1.1@3"),
    ],
)
def test_effects_are_those_of_a_plain_loop_of_hooks(task, sites, direction):
    pairs = sums(8) if task == "addition" else counts(8)
    made = [*sets(sites), *sets(sites, order="together")]
    found = patch_effects(probed(task), pairs, made, direction=direction)
    model = probed(task).model
    for i, configuration in enumerate(made):
        wanted = by_hooks(model, pairs, configuration, direction)
        assert found.patched[i] == pytest.approx(wanted, abs=1e-5)
    for name, ours in (("clean", found.clean), ("contrast", found.contrast)):
        rows, target = getattr(pairs, name), getattr(pairs, f"{name}_target")
        answers = zip(pairs.answer.tolist(), pairs.contrast_answer.tolist(), strict=True)
        wanted = [difference(model, *of) for of in zip(rows, target.tolist(), answers, strict=True)]
        assert ours == pytest.approx(np.array(wanted), abs=1e-5)


@pytest.mark.parametrize("sites", [HEADS, "embed@F1,x0.post@=,attn1@="])
def test_both_conventions_say_the_same(sites):
    made, pairs = sets(sites, "=", "forward"), sums()
    raw, tl = (patch_effects(probed(convention=convention), pairs, made) for convention in ("raw", "tl"))
    assert raw.patched == pytest.approx(tl.patched, abs=1e-4)
    assert np.abs(raw.patched - raw.clean).max() > 0.01


def test_a_run_patched_into_itself_is_the_same_run():
    for task, pairs in (("addition", sums()), ("counting", counts())):
        itself = Pairs(pairs.task, pairs.clean, pairs.clean, pairs.clean_target, _other_target(pairs))
        site = "a0.0@=,x0.post@=,embed@F1" if task == "addition" else "a0.0@letter,x1.post@:,embed@1"
        for direction in BOTH:
            found = patch_effects(probed(task), itself, sets(site, order="forward"), direction=direction)
            unpatched = found.clean if direction == BOTH[0] else found.contrast
            assert found.patched == pytest.approx(np.tile(unpatched, (3, 1)), abs=1e-5)


def _other_target(pairs):
    """The position before the target: another token, so that a pair may be of one input with itself."""
    return pairs.clean_target - 1


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize(
    ("task", "sites"),
    [
        ("addition", ",".join(f"{site}@{t}" for t in range(9) for site in ("embed", "pos_embed"))),
        ("addition", ",".join(f"x0.pre@{t}" for t in range(9))),
        ("addition", "x1.post@="),
        ("counting", "x1.post@:"),
    ],
)
def test_patching_everything_gives_the_other_run(task, sites, direction):
    pairs = sums() if task == "addition" else counts()
    found = patch_effects(probed(task), pairs, sets(sites, order="together"), direction=direction)
    other = found.contrast if direction == BOTH[0] else found.clean
    assert found.patched[0] == pytest.approx(other, abs=1e-5)
    assert np.abs(found.clean - found.contrast).min() > 0


@pytest.mark.parametrize("direction", BOTH)
def test_forward_and_reverse_orders_end_at_the_same_value(direction):
    found = patch_effects(probed(), sums(), sets(HEADS, "=", "both"), direction=direction)
    assert [effect.configuration.order for effect in found.effects] == ["forward"] * 4 + ["reverse"] * 4
    assert found.patched[3] == pytest.approx(found.patched[7], abs=1e-12)
    middle = found.patched[[0, 1, 2, 4, 5, 6]]
    assert len({tuple(row.round(4)) for row in middle}) == 6
    one_by_one = patch_effects(probed(), sums(), sets(HEADS, "="), direction=direction)
    assert found.patched[0] == pytest.approx(one_by_one.patched[0], abs=1e-5)
    assert found.patched[4] == pytest.approx(one_by_one.patched[3], abs=1e-5)


def test_a_patch_after_the_prediction_changes_nothing():
    found = patch_effects(probed(), sums(), sets("a0.0@A1,x1.post@A1"))
    assert found.patched == pytest.approx(np.tile(found.clean, (2, 1)), abs=1e-6)


@pytest.mark.parametrize("task", ["addition", "counting"])
def test_a_batch_of_one_equals_a_batch_of_many(task, monkeypatch):
    pairs = sums(12) if task == "addition" else counts(12)
    made = sets("a0.0@=,x0.post@F1" if task == "addition" else "a0.0@letter,x0.post@:,m0@2")
    whole = patch_effects(probed(task), pairs, made)
    alone = [patch_effects(probed(task), pairs.where(torch.arange(12) == i), made) for i in range(12)]
    assert whole.patched == pytest.approx(np.concatenate([one.patched for one in alone], axis=1), abs=1e-5)
    for name, value in (("_BLOCK_INPUTS", 5), ("_BLOCK_VALUES", 1)):
        monkeypatch.setattr(patching, name, value)
        assert patch_effects(probed(task), pairs, made).patched == pytest.approx(whole.patched, abs=1e-5)


@pytest.mark.parametrize("stacked", [1, 2**26])
def test_many_sites_go_through_the_model_side_by_side(stacked, monkeypatch):
    """In any company the same, and far fewer forwards than configurations."""
    pairs, made = (
        counts(6),
        sets(f"{HEADS},x0.post,m1,embed", "letter") + sets("a0.0@letter,a1.1@:,x1.pre@2", order="both"),
    )
    alone = [patch_effects(probed("counting"), pairs, [one]).patched[0] for one in made]
    forwards, own = [], ProbedModel.rerun
    monkeypatch.setattr(ProbedModel, "rerun", lambda self, *a, **k: forwards.append(1) or own(self, *a, **k))
    if stacked == 1:
        monkeypatch.setattr(patching, "_BLOCK_VALUES", 1)
        monkeypatch.setattr(patching, "_BLOCK_INPUTS", 6)
    found = patch_effects(probed("counting"), pairs, made)
    assert found.patched == pytest.approx(np.stack(alone), abs=1e-5)
    if stacked > 1:
        assert len(forwards) < len(made)


def test_a_run_is_rerun_from_the_position_that_is_patched_whatever_others_are(monkeypatch):
    pairs, lengths = counts(40), []
    own = ProbedModel.clean_run
    monkeypatch.setattr(
        ProbedModel,
        "clean_run",
        lambda self, tokens, start: lengths.append(tokens.shape[1] - start) or own(self, tokens, start),
    )
    patch_effects(probed("counting"), pairs, sets("a0.0@:"))
    assert set(lengths) == {1}, "the position that predicts, whose place differs between inputs"


def test_the_other_run_is_captured_once(monkeypatch):
    calls = []

    def capture(self, *args, **options):
        calls.append(args)
        return ProbedModel._capture(self, *args, **options)

    monkeypatch.setattr(ProbedModel, "_capture", ProbedModel.capture, raising=False)
    monkeypatch.setattr(ProbedModel, "capture", capture)
    patch_effects(probed(), sums(), sets("a0.0@=,a0.1@=,x1.pre@S1", order="both"))
    assert len(calls) == 1


def test_means_and_standard_errors_are_over_inputs_and_paired():
    found = patch_effects(probed(), sums(30), sets("a0.0,x0.post", "="))
    document = found.to_dict()
    for i, effect in enumerate(document["effects"]):
        drop = found.clean - found.patched[i]
        assert effect["patched"] == pytest.approx(found.patched[i].mean())
        assert effect["drop"] == pytest.approx(document["clean"] - effect["patched"])
        assert effect["se"] == pytest.approx(np.std(drop, ddof=1) / np.sqrt(30))
        assert effect["patched_se"] == pytest.approx(np.std(found.patched[i], ddof=1) / np.sqrt(30))
    assert document["clean_se"] == pytest.approx(np.std(found.clean, ddof=1) / np.sqrt(30))
    assert patch_effects(probed(), sums(1), sets("a0.0", "=")).to_dict()["effects"][0]["se"] is None


def test_the_document_says_what_was_patched_where():
    pairs = sums(20, where="A1 != 1")
    document = patch_effects(probed(), pairs, sets("a0.0,embed@F1", "=", "forward")).to_dict()
    assert document["schema"] == 1
    assert document["n"] == len(pairs) < 20
    assert document["left_out"]["where"] == 20 - len(pairs)
    assert [effect["sites"] for effect in document["effects"]] == [["a0.0"], ["a0.0", "embed@F1"]]
    assert [effect["positions"] for effect in document["effects"]] == [["="], ["=", "F1"]]
    assert {effect["order"] for effect in document["effects"]} == {"forward"}


def test_pairs_that_lack_a_role_are_left_out_and_counted():
    pairs = sums(60, target="A4", contrast="random")
    both = ((pairs.clean[:, 12] < 10) & (pairs.contrast[:, 12] < 10)).sum()
    found = patch_effects(probed(), pairs, sets("a0.0@A3,a0.0@A4"))
    assert 0 < found.n == both < 60
    assert found.left_out["position"] == 60 - found.n


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ("a0.0@Q", "addition has no position 'Q'"),
        ("a0.0@14", "position 14 is not in the clean inputs: their positions are 0 to 13"),
        ("a0.0@-1", "position -1 is not in the clean inputs"),
        ("a0.0@13", "position 13 is padding in .* inputs"),
        ("a7.0@=", "this model has no site a7.0"),
        ("a0.0@=,a0.0@8", "the order names a0.0 twice, at = and at 8, which are one position in 24 of 24 inputs"),
        ("a0.0@=,blocks.0.attn.hook_result.0@=", "the order names a0.0 at = twice"),
        ("b0@=", "unknown site 'b0'"),
        ("a0.0@=,", "must be sites separated by commas"),
        ("a0.0", "must be sites separated by commas, each with its position after an @"),
        ("", "must be sites separated by commas"),
    ],
)
def test_what_cannot_be_patched_is_said_in_one_line(sites, message):
    with pytest.raises(UserError, match=message) as caught:
        patch_effects(probed(), sums(), sets(sites, order="together"))
    assert "\n" not in str(caught.value)


def test_positions_that_no_pair_has_are_refused():
    with pytest.raises(UserError, match=r"no pair of the .* has a position 'A4' in both"):
        patch_effects(probed(), sums(where="A1 != 1", contrast_where="A1 != 1"), sets("a0.0@A4"))
    pairs = counts(200, where="length > 20", contrast_where="length > 20")
    with pytest.raises(UserError, match=r"the order names a0.0 twice, at letter and at 24, which are one position in"):
        patch_effects(probed("counting"), pairs, sets("a0.0@letter,a0.0@24", order="together"))


def test_orders_and_directions_are_checked():
    with pytest.raises(UserError, match="there is no order 'backward': use forward, reverse, both, each, together"):
        sets("a0.0@=", order="backward")
    with pytest.raises(UserError, match="there is no direction 'both': use contrast-into-clean or clean-into-contrast"):
        patch_effects(probed(), sums(), sets("a0.0@="), direction="both")
    with pytest.raises(UserError, match="name at least one site"):
        ordered([])
    with pytest.raises(UserError, match="name at least one site"):
        patch_effects(probed(), sums(), [])
    pairs, sites = sums(), parse_patch_sites("a0.0@=")
    assert patch_effects(probed(), pairs, [sites]).effects[0].configuration == Configuration(sites, "")
    assert str(PatchSite(sites[0].site, "=")) == "a0.0@="


@pytest.mark.parametrize("damage", [torch.nan, torch.inf])
def test_logits_that_are_no_numbers_are_refused(damage):
    broken = ProbedModel(tiny.gpt2(3))
    with torch.no_grad():
        broken.model.transformer.wte.weight[0, 0] = damage
    with pytest.raises(UserError, match="the model's logits are not numbers for 9 of 9 pairs"):
        patch_effects(broken, sums(9, contrast_where="F1 == 0"), sets("a0.0@="))


def test_models_of_both_tasks_are_what_they_say():
    assert probed("counting").vocab_size == COUNTING["vocab_size"]
