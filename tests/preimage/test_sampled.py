from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.decoder.scoring import score
from inversionview.errors import UserError
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.preimage.sources.proposals import DecoderSource, PriorSource, ladder, mixture, query_generator
from inversionview.results.importance import inclusion
from tests.preimage.tiny import Fixed, decoder, few_sums, probed, query, rows, task, with_criterion


def find(queries, sources, **changes):
    options = {"epsilon": 0.3, "metric": "euclidean", "position_rule": "same", "seed": 0} | changes
    return sampled_preimages(probed(), task(), queries, sources, **with_criterion(options))


def random_sums(n: int, seed: int = 0) -> torch.Tensor:
    return task().sample(n, generator=torch.Generator().manual_seed(seed))


def brute_force(z_q: torch.Tensor, tokens: torch.Tensor, layer: int, rule: str, metric: str, position: int):
    """x<layer>.post in the raw convention by plain Hugging Face, one input at a time: distance and position of each."""
    found = []
    for row in tokens:
        length = row.tolist().index(13)
        with torch.no_grad():
            hidden = probed(0, "raw").model(row[None], output_hidden_states=True).hidden_states[layer + 1][0].double()
        if metric == "euclidean":
            d = ((hidden - z_q) ** 2).sum(-1).sqrt() / (z_q**2).sum().sqrt()
        else:
            d = 1 - (hidden @ z_q) / (hidden.norm(dim=-1) * z_q.norm())
        allowed = [t for t in range(1, length) if rule == "any" or t == position]
        best = min(allowed, key=lambda t: d[t].item(), default=None)
        found.append((float("inf"), -1) if best is None else (d[best].item(), best))
    return found


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("rule", "at"), [("same", "="), ("any", "="), ("same", "A4"), ("any", "A1")])
def test_verification_agrees_with_brute_force_on_real_inputs(rule, at, metric):
    # x0.post is not hidden_states[-1], to which the final norm is applied
    asked = query(at=at, site="x0.post")
    sums = torch.unique(random_sums(300), dim=0)
    epsilon = 0.6 if metric == "euclidean" else 0.2
    raw = probed(0, "raw")
    [found] = sampled_preimages(raw, task(), [asked], [Fixed(sums)], criterion=Criterion.parse(epsilon, metric, rule))
    with torch.no_grad():
        z_q = raw.model(torch.tensor([asked.tokens]), output_hidden_states=True).hidden_states[1][0, asked.position]
    expected = brute_force(z_q.double(), sums, 0, rule, metric, asked.position)
    by_input = {task().decode(row): pair for row, pair in zip(sums, expected, strict=True)}
    assert set(found.inputs) == set(by_input)
    assert 0 < found.n_inside < len(sums)
    for text, position, distance, inside in zip(
        found.inputs, found.positions, found.distances, found.inside, strict=True
    ):
        wanted, where = by_input[text]
        if where == -1:
            assert position == -1
            assert np.isnan(distance)
            assert not inside
        else:
            assert distance == pytest.approx(wanted, abs=1e-5)
            assert position == where
            assert inside == (wanted <= epsilon) or abs(wanted - epsilon) < 1e-5


def test_the_query_itself_is_a_member_at_distance_0():
    asked = query()
    [found] = find([asked], [Fixed(rows("B615+861=1476E", "B100+100=200E"))])
    assert found.inputs[0] == asked.input
    assert found.distances[0] == pytest.approx(0, abs=1e-6)
    assert found.inside[0]


def test_nearest_first_ties_by_token_ids_and_what_has_no_distance_last():
    # at x0.pre only token and position count: every sum ties with the query at `=`
    asked = query(at="=", site="x0.pre")
    [found] = find([asked], [Fixed(rows("B999+101=1100E", "B100+100=200E", "B5E", "B500+100=600E"))])
    assert found.inputs == ("100+100=200", "500+100=600", "999+101=1100", "5")
    assert np.all(found.distances[:3] < 1e-6)
    assert np.isnan(found.distances[3])
    assert found.positions[3] == -1


