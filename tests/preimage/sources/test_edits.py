from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from inversionview.decoder.loss import Head
from inversionview.decoder.model import Decoder, DecoderConfig, Trunk
from inversionview.errors import UserError
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.preimage.sources.edits import EditSource
from inversionview.preimage.sources.proposals import Source, query_generator
from inversionview.results.preimage import Query
from inversionview.tasks.addition.task import AdditionTask
from tests.preimage.tiny import decoder, probed, query, rows, task, with_criterion

SITE = "x0.post"
WIDE = ("S2", 0.4)
"""105 of the 324 sums of the small domain under rule `same`, all connected by edits; 150 under `any`."""
APART = ("S3", 0.5)
"""99 sums, in two parts that edits do not connect."""


class SmallAddition(AdditionTask):
    """The 324 sums whose operands have the digits 0 to 2 only; the larger the first number's last, the likelier."""

    def contains(self, tokens):
        return super().contains(tokens) & (tokens[:, [1, 2, 3, 5, 6, 7]] <= 2).all(dim=1)

    def log_prior(self, tokens):
        return torch.where(self.contains(tokens), (tokens[:, 3] + 1).log() - math.log(6 * 108), -torch.inf)

    def edit(self, tokens, generator):
        digits = tokens[:, [1, 2, 3, 5, 6, 7]]
        place = torch.randint(6, (len(digits), 1), generator=generator)
        edited = digits.scatter(1, place, torch.randint(3, (len(digits), 1), generator=generator))
        edited = torch.where((edited[:, [0, 3]] == 0).any(dim=1)[:, None], digits, edited)
        a, b = (edited.view(-1, 2, 3) * torch.tensor([100, 10, 1])).sum(dim=2).unbind(1)
        return self._from_numbers(a, b)


class WithoutEdits(SmallAddition):
    edit = None


class Guess(nn.Module):
    """Writes sums of digits 0 to 2, some far more often than others, and one answer digit in twenty wrong."""

    def hidden(self, parts, condition):
        return torch.cat(
            [torch.stack([self.after(part, t) for t in range(part.shape[1])], dim=1).flatten(0, 1) for part in parts]
        )

    def start_cache(self, condition):
        return torch.full((len(condition), 14), -1)  # what is written, so that it follows where draws part

    def step(self, tokens, cache, dtype):
        position = tokens.shape[1] - 1
        cache[:, position] = tokens[:, -1]
        return self.after(cache, position)

    def select(self, cache, rows):
        return cache[rows]

    def unembedding(self):
        return Head(torch.eye(15))

    def cached_numbers(self):
        return 1

    def after(self, tokens, position):
        share = torch.zeros(len(tokens), 15)
        if position in (0, 1, 2, 4, 5, 6):
            share[:, :3] = torch.tensor([0.2, 0.7, 0.1]) if position % 2 else torch.tensor([0.1, 0.3, 0.6])
        elif position in (3, 7):
            share[:, 11 if position == 3 else 12] = 1
        else:
            share += 0.05 / 15
            weights = torch.tensor([100, 10, 1])
            total = (tokens[:, 1:4] * weights).sum(1) + (tokens[:, 5:8] * weights).sum(1)
            right = total // 10 ** (10 - position) % 10 if position < 11 else torch.full_like(total, 13)
            share[torch.arange(len(tokens)), right] += 0.95
        return share.log().clamp_min(-60)


def guesser():
    small = {"n_layers": 1, "n_heads": 1, "d_model": 4, "trunk_blocks": 1, "trunk_width": 4}
    config = DecoderConfig(("x0.pre", SITE), 16, 15, 14, 10, 13, 14, **small)
    return Decoder(Trunk(config), Guess(), config)


def draw(source, queries, seed=0) -> torch.Tensor:
    generators = [query_generator(seed, source.name, asked) for asked in queries]
    drawn = source.propose(query_activations(probed(0, "raw"), task(), queries), queries, generators)
    assert drawn.log_prob.isnan().all()
    assert drawn.log_prob.shape == drawn.tokens.shape[:2] == (len(queries), source.n)
    return drawn.tokens


def edits(n, small=None, **options) -> EditSource:
    return EditSource(
        probed=probed(0, "raw"),
        task=small or SmallAddition(),
        n=n,
        **with_criterion({"epsilon": WIDE[1], "chains": 20} | options),
    )


