"""Half precision: the same input in other company, and what makes it a member of its own preimage all the same."""

from __future__ import annotations

import functools

import pytest
import torch

from inversionview.bank.making import make_bank
from inversionview.bank.plan import plan_bank
from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage import exact, rounding, verification
from inversionview.preimage.epsilon import causal, null
from inversionview.preimage.epsilon.calibration import epsilons_of
from inversionview.preimage.epsilon.causal import causal_epsilon
from inversionview.preimage.epsilon.curve import SAME_ACTIVATION
from inversionview.preimage.epsilon.null import bank_epsilon, null_epsilon
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.rounding import Beginnings, as_one, cell_floors, same_activation, same_input_floor
from inversionview.preimage.sampled import sampled_preimages
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Preimage
from inversionview.sites import Site
from tests.preimage.tiny import FewSums, Fixed, few_sums, gpt2, query

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SITES = ("x0.post", "a2.1", "x2.post")
TINY = 1e-4
"""An ε that no two different prefixes of these models are within."""


class Noisy(ProbedModel):
    """A model whose last digits depend on the shape of what is run, as those of large models do in half precision."""

    def _run_to(self, plan, tokens, at):
        return {site: self._off(z, tokens) for site, z in super()._run_to(plan, tokens, at).items()}

    def _record(self, plan, tokens, keep, offset, into, **options):
        cache = super()._record(plan, tokens, keep, offset, into, **options)
        for by_position in into.values():
            by_position |= {t: self._off(by_position[t], tokens) for t in keep}
        return cache

    def _off(self, z, tokens):
        generator = torch.Generator().manual_seed(tokens.shape[0] + 1000 * tokens.shape[1])
        return (
            z if self.dtype == torch.float32 else z * (1 + 0.01 * torch.randn(z.shape[-1], generator=generator)).to(z)
        )


@functools.cache
def model(dtype: str, kind: type[ProbedModel] = Noisy) -> ProbedModel:
    return kind(gpt2(0, n_embd=32, n_layer=3, n_head=4, n_positions=24).to(TYPES[dtype]))


def asked(site: str = "x2.post", at: str = "+"):
    return query("105+111=216", at, site)


def beginning_alike() -> torch.Tensor:
    """The 34 inputs that begin `105+`."""
    tokens = few_sums().rows
    return tokens[(tokens[:, :5] == torch.tensor(asked().tokens[:5])).all(dim=1)]


def exactly(dtype: str, site: str, rule: str = "same") -> Preimage:
    return exact_preimages(model(dtype), few_sums(), [asked(site)], criterion=Criterion.parse(TINY, "euclidean", rule))[
        0
    ]


def sampled(dtype: str, site: str, rule: str = "same") -> Preimage:
    source, criterion = Fixed(few_sums().rows), Criterion.parse(TINY, "euclidean", rule)
    return sampled_preimages(model(dtype), few_sums(), [asked(site)], [source], criterion=criterion)[0]


@pytest.mark.parametrize("rule", ["same", "any"])
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ask", [exactly, sampled])
def test_what_begins_as_the_query_does_is_in_its_preimage_in_every_type(ask, dtype, site, rule):
    found = ask(dtype, site, rule)
    members = {tuple(row) for row in found.tokens[found.inside].tolist()}
    assert members == {tuple(row) for row in beginning_alike().tolist()}
    if dtype != "fp32":
        assert (found.distances[found.inside] == 0).all()


def test_without_looking_at_the_tokens_half_precision_sets_them_apart(monkeypatch):
    """What the test above would see if nothing were done."""
    for module in (verification, exact):
        monkeypatch.setattr(module, "HALF", ())
    for site in SITES:
        assert not exactly("bf16", site).n_inside
        assert not sampled("bf16", site).n_inside


def test_fp32_is_left_as_it_is_measured(monkeypatch):
    monkeypatch.setattr(verification, "as_one", None)
    monkeypatch.setattr(rounding, "same_input_floor", None)
    assert sampled("fp32", "x2.post").n_inside == 34
    assert same_activation(model("fp32"), few_sums(), SITES, metric="euclidean") == dict.fromkeys(SITES, 1e-5)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_floor_is_what_runs_of_one_input_are_apart(metric):
    by_type = {
        name: same_input_floor(model(name, ProbedModel), few_sums(), SITES, metric=metric, role="=") for name in TYPES
    }
    assert max(by_type["fp32"].values()) < SAME_ACTIVATION[metric]
    noisy = same_input_floor(model("bf16"), few_sums(), SITES, metric=metric, role="=")
    assert min(noisy.values()) > 10 * max(by_type["fp32"].values())
    tokens, at = rounding._inputs(few_sums(), rounding.INPUTS, "=", torch.Generator().manual_seed(0))
    wide = torch.nn.functional.pad(tokens, (0, 8), value=14)
    for site in SITES:  # a pair of runs by hand is never further apart
        for kind, floors in ((Noisy, noisy), (ProbedModel, by_type["bf16"])):
            probed = model("bf16", kind)
            alone = probed.capture(tokens[:1, : int(at[0]) + 1], site, int(at[0])).popitem()[1].double()
            among = probed.capture(wide, site).popitem()[1][:1, int(at[0])].double()
            if metric == "euclidean":
                apart = float((alone - among).norm() / alone.norm())
            else:
                apart = 1 - float(torch.nn.functional.cosine_similarity(alone, among))
            assert apart <= floors[site] + 1e-6


