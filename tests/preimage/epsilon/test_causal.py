from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from inversionview.errors import UserError
from inversionview.preimage.epsilon import causal as module
from inversionview.preimage.epsilon.causal import causal_epsilon
from inversionview.tasks.outputs import predicting
from tests.preimage.tiny import probed, query, rows, task, with_criterion

QUERY = query(at="S2", site="x0.post")


def inputs(n: int = 120, seed: int = 0):
    return task().sample(n, generator=torch.Generator().manual_seed(seed))


def measure(tolerance: float, candidates=None, asked=QUERY, model=None, **changes):
    candidates = inputs() if candidates is None else candidates
    return causal_epsilon(model or probed(0, "raw"), task(), asked, tolerance, candidates, **with_criterion(changes))


def brute_force(asked, candidates, metric: str = "euclidean", rule: str = "same", predicting=None):
    """(distance, move) of every candidate, by plain Hugging Face and a hook of its own on the first block."""
    model = probed(0, "raw").model
    own = torch.tensor([asked.tokens])
    at, length = asked.position, asked.tokens.index(13)
    with torch.no_grad():
        z_q = model(own, output_hidden_states=True).hidden_states[1][0, at].double()
        clean = model(own).logits[0].double().log_softmax(dim=-1)
        hidden = model(candidates, output_hidden_states=True).hidden_states[1]
    distances, values = [], []
    for row, z in zip(candidates.tolist(), hidden, strict=True):
        if metric == "euclidean":
            d = (z.double() - z_q).norm(dim=-1) / z_q.norm()
        else:
            d = 1 - torch.nn.functional.cosine_similarity(z.double(), z_q[None], dim=-1)
        end = row.index(13)
        place = at if rule == "same" else 1 + int(d[1:end].argmin())
        if place < end and row[: length + 1] != list(asked.tokens):
            distances.append(float(d[place]))
            values.append(z[place])

    def write(module, args, output):
        new = (output[0] if isinstance(output, tuple) else output).clone()
        new[:, at] = torch.stack(values)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = model.transformer.h[0].register_forward_hook(write)
    try:
        with torch.no_grad():
            patched = model(own.expand(len(values), -1)).logits.double().log_softmax(dim=-1)
    finally:
        handle.remove()
    if predicting is None:  # `=` is at 8, so that 8 to the last digit predict the answer and the end
        predicting = range(max(8, at), length)
    moves = [max(float((clean[p].exp() * (clean[p] - row[p])).sum()) for p in predicting) for row in patched]
    return sorted(zip(distances, moves, strict=True))


def expected(found, tolerance: float):
    """ε and the distance of the first that is not within tolerance, or infinity."""
    inside = 0
    while inside < len(found) and found[inside][1] < tolerance:
        inside += 1
    outside = found[inside][0] if inside < len(found) else math.inf
    within = [d for d, _ in found[:inside] if d < outside - 1e-9]
    return within[-1], outside, len(within)


def middle(found, at: int) -> float:
    """A tolerance that the move at this place in the order of distance is the first to exceed, with room on both sides.

    So `found[at]` must be a record.
    """
    before = max(move for _, move in found[:at])
    assert found[at][1] > before * 1.01
    return (before + found[at][1]) / 2


def told(text: str, what: str) -> float:
    """The number that follows these words."""
    return float(text.partition(f"{what} ")[2].split()[0].rstrip(";,"))


def records(found) -> list[int]:
    return [i for i in range(12, len(found)) if found[i][1] > 1.01 * max(move for _, move in found[:i])]


@pytest.mark.parametrize(
    ("metric", "rule", "at"), [("euclidean", "same", "S2"), ("cosine", "same", "A2"), ("euclidean", "any", "+")]
)
def test_it_agrees_with_a_hook_on_the_hugging_face_model(monkeypatch, metric, rule, at):
    monkeypatch.setattr(module, "_BLOCK_INPUTS", 7)
    asked, candidates = query(at=at, site="x0.post"), inputs(80)
    found = brute_force(asked, candidates, metric, rule)
    cut = records(found)[0]
    tolerance = middle(found, cut)
    epsilon, outside, inside = expected(found, tolerance)
    got = measure(tolerance, candidates, asked, metric=metric, position_rule=rule)
    assert got.epsilon == pytest.approx(epsilon, abs=1e-6)
    assert got.interval == pytest.approx((epsilon, outside), abs=1e-6)
    assert got.interval[0] == got.epsilon < got.interval[1]
    assert got.n == len(found)
    assert f"{inside} of {len(found)} inputs tried" in got.detail
    assert told(got.detail, "moves it by") == pytest.approx(found[cut][1], rel=1e-3)


def test_no_member_within_epsilon_moves_the_output_so_far_and_the_next_does():
    candidates = inputs(80)
    found = brute_force(QUERY, candidates)
    tolerance = middle(found, records(found)[-1])
    got = measure(tolerance, candidates)
    assert all(move < tolerance for d, move in found if d <= got.epsilon + 1e-7)
    assert any(move >= tolerance for d, move in found if d <= got.interval[1] + 1e-7)


def test_where_none_moves_the_output_it_is_a_lower_bound():
    candidates = inputs(40)
    got = measure(1e6, candidates)
    furthest = max(d for d, _ in brute_force(QUERY, candidates))
    assert got.epsilon == pytest.approx(furthest, abs=1e-6)
    assert got.interval == (got.epsilon, math.inf)
    assert "lower bound" in got.detail