def asked(text: str = "212+121=333", at: str = "S2", site: str = SITE) -> Query:
    return query(text, at, site)


@functools.cache
def small_domain() -> torch.Tensor:
    numbers = [100 * i + 10 * j + k for i in (1, 2) for j in (0, 1, 2) for k in (0, 1, 2)]
    return rows(*(f"B{a}+{b}={a + b}E" for a in numbers for b in numbers))


@functools.cache
def exact(at: str, epsilon: float, rule: str = "same") -> dict[tuple[int, ...], float]:
    """Each member of the query's preimage in the small domain with its share of the prior, by plain Hugging Face."""
    of, every = asked(at=at), small_domain()
    with torch.no_grad():
        z = probed(0, "raw").model(every, output_hidden_states=True).hidden_states[1].double()
    z_q = z[(every == torch.tensor([*of.tokens, 14])).all(dim=1), of.position][0]
    distance = (z - z_q).norm(dim=2) / z_q.norm()
    nearest = distance[:, of.position] if rule == "same" else distance[:, 1:12].min(dim=1).values
    assert (nearest - epsilon).abs().min() > 1e-3
    weights = {tuple(row.tolist()): 1.0 + int(row[3]) for row in every[nearest <= epsilon]}
    return {row: weight / sum(weights.values()) for row, weight in weights.items()}


