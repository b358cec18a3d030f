"""Use, on hand-made models of which it is known what they use, and against whole forwards of a tiny one."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from inversionview.causal.use import use
from inversionview.causal.verdicts import difference, feature_verdict, whole_verdict
from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import PriorSource
from inversionview.probed.model import Patch
from inversionview.results import use as use_result
from inversionview.results.preimage import Query
from inversionview.results.use import Effect, FeatureUse
from inversionview.sites import Site
from tests.preimage.tiny import few_sums, probed, with_criterion

TASK = few_sums()
SUM = "990+500=1490"
FEATURES = ("F1", "S1", "C1", "F2")


def query(text: str = SUM, at: str = "=", site: str = "x0.post") -> Query:
    tokens = TASK.encode(text)
    position = int(TASK.position_of(tokens[None], at)[0])
    return Query("tiny", text, tuple(tokens.tolist()), tuple(TASK.token_strings(tokens)), position, at, site)


class Fake:
    """A model whose one activation holds some features, one-hot, and whose output depends on the first `used`."""

    vocab_size, d_model, dtype = 15, 24, torch.float32

    def __init__(self, encodes: tuple[str, ...], used: tuple[str, ...], strength: float = 5.0) -> None:
        self.encodes, self.used, self.strength = encodes, used, strength
        self.runs = 0

    def site(self, site):
        return Site.parse(site)

    def width(self, site):
        return self.d_model

    def codes(self, tokens):
        at = torch.zeros(len(tokens), dtype=torch.long)
        return {name: TASK.features[name].compute(tokens, at) for name in self.encodes}

    def capture(self, tokens, sites, positions=None):
        hot = [F.one_hot(codes, 12).float() for codes in self.codes(tokens).values()]
        z = F.pad(torch.cat(hot, dim=1), (0, self.d_model - 12 * len(hot)))
        z = z if positions is not None else z[:, None].expand(-1, tokens.shape[1], -1)
        return {Site.parse(site): z for site in sites}

    def clean_run(self, tokens, start):
        return tokens

    def rerun(self, run, patches, *, rows, positions):
        tokens = run[rows]
        z = patches[0].value if patches else self.capture(tokens, ["x0.post"], 0)[Site.parse("x0.post")]
        self.runs += len(tokens)
        logits = torch.zeros(len(tokens), self.vocab_size)
        for name in self.used:
            start = 12 * self.encodes.index(name)
            logits[:, :12] += self.strength * z[:, start : start + 12]
        return logits[:, None].expand(-1, positions.shape[1], -1)


def preimage(model, asked=None, **settings):
    source = PriorSource(TASK, 2500)
    (found,) = sampled_preimages(
        model, TASK, [asked or query()], [source], **with_criterion({"epsilon": 0.5, **settings})
    )
    return found


def found(model, *, asked=None, epsilon=0.5, rule="same", **settings):
    settings = {"n_members": 100, "n_others": 100, "features": FEATURES, **settings}
    return use(model, TASK, preimage(model, asked, epsilon=epsilon, position_rule=rule), **settings)


def verdicts(result) -> dict[str, str | None]:
    return {feature.name: feature.verdict for feature in result.features}


def kl_of_a_switch(strength: float = 5.0) -> float:
    """KL of the output in nats when another value stands in."""
    p = F.one_hot(torch.tensor(0), 15).double().mul(strength).softmax(0)
    q = F.one_hot(torch.tensor(1), 15).double().mul(strength).softmax(0)
    return float((p * (p / q).log()).sum())


@pytest.mark.parametrize("rule", ["same", "any"])
def test_what_is_used_is_told_from_what_is_only_present(rule):
    """The activation holds F1 and S1, of which the output only reads F1."""
    result = found(Fake(("F1", "S1"), ("F1",)), rule=rule)
    told = verdicts(result)
    assert told["F1"] == "used"
    assert told["S1"] == "merely present"
    assert told["F2"] == "not encoded"
    by_name = {feature.name: feature for feature in result.features}
    assert by_name["F1"].sharing.kl == pytest.approx(0, abs=1e-9)
    assert by_name["F1"].differing.kl == by_name["F1"].difference == pytest.approx(kl_of_a_switch())
    assert by_name["F1"].share == pytest.approx(1, abs=0.05)
    assert abs(by_name["F2"].share) < use_result.ENCODED
    assert by_name["F1"].value == "9"


def test_members_hold_and_non_members_do_not():
    result = found(Fake(("F1", "S1"), ("F1",)))
    assert result.verdict == "used"
    assert result.members.kl == pytest.approx(0, abs=1e-9)
    assert result.members.same_top == 1
    assert 0 < result.random.same_top < 1
    assert result.random.kl == pytest.approx(kl_of_a_switch() * (1 - result.random.same_top))
    assert result.difference == pytest.approx(result.random.kl - result.members.kl)
    assert result.outputs == ("=", "A1", "A2", "A3", "A4")
    assert len(result.random.by_output) == 5


def test_an_activation_that_nothing_reads_is_not_used():
    result = found(Fake(("F1", "S1"), ()))
    assert result.verdict == "not used"
    assert set(verdicts(result).values()) <= {"merely present", "not encoded"}
    assert verdicts(result)["F1"] == "merely present"


def test_a_feature_that_goes_with_a_used_one_is_told_apart_by_holding_that_equal():
    """The output reads C1 alone; sums whose first number begins with 9 all carry, so F1 seems used."""
    model = Fake(("F1", "C1"), ("C1",))
    assert verdicts(found(model))["F1"] == "used"
    result = found(model, given=["C1"])
    assert result.given == ("C1",)
    told = {feature.name: feature for feature in result.features}
    assert told["F1"].verdict == "merely present"
    assert told["F1"].difference == pytest.approx(0, abs=1e-9)
    assert (told["C1"].verdict, told["C1"].why_not) == (None, "it is held equal")
    assert result.random.kl == pytest.approx(0, abs=1e-9)


def test_where_a_feature_is_all_that_is_encoded_members_share_it():
    result = found(Fake(("F1",), ("F1",)))
    by_name = {feature.name: feature for feature in result.features}
    assert by_name["F1"].by_members
    assert by_name["F1"].verdict == "used"
    assert by_name["F1"].sharing.n == 100
    assert not by_name["F2"].by_members


def test_the_nearest_non_members_are_nearer_than_random_ones():
    """F1 and S1 differ from the query's in all but one: then they are nearer, and half of them keep the output."""
    result = found(Fake(("F1", "S1"), ("F1",)), n_others=30)
    assert result.nearest.n == 30
    assert result.nearest.kl < result.random.kl


