from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
import torch

from inversionview.tasks.addition.task import AdditionTask
from research import scatter
from tests.preimage import tiny


class FewSums(AdditionTask):
    """The first sums of the domain."""

    size = 300

    def enumerate(self, block=65536):
        yield from torch.split(next(super().enumerate(self.size)), min(block, 128))


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return rng.random(500).astype(np.float32).astype(float), rng.normal(-20, 5, 500)


def tiles(cell):
    return np.array([[int(count) for count in row.split()] for row in cell["counts"]])


def ranks(values):
    """Of distinct values."""
    return np.argsort(np.argsort(values))


def test_distances_and_probabilities_are_those_of_each_input_alone():
    query = tiny.query(at="S1", site="a0.1")
    distance, log_q = scatter.everywhere(tiny.probed(), FewSums(), tiny.decoder(), query)
    rows = next(AdditionTask().enumerate(300))
    z = next(iter(tiny.probed().capture(rows, ["a0.1"]).values()))[:, query.position].double()
    z_q = next(iter(tiny.probed().capture(torch.tensor([query.tokens]), ["a0.1"]).values()))[0, query.position].double()
    np.testing.assert_allclose(distance, (z - z_q).norm(dim=1) / z_q.norm(), rtol=1e-4, atol=1e-6)
    site = torch.full((300,), tiny.SITES.index("a0.1"))
    expected = tiny.decoder().log_prob(rows, z_q.float().expand(300, -1), site)
    np.testing.assert_allclose(log_q, expected.detach(), rtol=1e-4)


def test_every_input_is_in_one_tile(points):
    distance, log_q = points
    cell = scatter.histogram("a", distance, log_q)
    (near, far), (bottom, top) = cell["distance"], cell["log_q"]
    counts = tiles(cell)
    x = np.linspace(near, far, counts.shape[1] + 1)
    y = np.linspace(bottom, top, counts.shape[0] + 1)
    assert np.array_equal(counts, np.histogram2d(log_q, distance, bins=[y, x])[0])
    assert counts.sum() == 500
    assert cell["members"] == (distance <= 0.1).sum()


def test_members_are_left_of_epsilon_to_the_last_bit():
    below, above = 0.1, np.nextafter(0.1, 1)
    cell = scatter.histogram("a", np.array([below, above, above, 0.5]), np.array([-3.0, -4.0, -5.0, -9.0]))
    counts = tiles(cell)
    assert cell["members"] == counts[:, : scatter.PER_EPSILON].sum() == 1


def test_numbers_of_a_cell(points):
    distance, log_q = points
    cell = scatter.histogram("a", distance, log_q)
    inside = distance <= 0.1
    spread = np.corrcoef(ranks(-distance), ranks(log_q))[0, 1]
    assert cell["rank_correlation"] == pytest.approx(spread)
    assert cell["rank_correlation_members"] == pytest.approx(
        np.corrcoef(ranks(-distance[inside]), ranks(log_q[inside]))[0, 1]
    )
    assert cell["blind"] == np.mean([math.exp(q) < 1e-3 / inside.sum() for q in log_q[inside]])
    assert 0 < cell["blind"] < 1
    assert cell["q_members"] == pytest.approx(sum(math.exp(q) for q in log_q[inside]))
    assert cell["q_domain"] == pytest.approx(sum(math.exp(q) for q in log_q))
    assert "rank correlation" in scatter.line(cell)


def test_nearer_and_more_probable_agree_or_not():
    distance = np.linspace(0, 1, 50)
    assert scatter.histogram("a", distance, -distance)["rank_correlation"] == pytest.approx(1)
    assert scatter.histogram("a", distance, distance - 2)["rank_correlation"] == pytest.approx(-1)


def test_the_figure_covers_each_tile_with_the_color_of_its_count(points):
    cell = scatter.histogram("a < b", *points)
    figure = ET.fromstring(scatter.draw([cell, cell]))
    assert "a < b" in [element.text for element in figure.iter() if element.tag.endswith("text")]
    wide = (scatter.WIDTH - scatter.LEFT - scatter.RIGHT - scatter.GAP) / 2 / tiles(cell).shape[1]
    for letter, part in (("i", np.s_[:, : scatter.PER_EPSILON]), ("o", np.s_[:, scatter.PER_EPSILON :])):
        for k, low in enumerate(scatter.LEVELS):
            high = scatter.LEVELS[k + 1] if k + 1 < len(scatter.LEVELS) else math.inf
            tiles_of_it = ((tiles(cell)[part] >= low) & (tiles(cell)[part] < high)).sum()
            drawn = [e.get("d") for e in figure.iter() if e.tag.endswith("path") and e.get("class") == f"{letter}{k}"]
            width = sum(float(box.split("h")[1].split("v")[0]) for d in drawn for box in d.split("z") if box)
            assert width == pytest.approx(2 * tiles_of_it * wide, abs=0.1 * (1 + tiles_of_it))


@pytest.mark.parametrize(("low", "high"), [(0, 1.3), (-46, -8), (-160, 0), (0, 0.05)])
def test_ticks_are_few_round_and_inside(low, high):
    ticks = scatter._ticks(low, high)
    assert 3 <= len(ticks) <= 8
    assert all(low <= tick <= high for tick in ticks)
    assert len({round(b - a, 9) for a, b in pairwise(ticks)}) == 1


def test_the_figure_in_the_docs_is_of_the_histogram_beside_it(capsys):
    document = json.loads((scatter.RESULTS / "scatter.json").read_text(encoding="utf-8"))
    svg = (scatter.DOCS / "scatter.svg").read_text(encoding="utf-8")
    assert svg == scatter.draw(document["cells"])
    assert len(svg) < 300_000
    for cell in document["cells"]:
        assert tiles(cell).sum() == cell["domain"] == AdditionTask.size
        assert tiles(cell)[:, : scatter.PER_EPSILON].sum() == cell["members"]


def test_it_is_drawn_again_without_measuring(tmp_path, monkeypatch, capsys, points):
    def never(keep):
        raise AssertionError("measured")

    cell = scatter.histogram("some cell", *points)
    (tmp_path / "scatter.json").write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    monkeypatch.setattr(scatter, "RESULTS", tmp_path)
    monkeypatch.setattr(scatter, "DOCS", tmp_path)
    monkeypatch.setattr(scatter, "measure", never)
    assert scatter.main(["--redraw"]) == 0
    assert capsys.readouterr().out.startswith("some cell: ")
    assert (tmp_path / "scatter.svg").read_text(encoding="utf-8") == scatter.draw([cell])


def test_what_was_kept_is_not_measured_again(tmp_path, monkeypatch, points, capsys):
    monkeypatch.setattr(scatter, "everywhere", None)
    for site in scatter.SITES:
        np.save(tmp_path / f"{site}.npy", np.stack(points))
    assert [cell["domain"] for cell in scatter.measure(tmp_path)] == [500, 500]