def test_many_ties_stay_in_the_order_of_their_token_ids():
    sums = random_sums(200)
    [found] = find([query(at="F1", site="embed")], [Fixed(sums)])
    assert len(set(found.distances)) == 9, "one distance for each first digit"
    ordered = list(zip(found.distances.tolist(), found.tokens.tolist(), strict=True))
    assert ordered == sorted(ordered)


def test_what_is_outside_the_domain_is_measured_and_never_a_member():
    wrong = ("B615+861=1477E", "B615+861B1476E", "B615+861=1476", "BBBBBBBB=_____", "B615+861=1476E6", "E")
    asked = query(at="=", site="x0.pre")
    for rule in ("same", "any"):
        [found] = find([asked], [Fixed(rows(*(text[:14] for text in wrong)))], epsilon=10.0, position_rule=rule)
        malformed = [i for i, text in enumerate(found.inputs) if text != asked.input]
        assert len(malformed) >= 5
        assert not found.inside[malformed].any()
        assert not found.in_domain[malformed].any()
        near = found.distances[[text == "615+861=1477" for text in found.inputs]]
        assert near[0] == pytest.approx(0, abs=1e-6)


def test_positions_of_malformed_rows_are_between_begin_and_the_first_end():
    [found] = find([query()], [Fixed(rows("B61E5+861=1476"))], position_rule="any", epsilon=10.0)
    measured = ~np.isnan(found.token_distances[0])
    assert measured.nonzero()[0].tolist() == [1, 2]
    assert found.positions[0] in (1, 2)


def test_under_rule_same_an_input_that_lacks_the_role_is_not_in_the_domain():
    long, short = "B615+861=1476E", "B100+100=200E"
    asked = query(at="A4")
    [same] = find([asked], [Fixed(rows(long, short))], position_rule="same")
    [any_] = find([asked], [Fixed(rows(long, short))], position_rule="any")
    lacks = same.inputs.index("100+100=200")
    assert not same.in_domain[lacks]
    assert np.isnan(same.distances[lacks])
    assert not np.isnan(same.token_distances[lacks]).all()
    assert any_.in_domain.all()
    assert same.n_in_domain == 1


def test_rule_any_takes_the_lowest_of_equally_near_positions():
    # the embedding site: a digit's activation is the same wherever it stands
    asked = query("155+861=1016", at="F2", site="embed")
    [found] = find([asked], [Fixed(rows("B615+555=1170E"))], position_rule="any")
    assert found.positions[0] == 3
    assert np.isclose(found.token_distances[0], 0, atol=1e-6).nonzero()[0].tolist() == [3, 5, 6, 7]


def test_repeats_are_merged_and_every_source_is_counted():
    first = Fixed(rows("B615+861=1476E", "B615+861=1476E", "B100+100=200E"), "one", log_prob=-3.0)
    second = Fixed(rows("B615+861=1476E", "B300+300=600E"), "two")
    [found] = find([query()], [first, second])
    by_input = dict(zip(found.inputs, zip(found.sources, found.counts, found.log_prob, strict=True), strict=True))
    assert by_input["615+861=1476"] == ({"one": 2, "two": 1}, 3, -3.0)
    assert by_input["100+100=200"][0] == {"one": 1}
    assert by_input["300+300=600"][0] == {"two": 1}
    assert np.isnan(by_input["300+300=600"][2])
    assert (found.n_drawn, found.n_distinct, found.n_in_domain) == (5, 3, 3)


def test_many_queries_give_what_each_gives_alone():
    queries = [
        query(),
        query(site="x1.post"),
        query("100+100=200", at="A1", site="a0.1"),
        query("999+999=1998", at="A4"),
        query(at="+"),
    ]
    sources = ladder(decoder(), 60, temperatures=(0.5, 2.0), noise=(0.0, 0.1))
    together = find(queries, sources)
    for asked, found in zip(queries, together, strict=True):
        [alone] = find([asked], sources)
        assert found.query == asked
        assert alone.inputs == found.inputs
        assert alone.sources == found.sources
        for name in ("positions", "distances", "log_prob", "token_distances"):
            np.testing.assert_allclose(getattr(alone, name), getattr(found, name), atol=2e-5, err_msg=name)