def test_epsilon_grows_with_the_tolerance():
    found = brute_force(QUERY, inputs())
    tolerances = np.geomspace(middle(found, records(found)[0]), 10, 6)
    got = [measure(float(tolerance)) for tolerance in tolerances]
    assert all(a.epsilon <= b.epsilon and a.interval[1] <= b.interval[1] for a, b in pairwise(got))
    assert got[0].epsilon < got[-1].epsilon


def test_without_an_answer_ahead_the_last_position_before_the_end_counts(monkeypatch):
    monkeypatch.setattr(task(), "answer_mask", lambda tokens: torch.zeros_like(tokens, dtype=torch.bool), raising=False)
    candidates = inputs(60)
    found = brute_force(QUERY, candidates, predicting=[12])
    tolerance = middle(found, records(found)[0])
    assert measure(tolerance, candidates).epsilon == pytest.approx(expected(found, tolerance)[0], abs=1e-6)
    assert found != brute_force(QUERY, candidates)


def test_positions_before_the_querys_own_do_not_count():
    asked = query(at="A3", site="x0.post")
    tokens = torch.tensor([asked.tokens])
    assert predicting(task(), tokens, asked.position).tolist() == [11, 12]
    assert predicting(task(), tokens, 1).tolist() == [8, 9, 10, 11, 12]


def test_only_other_inputs_of_the_domain_that_have_the_role_are_tried():
    own, wrong, short = rows("B615+861=1476E", "B615+862=1476E", "B100+100=200E")
    more = inputs(30)
    plain = measure(1e6, more)
    assert measure(1e6, torch.cat([own[None], wrong[None], more, more])) == plain
    assert plain.n == len(torch.unique(more, dim=0))
    at_a4 = query(at="A4", site="x0.post")
    assert measure(1e6, torch.stack([own, short, rows("B615+862=1477E")[0]]), at_a4).n == 1
    assert measure(1e6, torch.stack([short, rows("B615+862=1477E")[0]]), at_a4, position_rule="any").n == 2


def test_padding_and_order_of_the_candidates_do_not_matter():
    candidates = inputs(40)
    wide = torch.cat([candidates, torch.full((40, 1), 14)], dim=1)
    assert not module._are(wide, QUERY.tokens, 14).any()
    for own in (QUERY.tokens, (*QUERY.tokens, 14)):
        assert module._are(torch.cat([rows("B615+861=1476E"), candidates]), own, 14).tolist() == [True] + 40 * [False]
    assert measure(1e6, candidates.flip(0)) == measure(1e6, candidates)


def test_the_moves_of_a_head_in_the_folded_convention_are_its_own():
    """Patching a site with the query's own activation moves nothing, whatever the convention."""
    asked = query(at="=", site="a1.0")
    twin = rows("B615+861=1476E")
    ranked = module._Ranked(twin, torch.tensor([8]), torch.zeros(1, dtype=torch.float64))
    assert abs(float(module._moves(probed(), task(), asked, ranked, 1.0)[0])) < 1e-9
    other = module._Ranked(rows("B199+777=976E"), torch.tensor([8]), torch.zeros(1, dtype=torch.float64))
    assert float(module._moves(probed(), task(), asked, other, 1.0)[0]) > 1e-6


def test_a_tolerance_below_every_move_is_refused_and_the_smallest_move_told():
    candidates = inputs(40)
    found = brute_force(QUERY, candidates)
    least = min(move for _, move in found)
    with pytest.raises(UserError, match=r"causal:1e-06 leaves no epsilon: an input [\d.]+ away") as caught:
        measure(1e-6, candidates)
    assert told(str(caught.value), "smallest move found is") == pytest.approx(least, rel=1e-3)
    assert len(str(caught.value).splitlines()) == 1


def test_inputs_with_the_querys_own_activation_make_no_epsilon():
    asked = query(at="F3", site="x0.post")
    same = rows("B615+100=715E", "B615+861=1476E", "B615+999=1614E")
    with pytest.raises(UserError, match="all 2 inputs tried have the query's own activation"):
        measure(0.5, same, asked)
    with pytest.raises(UserError, match=r"leaves no epsilon: an input 0\.[1-9]"):
        measure(1e-6, torch.cat([same, inputs(30)]), asked)


@pytest.mark.parametrize("last", [1.0, math.nan])
def test_of_inputs_at_one_distance_none_is_inside_if_one_moves_the_output(last):
    ranked = module._Ranked(inputs(4), torch.zeros(4).long(), torch.tensor([0.1, 0.2, 0.2, 0.3]).double())
    got = module._calibrated(ranked, torch.tensor([0.0, 0.0, last]).double(), 0.5, 1e-5)
    assert got.interval == pytest.approx((0.1, 0.2))
    assert "1 of 4 inputs" in got.detail


@pytest.mark.parametrize("tolerance", [0.0, -1.0, math.inf, math.nan])
def test_a_tolerance_that_cannot_be_is_refused(tolerance):
    with pytest.raises(UserError, match="tolerance must be a number of nats above 0"):
        measure(tolerance)


@pytest.mark.parametrize("candidates", [inputs(0), rows("B615+861=1476E"), rows("B615+861=1475E")])
def test_nothing_to_try_is_refused(candidates):
    with pytest.raises(UserError, match=rf"none of the {len(candidates)} given is another input of addition"):
        measure(0.1, candidates)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="unknown metric"):
        measure(0.1, metric="manhattan")
    with pytest.raises(UserError, match="unknown position rule"):
        measure(0.1, position_rule="both")