def part_of(start: tuple[int, ...], members: set[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """The members that edits of one operand digit at a time reach from one of them."""
    reached, waiting = {start}, [start]
    while waiting:
        row = waiting.pop()
        for other in members - reached:
            if sum(row[i] != other[i] for i in (1, 2, 3, 5, 6, 7)) == 1:
                reached.add(other)
                waiting.append(other)
    return reached


def counted(drawn: torch.Tensor) -> dict[tuple[int, ...], int]:
    distinct, counts = np.unique(drawn.numpy(), axis=0, return_counts=True)
    return dict(zip(map(tuple, distinct.tolist()), counts.tolist(), strict=True))


def pvalue(drawn: torch.Tensor, expected: dict[tuple[int, ...], float]) -> float:
    found = counted(drawn)
    assert set(found) <= set(expected)
    return chisquare(
        [found.get(row, 0) for row in expected], [len(drawn) * share for share in expected.values()]
    ).pvalue


@pytest.mark.parametrize("rule", ["same", "any"])
def test_the_chains_come_to_visit_members_in_proportion_to_their_prior(rule):
    at, epsilon = WIDE
    # By the exact transition matrix, 80 steps from the query leave less than 0.01 total variation.
    source = edits(80 * 600, epsilon=epsilon, position_rule=rule, chains=600)
    last = draw(source, [asked(at=at)])[0, -600:]  # one state a chain: independent of each other
    assert pvalue(last, exact(at, epsilon, rule)) > 1e-3


@pytest.mark.parametrize(("small", "share"), [(SmallAddition(), 0.5), (WithoutEdits(), 0.25)])
def test_chains_that_start_in_proportion_to_the_prior_stay_so_with_a_decoder_that_is_far_from_it(small, share):
    at, epsilon = WIDE
    expected = exact(at, epsilon)
    starts = torch.tensor([row for row in expected for _ in range(1 + row[3])])
    chains = 6 * len(starts)
    options = {"decoder": guesser(), "decoder_share": share, "starts": {asked(at=at): starts}}
    drawn = draw(edits(10 * chains, small, epsilon=epsilon, chains=chains, **options), [asked(at=at)])[0]
    assert pvalue(drawn[-chains:], expected) > 1e-3
    moved = (drawn[-chains:] != drawn[:chains]).any(dim=1)
    assert moved.float().mean() > 0.3


def test_without_a_decoder_a_chain_stays_in_its_part_of_the_preimage_and_with_one_it_does_not():
    members, of = set(exact(*APART)), asked(at=APART[0])
    own = part_of((*of.tokens, 14), members)
    other = torch.tensor([min(members - own)])

    def found(**options) -> set[tuple[int, ...]]:
        return set(counted(draw(edits(1500, epsilon=APART[1], chains=100, **options), [of])[0]))

    alone, elsewhere, jumping = found(), found(starts={of: other}), found(decoder=guesser())
    assert alone < own
    assert len(alone) > len(own) / 2
    assert elsewhere <= members - own
    assert jumping < members
    assert jumping - own
    both = found(starts={of: torch.cat([other, torch.tensor([[*of.tokens, 14]])])})
    assert both & own
    assert both - own


@pytest.mark.parametrize("rule", ["same", "any"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_every_draw_is_a_member_of_the_sampled_preimage(metric, rule):
    of = [query(at="="), query("100+100=200", at="A3", site="a0.1"), query(at="A4", site="x1.post")]
    options = {"epsilon": 0.5 if metric == "euclidean" else 0.2, "metric": metric, "position_rule": rule}
    source = EditSource(probed=probed(), task=task(), n=120, decoder=decoder(), chains=16, **with_criterion(options))
    for found in sampled_preimages(probed(), task(), of, [source], **with_criterion(options)):
        assert found.n_drawn == 120
        assert found.inside.all()
        assert found.n_distinct > 10


def test_what_a_query_draws_depends_on_the_seed_and_not_on_the_queries_beside_it():
    of = [asked(), asked(at="S3"), asked("121+212=333", site="x0.pre"), asked(at="A1")]
    source = edits(90, decoder=guesser(), chains=16)
    together = draw(source, of)
    for i, one in enumerate(of):
        assert torch.equal(draw(source, [one])[0], together[i])
    assert torch.equal(draw(source, of), together)
    other = draw(source, of, seed=1)
    assert all(not torch.equal(other[i], together[i]) for i in range(len(of)))


def test_a_move_costs_one_forward_at_most_and_a_draw_is_one_move_from_the_last():
    of = asked()
    source = edits(50, chains=20)
    drawn = draw(source, [of])[0]
    assert 25 < source.forwards <= 51
    chains = [drawn[i::20] for i in range(20)]
    assert [len(chain) for chain in chains] == [3] * 10 + [2] * 10
    for chain in chains:
        path = torch.cat([torch.tensor([[*of.tokens, 14]]), chain])[:, [1, 2, 3, 5, 6, 7]]
        assert ((path[1:] != path[:-1]).sum(dim=1) <= 1).all()
    before = source.forwards
    draw(source, [of])
    assert source.forwards == 2 * before


@pytest.mark.parametrize("chains", [1, 3, 7, 64])
def test_the_share_of_the_decoder_is_kept_whatever_the_number_of_chains(monkeypatch, chains):
    jumps = []
    real = EditSource._proposals

    def spy(*args):
        made = real(*args)
        jumps.append(made.by_decoder.sum(dim=1).tolist())
        return made

    monkeypatch.setattr(EditSource, "_proposals", spy)
    draw(edits(80, decoder=guesser(), chains=chains), [asked(), asked(at="=")])
    assert len(jumps) == math.ceil(80 / chains)
    assert [sum(of) for of in zip(*jumps, strict=True)] == [20, 20]


def test_it_is_a_source_without_a_density():
    assert isinstance(edits(1), Source)
    assert edits(1).density is None
    for one in (edits(1), edits(1, decoder=guesser())):
        assert draw(one, [asked()]).shape == (1, 1, 14)
    assert edits(3).propose(torch.empty(0, 16), [], []).tokens.shape == (0, 3, 14)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "n must be at least 1, not 0"),
        ({"chains": 0}, "chains must be at least 1, not 0"),
        ({"epsilon": -1.0}, "epsilon must be a number above 0"),
        ({"metric": "angle"}, "unknown metric 'angle'"),
        ({"position_rule": "some"}, "unknown position rule 'some'"),
        ({"decoder_share": 1.0}, "the decoder's share must be between 0 and 1, such as 0.25, not 1"),
        ({"small": WithoutEdits()}, "task addition has no edits: give a decoder"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        edits(**{"n": 10} | options)


def test_a_start_that_is_no_member_is_refused():
    far = rows("B100+202=302E", "B212+121=334E")
    with pytest.raises(UserError, match=r"no chain can start for 212\+121=333 at S3, x0.post: none of the 2 inputs"):
        draw(edits(10, epsilon=APART[1], starts={asked(at=APART[0]): far}), [asked(at=APART[0])])
    outside = query("615+861=1476", at="S2", site=SITE)  # digits that the small domain does not have
    with pytest.raises(UserError, match=r"none of the 1 inputs to start from is within ε = 0\.4; give members"):
        draw(edits(10), [outside])