def test_small_blocks_change_nothing(monkeypatch):
    sources = [DecoderSource(decoder(), 50)]
    [whole] = find([query()], sources)
    monkeypatch.setattr("inversionview.preimage.verification._BLOCK_INPUTS", 7)
    [cut] = find([query()], sources)
    assert cut.inputs == whole.inputs
    np.testing.assert_allclose(cut.token_distances, whole.token_distances, atol=2e-6)


def test_many_draws_of_one_query_are_generated_in_blocks_that_do_not_depend_on_other_queries(monkeypatch):
    monkeypatch.setattr("inversionview.preimage.sources.proposals._BLOCK", 16)
    sources = [DecoderSource(decoder(), 50)]
    [alone] = find([query()], sources)
    _, found = find([query(site="x0.pre"), query()], sources)
    assert alone.n_drawn == found.n_drawn == 50
    assert alone.inputs == found.inputs


def test_the_seed_decides():
    sources = [DecoderSource(decoder(), 40)]
    [one], [again], [other] = (find([query()], sources, seed=seed) for seed in (0, 0, 1))
    assert one.to_dict() == again.to_dict()
    assert one.inputs != other.inputs


def test_streams_differ_between_seeds_sources_and_queries():
    def first(*identity):
        return torch.rand(4, generator=query_generator(*identity)).tolist()

    seen = [
        first(0, "a", query()),
        first(1, "a", query()),
        first(0, "b", query()),
        first(0, "a", query(at="+")),
        first(0, "a", query(site="a0.1")),
        first(0, "a", query("100+100=200")),
    ]
    assert len({tuple(values) for values in seen}) == len(seen)
    assert first(0, "a", query()) == seen[0]


def test_log_probabilities_are_the_decoders_at_temperature_1_whatever_the_ladder():
    asked = query()
    [found] = find([asked], ladder(decoder(), 40, temperatures=(0.5, 1.0, 2.0), noise=(0.0, 0.2)))
    z_q = query_activations(probed(), task(), [asked])
    with torch.no_grad():
        index = torch.full((len(found),), decoder().config.sites.index("a0.0"))
        expected = decoder().log_prob(torch.from_numpy(found.tokens), z_q.expand(len(found), -1), index)
    np.testing.assert_allclose(found.log_prob, expected.numpy(), atol=1e-4)


def test_a_ladder_shares_the_draws_and_names_its_rungs():
    sources = ladder(decoder(), 10, temperatures=(0.5, 1.0, 2.0), noise=(0.0, 0.1))
    assert [(s.name, s.n) for s in sources] == [
        ("decoder t=0.5", 2),
        ("decoder t=0.5, noise 0.1", 2),
        ("decoder t=1", 2),
        ("decoder t=1, noise 0.1", 2),
        ("decoder t=2", 1),
        ("decoder t=2, noise 0.1", 1),
    ]
    [found] = find([query()], sources)
    assert found.n_drawn == 10
    assert {name for times in found.sources for name in times} == {s.name for s in sources}