def test_what_few_inputs_show_is_found_by_more_than_are_run_alone():
    class Once(ProbedModel):
        """Moves one input of a padded batch, and no other."""

        def _run_to(self, plan, tokens, at):
            moved = tokens.shape == (rounding.INPUTS, 22)
            found = super()._run_to(plan, tokens, at)
            if moved:
                for z in found.values():
                    z[rounding.ALONE + 1] *= 1.01
            return found

    floors = same_input_floor(model("bf16", Once), few_sums(), SITES, metric="euclidean", role="=")
    assert min(floors.values()) > 0.005


def test_the_floor_of_a_role_that_nothing_has_or_of_no_inputs_is_refused():
    with pytest.raises(UserError, match="has no position 'nowhere'"):
        same_input_floor(model("bf16"), few_sums(), SITES, role="nowhere")
    with pytest.raises(UserError, match="n must be at least 1"):
        same_input_floor(model("bf16"), few_sums(), SITES, n=0)


def test_beginnings_are_shared_up_to_the_position_and_no_further():
    tokens = torch.tensor([[1, 2, 3, 4], [1, 2, 9, 9], [9, 2, 3, 4]])
    assert Beginnings(tokens[:1], torch.tensor([1])).shared_by(tokens).tolist() == [True, True, False]
    assert Beginnings(tokens[:1], torch.tensor([2])).shared_by(tokens).tolist() == [True, False, False]
    assert Beginnings(tokens, torch.tensor([3, 3, 0])).shared_by(tokens).tolist() == [True, True, True]
    assert not Beginnings(tokens[:1], torch.tensor([-1])).shared_by(tokens).any(), "a vector has no beginning"
    assert not Beginnings(tokens[:1], torch.tensor([3])).shared_by(tokens[:, :3]).any(), "it goes on behind their end"


def test_neighbours_that_begin_alike_take_one_distance_unless_another_query_is_asked():
    tokens = torch.tensor([[1, 2, 3], [1, 2, 4], [1, 2, 4], [1, 5, 5]])
    everywhere = torch.arange(12.0).view(4, 3)
    same, other = torch.zeros(4, 2), torch.tensor([[0.0, 0], [0, 0], [1, 0], [1, 0]])
    assert as_one(everywhere, tokens, same).tolist() == [[0, 1, 2], [0, 1, 5], [0, 1, 5], [0, 10, 11]]
    assert as_one(everywhere, tokens, other).tolist() == [[0, 1, 2], [0, 1, 5], [6, 7, 8], [6, 10, 11]]


@pytest.mark.parametrize("dtype", TYPES)
def test_a_causal_epsilon_is_never_one_that_only_the_querys_own_activation_supports(dtype, monkeypatch):
    """The least move of another activation as the tolerance: only what begins as the query does moves less."""
    with pytest.raises(UserError, match="leaves no epsilon"):
        causal_epsilon(model(dtype), few_sums(), asked("x1.pre"), 1e-12, few_sums().rows)
    if dtype == "bf16":  # what it came to without the floor, where rounding moves nothing
        monkeypatch.setattr(causal, "same_activation", lambda *a, **k: {"x1.pre": 1e-5})
        monkeypatch.setattr(verification, "HALF", ())
        ranked = causal._ranked(model(dtype), few_sums(), asked("x1.pre"), few_sums().rows, Criterion.parse(0.1))
        moves = torch.where(ranked.distances < 0.05, 0.0, 1.0)
        assert 1e-5 < causal._calibrated(ranked, moves, 0.5, 1e-5).epsilon < 0.05
        with pytest.raises(UserError, match="leaves no epsilon"):
            causal._calibrated(ranked, moves, 0.5, 0.05)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_null_epsilon_is_never_one_that_only_equal_beginnings_support(dtype):
    with pytest.raises(UserError, match="unrelated pairs often have the very same activation"):
        measured(dtype, 0.02)  # one pair in 34 begins alike
    floor = same_activation(model(dtype), few_sums(), ["x2.post"], metric="euclidean", role="+")["x2.post"]
    assert measured(dtype, 0.1) > floor


def test_a_null_epsilon_is_never_within_the_floor(monkeypatch):
    wide = measured("bf16", 0.1)
    monkeypatch.setattr(null, "same_input_floor", lambda *a, **k: {"x2.post": wide * 1.01})
    with pytest.raises(UserError, match="unrelated pairs often have the very same activation"):
        measured("bf16", 0.1)
    assert measured("bf16", 0.3) > wide


