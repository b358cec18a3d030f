"""Exact preimages of a small domain, against plain Hugging Face and against each other."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.domain import ModelDomain
from inversionview.preimage.exact import exact_distances, exact_preimages, scan_domain
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Preimage
from inversionview.sites import Site
from tests.preimage.tiny import FewSums, Fixed, gpt2, probed, query, with_criterion

SETTINGS = [(metric, rule) for metric in ("euclidean", "cosine") for rule in ("same", "any")]
QUERIES = [
    query("615+861=1476", at="=", site="a0.0"),
    query("505+495=1000", at="A4", site="x1.post"),
    query("100+101=201", at="F2", site="x0.post"),
    query("999+101=1100", at="A1", site="a0.1"),
    query("100+100=200", at="S3", site="a0.0"),
    query("110+990=1100", at="=", site="x1.post"),
]


@functools.cache
def domain(tilt: float = 0.0) -> FewSums:
    """400 sums, of three and of four digits, with and without carries."""
    return FewSums((*range(100, 107), *range(494, 500), *range(988, 995)), tilt)


def find(queries, task=None, model=None, **changes) -> list[Preimage]:
    options = {"epsilon": 0.5} | changes
    return exact_preimages(model or probed(), task or domain(), queries, **with_criterion(options))


def texts(preimage: Preimage) -> set[str]:
    return set(preimage.inputs)


def same(one: Preimage, other: Preimage) -> None:
    """Equal but for rounding, which may put what is as near in another order."""
    assert texts(one) == texts(other)
    at = [dict(zip(p.inputs, zip(p.positions, p.distances, strict=True), strict=True)) for p in (one, other)]
    for text, (position, distance) in at[0].items():
        assert at[1][text][0] == position
        assert at[1][text][1] == pytest.approx(distance, abs=1e-5)
    left = {"inputs", "tokens", "token_strings", "positions", "distances"}
    for field in dataclasses.fields(Preimage):
        if field.name not in left:
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


@pytest.mark.parametrize(("metric", "rule"), SETTINGS)
@pytest.mark.parametrize(
    ("layer", "at", "text"), [(0, "=", "505+495=1000"), (0, "A4", "999+501=1500"), (0, "F2", "495+861=1356")]
)
def test_it_agrees_with_plain_hugging_face(layer, at, text, metric, rule):
    """x0.post as the model has it, one input at a time, in fp64 from the hidden states on."""
    model, asked = probed(0, "raw"), query(text, at=at, site="x0.post")
    epsilon = {"euclidean": 0.45, "cosine": 0.12}[metric]
    with torch.no_grad():
        hidden = model.model(domain().rows, output_hidden_states=True).hidden_states[1].double()
        z_q = model.model(torch.tensor([asked.tokens]), output_hidden_states=True).hidden_states[1][0, asked.position]
    z_q = z_q.double()
    expected = {}
    for row, z in zip(domain().rows.tolist(), hidden, strict=True):
        if metric == "euclidean":
            d = (z - z_q).norm(dim=-1) / z_q.norm()
        else:
            d = 1 - torch.nn.functional.cosine_similarity(z, z_q[None], dim=-1)
        end = row.index(13)
        allowed = [t for t in range(1, end) if rule == "any" or t == asked.position]
        if allowed and min(d[t] for t in allowed) <= epsilon:
            text = "".join("0123456789B+=E"[token] for token in row[1:end])
            expected[text] = min((round(d[t].item(), 5), t) for t in allowed)
    [found] = find([asked], model=model, epsilon=epsilon, metric=metric, position_rule=rule)
    assert texts(found) == set(expected)
    assert 0 < len(found) < 400
    for text, position, distance in zip(found.inputs, found.positions, found.distances, strict=True):
        assert distance == pytest.approx(expected[text][0], abs=2e-5)
        assert position == expected[text][1]


@pytest.mark.parametrize(("metric", "rule"), SETTINGS)
def test_it_is_what_verification_says_of_every_input(metric, rule):
    """The same members, positions and distances as when all inputs are candidates."""
    options = {"epsilon": 0.3, "metric": metric, "position_rule": rule}
    everything = sampled_preimages(probed(), domain(), QUERIES, [Fixed(domain().rows)], **with_criterion(options))
    for found, verified in zip(find(QUERIES, **options), everything, strict=True):
        inside = verified.inside
        known = dict(zip(verified.inputs, zip(verified.positions, verified.distances, strict=True), strict=True))
        assert texts(found) == set(np.array(verified.inputs)[inside])
        for text, position, distance in zip(found.inputs, found.positions, found.distances, strict=True):
            assert known[text] == (position, pytest.approx(distance, abs=2e-5))
        assert (found.domain_size, found.domain_mass) == (verified.domain_size, verified.domain_mass)


def test_every_row_is_a_member_and_nearest_come_first_ties_by_token_ids():
    for rule in ("same", "any"):
        sizes = []
        for found in find([*QUERIES, query("100+100=200", at="=", site="x0.pre")], position_rule=rule):
            assert found.exact
            assert found.inside.all()
            assert found.n_inside == len(found)
            sizes.append(len(found))
            ordered = list(zip(found.distances.tolist(), found.tokens.tolist(), strict=True))
            assert ordered == sorted(ordered)
            assert found.sources == ({},) * len(found)
            assert np.isnan(found.log_prob).all()
            assert found.token_distances is None
            for text, strings, row in zip(found.inputs, found.token_strings, found.tokens, strict=True):
                assert "".join(strings) == f"B{text}E" == "".join("0123456789B+=E_"[t] for t in row).rstrip("_")
        assert sum(0 < size < domain().size for size in sizes) >= 3


def test_what_the_site_cannot_tell_apart_is_all_inside():
    # at x0.pre only token and position count
    [everything] = find([query("615+861=1476", at="=", site="x0.pre")], epsilon=0.01)
    assert everything.n_inside == everything.domain_size == domain().size
    assert np.abs(everything.distances).max() < 1e-5
    [digit] = find([query("615+861=1476", at="S1", site="x0.pre")], epsilon=0.01)
    assert texts(digit) == set(), "no number begins with 8"
    [digit] = find([query("615+961=1576", at="S1", site="x0.pre")], epsilon=0.01)
    assert texts(digit) == {text for text in everything.inputs if text.split("+")[1].startswith("9")}


def test_inputs_that_lack_the_role_are_not_in_the_domain():
    asked = query("505+495=1000", at="A4", site="x0.pre")
    [found] = find([asked], epsilon=1e6)
    four = {text for text in map(domain().decode, domain().rows) if len(text) == 12}
    assert texts(found) == four
    assert found.domain_size == len(four) < domain().size
    assert found.domain_mass == pytest.approx(len(four) / domain().size)
    [anywhere] = find([asked], epsilon=1e6, position_rule="any")
    assert anywhere.n_inside == anywhere.domain_size == domain().size
    assert anywhere.domain_mass == 1


@pytest.mark.parametrize(("metric", "rule"), SETTINGS)
def test_many_queries_give_what_each_gives_alone(metric, rule):
    together = find(QUERIES, metric=metric, position_rule=rule)
    assert [found.query for found in together] == QUERIES
    for asked, found in zip(QUERIES, together, strict=True):
        same(find([asked], metric=metric, position_rule=rule)[0], found)


@pytest.mark.parametrize("rule", ["same", "any"])
def test_small_blocks_change_nothing(rule):
    small = ModelDomain(probed(), domain(), block=50)
    for whole, cut in zip(
        find(QUERIES, position_rule=rule), find(QUERIES, position_rule=rule, domain=small), strict=True
    ):
        same(whole, cut)


def test_each_query_may_have_its_own_epsilon_and_a_smaller_one_needs_no_other_pass():
    limits = [0.2, 0.9, 0.5, 0.4, 0.3, 0.6]
    wide = find(QUERIES, epsilon=0.9)
    for found, limit, from_wide in zip(find(QUERIES, epsilon=limits), limits, wide, strict=True):
        assert found.epsilon == limit
        assert (found.distances <= limit).all()
        same(from_wide.at_epsilon(limit), found)


def test_activations_stand_in_for_the_queries_own():
    begin = probed().capture(torch.tensor([[10]]), ["x1.post"], 0)[Site.parse("x1.post")]
    asked = query("505+495=1000", at="=", site="x1.post")
    other = query("100+100=200", at="=", site="x1.post")
    instead = torch.cat([begin, query_activations(probed(), domain(), [other])])
    far, swapped = find([asked, asked], activations=instead, epsilon=0.3)
    assert far.query == swapped.query == asked
    assert far.n_inside == 0, "nothing is like the begin token's activation"
    assert texts(swapped) == texts(find([other], epsilon=0.3)[0])
    assert texts(swapped) != texts(find([asked], epsilon=0.3)[0])


def test_an_empty_preimage_is_one_too(tmp_path):
    [none] = find([query(site="a0.0")], activations=torch.full((1, 16), 1e6), epsilon=0.1)
    assert len(none) == none.n_inside == none.effective_size == 0
    assert none.weights.shape == (0,)
    assert none.members == ()
    assert none.n_drawn == domain().size
    none.save(tmp_path / "none.json")
    assert Preimage.load(tmp_path / "none.json").to_dict() == none.to_dict()


def test_activations_kept_of_an_earlier_run_need_no_model():
    class Kept:
        def __init__(self) -> None:
            sites = [Site.parse(asked.site) for asked in QUERIES]
            self.kept = list(ModelDomain(probed(), domain(), 300).blocks(sites, None))

        def blocks(self, sites, roles):
            return iter(self.kept)

    kept, own = Kept(), query_activations(probed(), domain(), QUERIES)
    for rule in ("same", "any"):
        with_model = find(QUERIES, position_rule=rule)
        without = exact_preimages(
            None, domain(), QUERIES, criterion=Criterion.parse(0.5, position_rule=rule), activations=own, domain=kept
        )
        for one, other in zip(with_model, without, strict=True):
            same(one, other)


@pytest.mark.parametrize(("metric", "rule"), SETTINGS)
def test_distances_of_all_inputs_are_in_the_order_of_the_domain(metric, rule):
    small = ModelDomain(probed(), domain(), block=70)
    everywhere = exact_distances(
        probed(), domain(), QUERIES, criterion=Criterion.parse(metric=metric, position_rule=rule), domain=small
    )
    assert everywhere.shape == (len(QUERIES), domain().size)
    order = {domain().decode(row): i for i, row in enumerate(domain().rows)}
    for row, found in zip(everywhere, find(QUERIES, metric=metric, position_rule=rule, epsilon=1e6), strict=True):
        at = [order[text] for text in found.inputs]
        np.testing.assert_allclose(row[at], found.distances, atol=1e-5)
        assert np.isinf(np.delete(row, at)).all()
        assert len(at) == found.domain_size


def test_no_queries_give_no_preimages_and_no_pass(monkeypatch):
    monkeypatch.setattr(ModelDomain, "blocks", lambda *_: pytest.fail("ran the domain for nothing"))
    assert find([]) == []
    assert exact_distances(probed(), domain(), []).shape == (0, domain().size)


def test_the_prior_weighs_the_members():
    task = domain(tilt=0.5)
    [found] = find([query("100+100=200", at="=", site="x0.pre")], task, epsilon=0.01)
    assert found.weights.sum() == pytest.approx(1)
    assert found.effective_size == found.n_inside == task.size
    first = np.array([int(text[:3]) for text in found.inputs])
    shares = {a: (1 + 0.5 * i) for i, a in enumerate(task.numbers.tolist())}
    for a in (100, 497, 994):
        assert found.weights[first == a].sum() == pytest.approx(shares[a] / sum(shares.values()), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epsilon": 0.0}, "epsilon must be a number above 0, such as 0.1, not 0"),
        ({"epsilon": float("nan")}, "epsilon must be a number above 0"),
        ({"epsilon": [0.1, 0.2]}, "one epsilon, or one for each of the 1 queries, not 2"),
        ({"metric": "angle"}, "unknown metric 'angle': use euclidean or cosine"),
        ({"position_rule": "some"}, "unknown position rule 'some': use same or any"),
        ({"activations": torch.zeros(1, 16)}, "norm 0"),
        ({"activations": torch.full((1, 16), torch.inf)}, "not finite"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_the_pass(monkeypatch, changes, words):
    monkeypatch.setattr(ModelDomain, "blocks", lambda *_: pytest.fail("began the pass"))
    with pytest.raises(UserError, match=words):
        find([query()], **changes)


def test_a_query_activation_of_norm_0_is_refused():
    model = gpt2(seed=3)
    with torch.no_grad():
        model.transformer.wte.weight[12] = 0
    with pytest.raises(UserError, match="norm 0"):
        find([query(at="=", site="embed")], model=ProbedModel(model))


def test_a_task_that_cannot_enumerate_is_refused():
    endless = FewSums([100, 200])
    endless.size = None
    for search in (exact_distances, lambda *given: find(given[2], given[1])):
        with pytest.raises(UserError, match="cannot be enumerated"):
            search(probed(), endless, [query()])


def test_a_scan_says_of_each_block_what_it_is_to_each_group_of_queries():
    small = ModelDomain(probed(), domain(), block=150)
    scans = list(
        scan_domain(
            probed(),
            domain(),
            QUERIES[:3],
            criterion=Criterion.parse(metric="cosine", position_rule="same"),
            domain=small,
        )
    )
    assert [(scan.start, scan.queries) for scan in scans] == [(s, (q,)) for s in (0, 150, 300) for q in range(3)]
    assert all((scan.positions[:, ::7] >= 0).equal(scan.distances[:, ::7].isfinite()) for scan in scans)
