import json

import pytest
import torch

from benchmarks import published
from benchmarks.common import transformer_lens
from benchmarks.plain_decoder import PlainDecoder, mean_loss
from benchmarks.published import Point, PublishedLoop, Setting, Sizes, captured, measure_theirs, rows
from inversionview.sites import Site
from tests.preimage import tiny

SITES = ["x0.pre", "a0.1", "x0.mid", "a1.0", "x1.post"]


@pytest.fixture(scope="module")
def lens():
    return transformer_lens(tiny.probed().model)


@pytest.fixture
def setting():
    return Setting(tiny.probed(), tiny.task(), [Site.parse(site) for site in SITES])


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return PlainDecoder(6, 2, 15, 14, begin=10, end=13, pad=14, width=16, heads=2)


def curve(*points):
    return [Point(seconds, seconds, 10 * seconds, rate, 0.01) for seconds, rate in points]


def test_activations_of_transformer_lens_are_ours(lens, setting):
    tokens, theirs, site_index = PublishedLoop(setting, lens).batch(3, 64)
    generator = published.seeded(0, 3)
    assert torch.equal(tokens, setting.task.sample(64, generator=generator, split="train"))
    positions = published.draw_positions(setting.task, tokens, generator)
    ours = setting.probed.capture(tokens, setting.sites, positions)
    expected = torch.stack([ours[setting.sites[i]][row] for row, i in enumerate(site_index.tolist())])
    torch.testing.assert_close(theirs, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(theirs, captured(lens, setting.sites, tokens, positions, site_index))
    assert set(site_index.tolist()) == set(range(len(SITES)))


def test_a_plain_decoder_sees_no_later_token(decoder):
    tokens = tiny.rows("B615+861=1476E")
    z, site = torch.randn(1, 6), torch.tensor([1])
    changed = tokens.clone()
    changed[0, 7:] = 3
    before, after = decoder(tokens, z, site), decoder(changed, z, site)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7], after[:, 7])
    assert not torch.allclose(before, decoder(tokens, z + 1, site))
    assert not torch.allclose(before, decoder(tokens, z, 1 - site))


def test_a_plain_decoder_has_the_papers_size():
    weights = sum(p.numel() for p in PlainDecoder(32, 13, 15, 14, begin=10, end=13, pad=14).layers.parameters())
    assert weights == pytest.approx(2 * 12 * 256**2, rel=0.05)


def test_the_loss_goes_up_to_the_end_of_each_input(decoder):
    tokens = tiny.rows("B100+100=200E", "B615+861=1476E")
    logits = decoder(tokens[:, :-1], torch.randn(2, 6), torch.tensor([0, 1]))
    log_probs = logits.log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0]
    expected = -(log_probs[0, :12].sum() + log_probs[1, :13].sum()) / 25
    torch.testing.assert_close(mean_loss(logits, tokens, 13), expected)


def test_samples_end_in_padding(decoder):
    drawn = decoder.draw(torch.randn(50, 6), torch.zeros(50, dtype=torch.long), published.seeded(0))
    for row in drawn.tolist():
        assert row[0] == 10
        if 13 in row:
            assert set(row[row.index(13) + 1 :]) <= {14}


def test_the_plain_loop_learns(lens, setting):
    loop = PublishedLoop(setting, lens, size=32)
    losses = [loop.step() for _ in range(12)]
    assert losses[-1] < losses[0] - 0.2


def test_a_loop_that_was_stopped_goes_on_as_if_it_had_not_been(lens, setting, tmp_path):
    whole, first, second = (PublishedLoop(setting, lens, size=16) for _ in range(3))
    for _ in range(4):
        whole.step()
    for _ in range(2):
        first.step()
    points = curve((1, 0.1))
    first.save(tmp_path / "new", points)
    assert second.load(tmp_path / "new", points) == points
    for _ in range(2):
        second.step()
    assert whole.steps == second.steps == 4
    for name, value in whole.decoder.state_dict().items():
        assert torch.equal(value, second.decoder.state_dict()[name]), name