def test_features_that_cannot_be_told_abstain_and_say_why():
    model = Fake(("F1", "S1"), ("F1",))
    four = found(model, asked=query(at="A4"), features=("four digits", "A1", "F1"))
    assert [feature.verdict for feature in four.features][:2] == [None, None]
    assert four.features[0].why_not.startswith("it is the same in all")
    few = found(model, n_others=10)
    assert few.why_not == "there are only 10 non-members, and at least 20 are needed"
    assert all("at least 20 are needed" in f.why_not for f in few.features if f.verdict is None)
    assert {f.verdict for f in few.features} == {None, "not encoded"}


def test_without_members_nothing_is_told_of_what_is_encoded():
    lonely = dataclasses.replace(preimage(Fake(("F1", "S1"), ("F1",))))
    none = dataclasses.replace(lonely, in_domain=np.zeros(len(lonely), dtype=bool))
    result = use(Fake(("F1", "S1"), ("F1",)), TASK, none, n_members=50, n_others=50, features=FEATURES)
    assert result.members == Effect(0, None, None, None, None, ())
    assert result.verdict is None
    assert {feature.verdict for feature in result.features} == {None}
    assert "too few" in result.features[0].why_not


@pytest.mark.parametrize("tilt", [0.0, 1.0])
def test_members_effects_are_weighted_means_of_whole_forwards(tilt):
    task, model, asked = few_sums(tilt), probed(0, "tl"), query(site="x0.post")
    (exact,) = exact_preimages(model, task, [asked], criterion=Criterion.parse(0.8))
    result = use(model, task, exact, n_members=10_000, n_others=20, features=("F1",))
    own = torch.tensor([asked.tokens])
    tokens = torch.from_numpy(exact.tokens).long()
    other = ~(tokens[:, :14] == own).all(dim=1)
    weights = torch.from_numpy(exact.weights)[other]
    weights /= weights.sum()
    (values,) = model.capture(tokens[other], ["x0.post"], 8).values()
    clean = model.logits(own)[:, 8:13].double().log_softmax(-1)
    patched = model.logits(own.expand(len(values), -1), [Patch("x0.post", 8, values)])[:, 8:13].double().log_softmax(-1)
    kl = (clean.exp() * (clean - patched)).sum(-1)
    assert result.members.n == int(other.sum()) > 30
    assert result.members.kl == pytest.approx(float(weights @ kl.amax(1)), rel=1e-4)
    assert result.members.by_output == pytest.approx((weights @ kl).tolist(), rel=1e-3, abs=1e-7)
    assert result.members.largest == pytest.approx(float(kl.amax()), rel=1e-4)
    if not tilt:
        half = 1.96 * float(kl.amax(1).std()) / math.sqrt(len(kl))
        assert result.members.interval[1] - result.members.kl == pytest.approx(half, rel=1e-3)
    assert result.exact
    assert result.inside == exact.n_inside


