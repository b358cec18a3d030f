import json

import numpy as np
import pytest

from benchmarks import addition_decoder, long_training, real_decoder, text_decoder
from benchmarks.long_training import LongRun, Measured, is_trained, least_row, mean_row, pace, train, trained
from inversionview.cli.program import main
from inversionview.criterion import Criterion
from inversionview.preimage.estimates.rates import Hits
from inversionview.preimage.sampled import sampled_preimages
from inversionview.studies.description import TRAINING
from inversionview.studies.study import load_study
from tests.preimage import tiny

ordinary = long_training.in_a_process


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(long_training, "in_a_process", main)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Of a small model, kept in a folder of its own."""
    monkeypatch.setattr(long_training, "RUNS", tmp_path)
    return LongRun("kept", ["ioi-small", "--sites", "a0.0"], ["--steps", "4"])


def measured():
    any_ = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], dtype=bool)
    same = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], dtype=bool)
    samples, floor = Hits(any_, same, np.ones((2, 4), dtype=bool)), Hits(same, same & False, same)
    return Measured(("a0.0", "a1.0"), samples, floor, np.array([[1, 1, 2, 2], [1, 2, 2, 2]]))


def test_a_study_is_trained_once(run, capfd):
    with trained(run) as study:
        assert study.folder == run.folder
        assert study.sites == ("a0.0",)
        first = (study.folder / "study.json").read_bytes()
        came_to = pace(study)
    assert came_to.steps == 4
    assert came_to.activations == pytest.approx(4 * 256 / came_to.seconds)
    assert came_to.told().startswith("4 steps in ")
    assert "inversionview train ioi-small --sites a0.0" in capfd.readouterr().err
    with trained(run) as study:
        assert (study.folder / "study.json").read_bytes() == first
    assert capfd.readouterr().err == ""


def test_a_run_that_was_stopped_goes_on(run):
    train(run, run.folder)
    description = json.loads((run.folder / "study.json").read_text())
    (run.folder / "study.json").write_text(json.dumps({**description, "decoder": None}))  # as before the last write
    assert not is_trained(run.folder)
    assert run.command(run.folder) == ["train", "--resume", "--out", str(run.folder)]
    before = sorted(path.name for path in (run.folder / TRAINING).iterdir())
    train(run, run.folder)
    assert is_trained(run.folder)
    assert sorted(path.name for path in (run.folder / TRAINING).iterdir()) == before


def test_a_run_that_goes_wrong_is_an_error(run):
    with pytest.raises(RuntimeError, match="train ioi-small --sites b9"):
        train(LongRun("wrong", ["ioi-small", "--sites", "b9"], ["--steps", "1"]), run.folder)


def test_rates_are_told_by_site_and_by_position():
    rates = measured()
    assert rates.rates("any").tolist() == [0.75, 0.25]
    assert rates.said("same") == "a0.0 0.500 (0.000), a1.0 0.250 (0.000)"
    assert rates.by_position("same") == "1: 1.000 (0.000), 2: 0.000 (0.000)"
    assert rates.by_position("any") == "1: 1.000 (1.000), 2: 0.200 (0.000)"
    mean, least = mean_row("x", rates, "any", 0.6), least_row("x", rates, "same", 0.2)
    assert (mean["value"], mean["target"], mean["sense"]) == (0.5, 0.6, "at least")
    assert "floor 0.375; rule same 0.375 (floor 0.000)" in mean["detail"]
    assert least["value"] == 0.25
    assert "target" not in least_row("x", rates, "same", None)


def test_what_a_reading_gains_is_counted_without_the_bank_and_the_query():
    texts = ("B100+100=200E", "B100+101=201E", "B100+102=202E", "B100+103=203E")
    query = tiny.query("100+100=200", "F1", "x0.pre")
    sources = [
        tiny.Fixed(tiny.rows(*texts[:2]), name="bank"),
        tiny.Fixed(tiny.rows(*texts[:3], texts[2]), name="decoder"),
        tiny.Fixed(tiny.rows(*texts[3:], texts[1]), name="prior"),
    ]
    # The same everywhere: x0.pre at F1 is that of a digit.
    [preimage] = sampled_preimages(tiny.probed(), tiny.task(), [query], sources, criterion=Criterion.parse(0.1))
    assert real_decoder.gain(preimage, "bank", "decoder", "prior") == (1, 1, 1)


def test_gains_are_compared_with_as_many_draws_of_the_prior():
    gains = [real_decoder.Gain(40, 30, 1), real_decoder.Gain(20, 0, 1), real_decoder.Gain(0, 6, 0)]
    cells, more = real_decoder.gain_rows(gains, 150, 4000)
    assert cells["value"] == pytest.approx(2 / 3)
    assert "as many fresh inputs of the prior 0.67; more found by the decoder than by these in 0.67" in cells["detail"]
    assert more["value"] == 12
    assert "median 6, 0 to 30, 36 in all; the bank holds 20 a cell" in more["detail"]


def test_cells_are_at_end_of_the_heads_in_turn():
    queries = real_decoder.cells_of(load_study("ioi-small"), 5)
    sites = load_study("ioi-small").decoder.config.sites
    assert [query.site for query in queries] == list(sites[:5])
    assert {query.role for query in queries} == {"END"}
    assert len({query.input for query in queries}) == 5


def test_a_process_gives_its_exit_code():
    assert ordinary(["studies", "--no-such-option"]) == 2


@pytest.mark.parametrize("benchmark", [real_decoder, text_decoder, addition_decoder])
def test_a_quick_run_tells_all_that_a_long_one_does(benchmark):
    rows = benchmark.run(quick=True)
    assert any("target" in row for row in rows)
    assert all(np.isfinite(row["value"]) for row in rows)
    assert len({row["name"] for row in rows}) == len(rows)