def test_a_banks_null_epsilon_is_never_within_the_floor():
    cell = Site.parse("x2.post"), "+"
    plan = plan_bank(model("bf16"), few_sums(), sites=[cell[0]], roles=["+"], n=800, seed=0)
    bank = make_bank(model("bf16"), few_sums(), plan)
    wide = bank_epsilon(bank, [cell], 0.1, metric="euclidean", n=3000)["x2.post", "+"].epsilon
    least = {("x2.post", "+"): wide * 1.01}
    with pytest.raises(UserError, match="unrelated pairs often have the very same activation"):
        bank_epsilon(bank, [cell], 0.1, metric="euclidean", n=3000, least=least)
    assert set(cell_floors(model("bf16"), few_sums(), [cell], metric="euclidean")) == set(least)
    assert cell_floors(model("fp32"), few_sums(), [cell], metric="euclidean") == {}


def measured(dtype: str, share: float) -> float:
    generator = torch.Generator().manual_seed(0)
    found = null_epsilon(model(dtype), few_sums(), ["x2.post"], share, n=3000, role="+", generator=generator)
    return found["x2.post"].epsilon


def test_an_epsilon_below_the_floor_is_said():
    floor = same_input_floor(model("bf16"), few_sums(), ["x2.post"], role="+")["x2.post"]
    for dtype, epsilon, warned in (("bf16", floor / 2, True), ("bf16", 2 * floor, False), ("fp32", 1e-6, False)):
        criterion = Criterion.parse(epsilon)
        [made] = epsilons_of(criterion, [asked()], probed=model(dtype), task=few_sums(), decoder=None, seed=0)
        assert made.value == epsilon
        assert made.rounding == (floor if dtype == "bf16" else 0)
        assert (made.value < made.rounding) == warned


@pytest.mark.parametrize("more", [{}, {"n": 200}], ids=["counted", "from a bank"])
def test_a_map_says_where_epsilon_is_below_the_floor(more):
    from inversionview.report.words import map_words
    from inversionview.studies.study import Study

    def made(dtype, epsilon):
        study = Study(model(dtype), few_sums(), name="half", sites=SITES)
        return study.map(at=["+", "="], queries=3, epsilon=epsilon, **more)

    half = made("bf16", TINY)
    assert half.warning.startswith("in 6 of 6 cells ε is below")
    assert half.to_dict()["warning"] == half.warning
    assert half.warning in map_words(half).notes
    assert made("bf16", 0.9).warning is None
    assert made("fp32", TINY).warning is None
    assert made("bf16", "null:0.1").warning is None


def test_the_floor_of_a_role_that_few_inputs_have_is_measured_too():
    class Rare(FewSums):
        """One input of 1,156 has the role."""

        def position_of(self, tokens, role):
            there = (tokens[:, 1:4] == 1).all(dim=1) & (tokens[:, 5:8] == 1).all(dim=1)
            return torch.where(there, super().position_of(tokens, "+"), -1)

    task = Rare(few_sums().numbers.tolist())
    assert same_input_floor(model("bf16"), task, ["x2.post"], role="rare", n=2)["x2.post"] > 0


def test_a_reading_from_a_bank_says_so_too(tmp_path):
    from inversionview.studies.study import Study

    half = Study(model("bf16"), few_sums(), name="half")
    half.bank("+", sites=["x2.post"], n=300, folder=tmp_path / "bank")
    asked_for = half.query("105+111=216", at="+", site="x2.post")
    found = half.preimage(asked_for, n=50, epsilon=TINY, bank=tmp_path / "bank")
    assert {source["name"] for source in found.to_dict()["sources"]} == {"bank"}
    assert "half precision sets one input apart from itself" in found.warning


def test_the_warning_is_in_the_result_the_document_the_terminal_and_the_file(tmp_path):
    from io import StringIO

    from rich.console import Console

    from inversionview.report.terminal import render_terminal
    from inversionview.studies.study import Study

    half = Study(model("bf16"), few_sums(), name="half")
    found = half.preimage(half.query("105+111=216", at="+", site="x2.post"), n=50, epsilon=TINY)
    assert found.rounding > TINY
    assert "half precision sets one input apart from itself" in found.warning
    assert found.to_dict()["warning"] == found.warning
    console = Console(file=StringIO(), width=400)
    render_terminal(found.to_reading(), console)
    assert found.warning in console.file.getvalue()
    assert found.warning.split(",")[0] in found.to_html()
    for name in ("a.json", "a.parquet"):
        found.save(tmp_path / name)
        assert Preimage.load(tmp_path / name).warning == found.warning
    assert found.at_epsilon(1.0).warning == ""
    exact = half.exact_preimage(half.query("105+111=216", at="+", site="x2.post"), epsilon=TINY)
    assert exact.warning == found.warning
    wide = Study(model("fp32"), few_sums(), name="wide")
    whole = wide.preimage(wide.query("105+111=216", at="+", site="x2.post"), n=50, epsilon=TINY)
    assert whole.to_dict()["warning"] is None