def test_weighted_members_are_drawn_by_their_weights():
    task, model = few_sums(3.0), Fake(("S1",), ("S1",))
    (exact,) = exact_preimages(probed(0, "tl"), task, [query()], criterion=Criterion.parse(5.0))
    whole = use(model, task, exact.at_epsilon(1.2), n_members=10**6, n_others=20, features=())
    some = use(model, task, exact.at_epsilon(1.2), n_members=400, n_others=20, features=())
    assert some.members.n == 400
    low, high = some.members.interval
    assert low - (high - low) < whole.members.kl < high + (high - low)


def test_other_outputs_can_be_looked_at():
    model = probed(0, "tl")
    at_a2 = found(model, outputs=["A2"], features=(), n_members=30, n_others=30)
    everywhere = found(model, features=(), n_members=30, n_others=30)
    assert at_a2.outputs == ("A2",)
    assert at_a2.random.kl == pytest.approx(everywhere.random.by_output[2], rel=1e-4)
    assert at_a2.random.kl < everywhere.random.kl
    assert found(model, outputs=[10], features=(), n_members=30, n_others=30).random == at_a2.random


def test_the_same_seed_gives_the_same_and_another_does_not():
    model = Fake(("F1", "S1"), ("F1",))
    assert found(model) == found(model)
    assert found(model, seed=1).random != found(model).random


def test_no_activation_is_run_twice():
    model = Fake(("F1", "S1"), ("F1",))
    found(model)
    assert model.runs <= 1 + 100 + (2 + 2 * len(FEATURES)) * 100


def test_the_document_is_json():
    document = found(Fake(("F1", "S1"), ("F1",))).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["schema"] == 1
    assert document["query"]["at"] == "="
    assert set(document["thresholds"]) == {"encoded_share", "least_nats", "least_share", "least_inputs"}
    (first, *_) = document["features"]
    assert first["name"] == "F1"
    assert first["share"] == pytest.approx(first["bits"] / first["of"])


def effect(kl: float, half: float = 0.01, n: int = 100) -> Effect:
    return Effect(n, kl, (kl - half, kl + half), kl, 1.0, (kl,))


def judged(differing: Effect, sharing: Effect, share: float = 1.0, held: tuple[str, ...] = ()):
    made = FeatureUse("F1", "9", share * 2, 2.0, sharing, differing, *difference(differing, sharing), None)
    return feature_verdict(made, held, 1000)


def test_thresholds():
    assert judged(effect(1), effect(0.5)) == ("used", None)
    assert judged(effect(1), effect(0.5), share=0.49) == ("not encoded", None)
    assert judged(effect(1), effect(0.99)) == ("merely present", None)
    assert judged(effect(1), effect(2)) == ("merely present", None)
    assert judged(effect(0.03), effect(0.0)) == ("merely present", None), "too small in nats"
    assert judged(effect(10), effect(9.5)) == ("merely present", None), "too small a share"
    verdict, why_not = judged(effect(1, 0.7), effect(0.5))
    assert verdict is None
    assert "-0.2 to 1.2 nats, is too wide" in why_not
    assert judged(effect(1, n=19), effect(0.5))[1].startswith("only 19 of 1,000 non-members do not share it")
    assert judged(effect(1), effect(0.5, n=3))[1].startswith("only 3 of 1,000 non-members share it")
    assert whole_verdict(effect(0), effect(1), *difference(effect(1), effect(0))) == ("used", None)
    assert whole_verdict(effect(0), effect(0.03), *difference(effect(0.03), effect(0))) == ("not used", None)


def test_the_interval_of_a_difference_is_that_of_independent_means():
    apart, (low, high) = difference(effect(3, 0.3), effect(1, 0.4))
    assert (apart, low, high) == pytest.approx((2, 1.5, 2.5))
    assert difference(effect(3), Effect(1, 1.0, None, 1.0, 1.0, (1.0,))) == (None, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_members": 0}, "n_members must be at least 1"),
        ({"n_others": -1}, "n_others must be at least 1"),
        ({"features": ["Q"]}, "has no feature 'Q'; its features are: F1"),
        ({"given": ["Q"]}, "has no feature 'Q'"),
        ({"outputs": ["S3"]}, "an output must be a position of 990[+]500=1490 from = on.* 'S3'"),
        ({"outputs": [14]}, "an output must be a position"),
        ({"outputs": []}, "outputs are a list"),
        ({"epsilon": 100.0}, "none is a non-member at ε = 100"),
    ],
)
def test_mistakes_are_one_line(changes, words):
    with pytest.raises(UserError, match=words) as caught:
        found(Fake(("F1", "S1"), ("F1",)), **changes)
    assert len(str(caught.value).splitlines()) == 1


def test_logits_that_are_no_numbers_are_an_error():
    with pytest.raises(UserError, match="not finite"):
        found(Fake(("F1", "S1"), ("F1",), strength=math.nan))
