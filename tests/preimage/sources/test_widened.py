"""Sources that look beside the activation are asked for by name, and enter no estimate."""

from __future__ import annotations

import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.decoder.sampling import common_tokens
from inversionview.errors import UserError
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import DecoderSource, Source, mixture
from inversionview.preimage.sources.widened import Frequencies, widened_sources
from inversionview.results.estimators import size
from tests.preimage.tiny import decoder, probed, query, task, with_criterion


def named(name, n=100):
    return widened_sources(name, decoder(), task(), n)


def test_the_names_and_what_they_draw():
    assert [(s.cosine, s.n) for s in named("cosine", 10)] == [(0.9, 3), (0.85, 3), (0.8, 2), (0.75, 2)]
    assert [(s.cosine, s.n) for s in named("cosine:0.95")] == [(0.95, 100)]
    assert [s.cosines for name in ("varied", "varied:0.9", "varied:cosine") for s in named(name)] == [
        (), (0.9,), (0.9, 0.85, 0.8, 0.75),
    ]  # fmt: skip
    names = [s.name for s in (*named("cosine:0.95"), *named("varied"), *named("varied:cosine"))]
    assert names == ["decoder t=1, cosine 0.95", "decoder varied", "decoder varied, cosine 0.9/0.85/0.8/0.75"]
    assert all(isinstance(source, Source) for source in (*named("cosine"), *named("varied")))


def test_unrepeated_is_the_papers_and_says_whose_frequencies_it_goes_by(tmp_path, caplog):
    (tmp_path / "counts.json").write_text("[50000, 1, 50000]")
    for name, cosines in (
        ("unrepeated", ()),
        ("unrepeated:cosine", (0.75, 0.8, 0.85, 0.9)),
        ("unrepeated:0.9", (0.9,)),
    ):
        [source] = widened_sources(name, decoder(), task(), 40, Frequencies(tmp_path / "counts.json"))
        assert source.cosines == cosines
        assert source.spared[:3].tolist() == [True, False, True]
        assert isinstance(source, Source)
        assert source.density is None
    assert source.name == "decoder unrepeated, cosine 0.9"
    assert not caplog.records
    [source] = widened_sources("unrepeated", decoder(), task(), 40)
    assert "no frequencies of tokens are given" in caplog.text
    assert torch.equal(source.spared, common_tokens(decoder(), task()))


@pytest.mark.parametrize("name", ["cosine:1", "cosine:0", "varied:-0.5", "cosine:near", "varied:nan"])
def test_what_is_no_cosine_is_refused(name):
    with pytest.raises(UserError, match=r"must be above 0 and below 1, such as .*:0.9, not"):
        named(name)


def test_they_have_no_density_and_so_no_part_in_an_estimate():
    """Members that only they found are kept, and the size is the one without them."""
    sources = mixture(decoder(), task(), 400, prior_share=0.5)
    more = [*named("cosine:0.5", 200), *named("varied:0.5", 200)]
    assert all(source.density is None for source in more)
    options = {"epsilon": 0.6, "metric": "euclidean"}
    [plain] = sampled_preimages(probed(), task(), [query()], sources, **with_criterion(options))
    [wide] = sampled_preimages(probed(), task(), [query()], [*sources, *more], **with_criterion(options))
    assert [c.source for c in wide.components] == [c.source for c in plain.components]
    assert size(wide).inputs == size(plain).inputs
    drawn = {name: sum(of.get(name, 0) for of in wide.sources) for name in (more[0].name, more[1].name)}
    assert set(drawn.values()) == {200}


def test_same_seed_same_draws_and_they_are_verified_like_any_other():
    sources = [DecoderSource(decoder(), 50), *named("varied:cosine", 80)]
    first, again, other = (
        sampled_preimages(probed(), task(), [query()], sources, criterion=Criterion.parse(0.5), seed=seed)[0]
        for seed in (1, 1, 2)
    )
    assert first.inputs == again.inputs
    assert first.inputs != other.inputs
    alone = sampled_preimages(
        probed(), task(), [query(), query(site="x0.pre")], sources, criterion=Criterion.parse(0.5), seed=1
    )[0]
    assert alone.inputs == first.inputs
    known = torch.from_numpy(first.tokens)
    assert first.in_domain.tolist() == task().contains(known).tolist()