def test_the_published_way_goes_on_up_to_its_limit_and_not_further(monkeypatch, tmp_path, setting):
    monkeypatch.setattr(published, "make_setting", lambda: setting)
    monkeypatch.setattr(published, "BATCH", 16)
    sizes = Sizes(limit=1.0, every=1.0, queries=2)
    first = measure_theirs(tmp_path, sizes)
    assert measure_theirs(tmp_path, sizes) == first
    longer = measure_theirs(tmp_path, Sizes(limit=2.5, every=1.0, queries=2))
    assert longer[: len(first)] == first
    assert longer[-1].seconds >= 2.5
    assert longer[-1].steps > first[-1].steps
    assert longer[-1].cpu_seconds > 0
    kept = json.loads((tmp_path / "theirs.json").read_text())
    assert [point["steps"] for point in kept["points"]] == [point.steps for point in longer]
    other = Sizes(limit=1.0, every=0.5, queries=2)
    assert measure_theirs(tmp_path, other)[0].steps < longer[-1].steps  # measured in another way: begun again


def test_runs_of_ours_get_longer_until_one_is_good_enough_and_are_kept(monkeypatch, tmp_path):
    rates = {30.0: 0.1, 45.0: 0.2, 60.0: 0.5, 87.0: 0.9}
    made = []

    def one(out, seconds, sizes):
        made.append(seconds)
        return Point(seconds, seconds, 1, rates[seconds], 0.01)

    monkeypatch.setattr(published, "one_of_ours", one)
    sizes = Sizes(ours=tuple(rates))
    assert [point.seconds for point in published.measure_ours(tmp_path, sizes)] == [30, 45, 60]
    assert len(published.measure_ours(tmp_path, sizes)) == len(made) == 3
    monkeypatch.setattr(published, "commit", lambda: "another")
    published.measure_ours(tmp_path, sizes)
    assert len(made) == 6


def test_both_ways_are_compared_where_they_are_as_good():
    first, *curves = rows(curve((30, 0.3), (60, 0.5)), curve((300, 0.2), (600, 0.46), (900, 0.6)), 0.1)
    assert (first["value"], first["unit"], first["target"]) == (10, "times", 10)
    assert "ours 60 s, the published way 600 s; by CPU time 10" in first["detail"]
    assert "floor 0.100" in first["detail"]
    assert len(curves) == 2


def test_a_published_way_that_was_cut_gives_a_lower_bound():
    first, second, *others = rows(curve((30, 0.3), (60, 0.5)), curve((300, 0.05), (1200, 0.2)), 0.1)
    assert (first["value"], first["unit"]) == (20, "times, or more")
    assert "1,200 s (cut there, at 0.200)" in first["detail"]
    assert (second["value"], second["unit"], second["name"]) == (40, "times", "times to equal quality, in-ε 0.2")
    assert "0.050 at 300 s, 0.200 at 1,200 s" in others[1]["detail"]


def test_ours_that_is_not_good_enough_is_no_times():
    first, second, *_ = rows(curve((30, 0.3)), curve((300, 0.05), (1200, 0.2)), 0.1)
    assert first["value"] == 0
    assert "ours reached 0.300 in 30 s" in first["detail"]
    assert second["value"] == 40


def test_a_rate_that_random_inputs_have_is_not_compared():
    first, *curves = rows(curve((30, 0.3), (60, 0.5)), curve((300, 0.05), (1200, 0.2)), 0.2)
    assert first["value"] == 20
    assert [row["unit"] for row in curves] == ["of samples", "of samples"]


def test_the_floor_is_of_random_inputs(setting):
    same_everywhere = setting._replace(sites=[Site.parse("x0.pre")])
    assert 0 < published.floor_of(same_everywhere, 50) <= 1


def test_a_quick_run_measures_both(monkeypatch):
    monkeypatch.setattr(published, "in_one_thread", lambda module, *args: published.main(args))
    measured = published.run(quick=True)
    assert [row["unit"] for row in measured[-2:]] == ["of samples", "of samples"]
    assert all(0 <= row["value"] < 1 for row in measured[-2:])