@pytest.mark.parametrize(
    ("n", "temperatures", "noise", "words"),
    [
        (10, (0.0,), (0.0,), "temperature must be above 0, not 0"),
        (10, (float("nan"),), (0.0,), "temperature must be above 0, not nan"),
        (10, (1.0,), (-0.1,), "noise must be 0 or more, not -0.1"),
        (10, (), (0.0,), "at least one temperature"),
        (0, (1.0,), (0.0,), "n must be at least 1"),
        (3, (1.0, 2.0), (0.0, 0.1), "n must be at least 4, one draw for each setting"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused(n, temperatures, noise, words):
    with pytest.raises(UserError, match=words):
        ladder(decoder(), n, temperatures, noise)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epsilon": 0.0}, "epsilon must be a number above 0, such as 0.1, not 0"),
        ({"epsilon": float("nan")}, "epsilon must be a number above 0"),
        ({"epsilon": float("inf")}, "epsilon must be a number above 0"),
        ({"metric": "angle"}, "unknown metric 'angle': use euclidean or cosine"),
        ({"position_rule": "some"}, "unknown position rule 'some': use same or any"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        find([query()], [Fixed(rows("B615+861=1476E"))], **changes)


def test_a_query_activation_of_norm_0_is_refused_before_anything_is_drawn():
    from inversionview.probed.model import ProbedModel
    from tests.preimage.tiny import gpt2

    model = gpt2(seed=3)
    with torch.no_grad():
        model.transformer.wte.weight[12] = 0
    never = Fixed(rows("B615+861=1476E"))
    never.propose = lambda *_: pytest.fail("drew for a query that cannot be read")
    with pytest.raises(UserError, match="norm 0"):
        sampled_preimages(
            ProbedModel(model), task(), [query(at="=", site="embed")], [never], criterion=Criterion.parse(0.1)
        )


def test_no_queries_give_no_preimages():
    assert find([], [Fixed(rows("B615+861=1476E"))]) == []


def test_each_query_may_have_its_own_epsilon():
    queries = [query(), query("100+100=200", at="A1", site="x0.post")]
    sources = [Fixed(random_sums(200))]
    apart = find(queries, sources, epsilon=[0.2, 0.9])
    for found, asked, epsilon in zip(apart, queries, (0.2, 0.9), strict=True):
        assert found.epsilon == epsilon
        [alone] = find([asked], sources, epsilon=epsilon)
        assert (alone.epsilon, alone.members) == (epsilon, found.members)
        assert found.n_inside > 0
    with pytest.raises(UserError, match="one epsilon, or one for each of the 2 queries, not 3"):
        find(queries, sources, epsilon=[0.1, 0.2, 0.3])
    with pytest.raises(UserError, match=r"above 0, such as 0\.1, not -1"):
        find(queries, sources, epsilon=[0.1, -1.0])


def test_activations_stand_in_for_the_queries_own_in_proposing_and_in_verifying():
    asked, other = query("100+100=200", at="=", site="a0.1"), query("999+888=1887", at="=", site="a0.1")
    instead = query_activations(probed(), task(), [other])
    fixed = Fixed(random_sums(300))
    [swapped] = find([asked], [fixed, DecoderSource(decoder(), 40)], activations=instead)
    [own] = find([asked], [fixed, DecoderSource(decoder(), 40)])
    [as_other] = find([other], [fixed])
    assert swapped.query == asked

    def distances(preimage):
        return {
            t: d
            for t, d, of in zip(preimage.inputs, preimage.distances, preimage.sources, strict=True)
            if "fixed" in of
        }

    assert distances(swapped) == pytest.approx(distances(as_other), abs=1e-5)
    assert distances(swapped) != pytest.approx(distances(own), abs=1e-2)
    index = torch.full((len(swapped),), decoder().config.sites.index("a0.1"))
    with torch.no_grad():
        expected = decoder().log_prob(torch.from_numpy(swapped.tokens), instead.expand(len(swapped), -1), index)
    np.testing.assert_allclose(swapped.log_prob[swapped.in_domain], expected.numpy()[swapped.in_domain], atol=1e-4)


def plain_log_prob(tokens: np.ndarray, z_q: torch.Tensor, site: str, temperature: float) -> np.ndarray:
    """By teacher forcing and a softmax written out."""
    rows = torch.from_numpy(tokens)
    index = torch.full((len(rows),), decoder().config.sites.index(site))
    with torch.no_grad():
        read = decoder().coordinates(z_q.expand(len(rows), -1), index)
        logits = decoder()(rows, read, index).view(*rows.shape, -1).double() / temperature
    steps = (logits - logits.logsumexp(dim=-1, keepdim=True))[:, :-1].gather(2, rows[:, 1:, None])[:, :, 0]
    upto = (rows == 13).int().argmax(dim=1)
    return np.array([row[:end].sum().item() for row, end in zip(steps, upto.tolist(), strict=True)])


def test_every_candidate_has_the_density_of_every_component_whoever_drew_it():
    asked, few = query("505+495=1000", site="a0.1"), few_sums(tilt=0.5)
    sources = [
        *mixture(decoder(), few, 100, (0.5, 2.0), noise=(0.0, 0.2), prior_share=0.4),
        Fixed(rows("B995+984=1979E", "B995+984=1978E", "B615+861=1476E"), "given"),
    ]
    [found] = sampled_preimages(probed(), few, [asked], sources, criterion=Criterion.parse(0.5))
    components = [dataclasses.astuple(component) for component in found.components]
    assert components == [("decoder t=0.5", 15), ("decoder t=2", 15), ("prior", 40)]
    assert found.log_densities.shape == (3, len(found))
    inside = found.in_domain
    assert set(np.array(found.inputs)[inside]) > {"995+984=1979"}
    assert {"995+984=1978", "615+861=1476"} <= set(np.array(found.inputs)[~inside])
    z_q = query_activations(probed(), few, [asked])
    for component, temperature in enumerate((0.5, 2.0)):
        expected = plain_log_prob(found.tokens[inside], z_q, "a0.1", temperature)
        np.testing.assert_allclose(found.log_densities[component, inside], expected, atol=1e-3)
    np.testing.assert_allclose(
        found.log_prob[inside], plain_log_prob(found.tokens[inside], z_q, "a0.1", 1.0), atol=1e-3
    )
    prior = few.log_prior(torch.from_numpy(found.tokens)).double().numpy()
    np.testing.assert_array_equal(found.log_densities[2, inside], prior[inside])
    assert np.isnan(found.log_densities[:, ~inside]).all()
    np.testing.assert_array_equal(found.log_prior, prior)
    assert np.isinf(found.log_prior[~inside]).all()
    assert len(set(found.log_prior[inside])) > 10


def test_the_weights_of_a_sample_estimate_the_preimage_that_was_not_wholly_seen():
    """The share of the prior that is inside, by Horvitz and Thompson, over 20 seeds: unbiased, and as wide as said."""
    few, asked = few_sums(tilt=0.5), query("505+495=1000", at="=", site="a0.1")
    [truth] = exact_preimages(probed(), few, [asked], criterion=Criterion.parse(0.5))
    mass = np.exp(truth.log_prior).sum()
    estimates, spreads = [], []
    for seed in range(20):
        sources = mixture(decoder(), few, 200, (1.0,), prior_share=0.8)
        [found] = sampled_preimages(probed(), few, [asked], sources, criterion=Criterion.parse(0.5), seed=seed)
        assert set(found.members) <= set(truth.inputs)
        used = found.weights > 0
        chance = inclusion(found.log_densities[:, used], [component.n for component in found.components])
        estimates.append((np.exp(found.log_prior[used]) / chance).sum())
        spreads.append(estimates[-1] / found.effective_size**0.5)
    assert 0.05 < mass < 0.95
    error = (np.mean(estimates) - mass) / (np.std(estimates) / 20**0.5)
    assert abs(error) < 3.5
    assert np.mean(spreads) == pytest.approx(np.std(estimates), rel=0.5)


def test_a_sample_under_rule_same_says_what_it_is_a_part_of():
    [same] = find([query(at="A4")], [PriorSource(task(), 20)])
    [any_] = find([query(at="A4")], [PriorSource(task(), 20)], position_rule="any")
    four = sum(max(0, min(900, 1000 - (1000 - a))) for a in range(100, 1000))
    assert same.domain_size == four
    assert same.domain_mass == pytest.approx(four / 810_000)
    assert (any_.domain_size, any_.domain_mass) == (810_000, 1.0)


def test_what_was_scored_while_drawn_is_not_scored_again(monkeypatch):
    scored = []

    def counted(decoder, tokens, *rest):
        scored.append(len(tokens))
        return score(decoder, tokens, *rest)

    monkeypatch.setattr("inversionview.preimage.sampled.score", counted)
    asked = query(site="a0.1")
    decoders, prior = ladder(decoder(), 60, temperatures=(1.0, 2.0)), PriorSource(task(), 20)
    [found] = find([asked], [*decoders, prior])
    by_prior_alone = [set(times) == {"prior"} for times in found.sources]
    assert scored == [sum(by_prior_alone)]
    z_q = query_activations(probed(), task(), [asked])[0]
    expected = score(decoder(), torch.from_numpy(found.tokens), z_q, decoder().config.sites.index("a0.1"))[0]
    known = ~np.isnan(found.token_log_prob[:, 0])
    assert known[found.in_domain].all()
    np.testing.assert_allclose(found.token_log_prob[known], expected.numpy()[known], atol=1e-4)
    np.testing.assert_allclose(found.token_log_prob[known].sum(axis=1), found.log_prob[known], atol=1e-4)
