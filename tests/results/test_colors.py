"""Token colours are made for what is looked at, once, and are otherwise as if they had been there."""

from __future__ import annotations

import numpy as np
import pytest

from inversionview.results.colors import TokenColors, make_together


class Maker:
    def __init__(self, rows=7, width=4):
        self.values = np.linspace(-1, 1, rows * width).reshape(rows, width)
        self.asked = []

    def __call__(self, rows):
        self.asked.append(rows.tolist())
        return self.values[rows]

    def colors(self):
        return TokenColors(self.values.shape, self)


def test_as_a_whole_they_are_the_array():
    maker = Maker()
    colors = maker.colors()
    assert (colors.shape, len(colors)) == ((7, 4), 7)
    assert maker.asked == []
    np.testing.assert_array_equal(colors, maker.values)
    assert np.abs(colors).max() == 1
    assert maker.asked == [list(range(7))]


def test_rows_are_made_once_whoever_asks_for_them():
    maker = Maker()
    colors = maker.colors()
    some = colors[np.array([5, 0, 2])]
    assert maker.asked == []
    assert list(some.of(0, 3)) == maker.values[5, :3].tolist()
    np.testing.assert_array_equal(some, maker.values[[5, 0, 2]])
    np.testing.assert_array_equal(colors[1:3], maker.values[1:3])
    np.testing.assert_array_equal(colors, maker.values)
    assert maker.asked == [[5], [0, 2], [1], [3, 4, 6]]
    assert colors.known.all()


def test_rows_of_several_candidates_are_made_together():
    maker, other = Maker(), Maker()
    colors, others = maker.colors(), other.colors()
    rows = [colors.of(4, 4), None, [0.5], others.of(1, 2), colors.of(1, 2), colors.of(4, 4)]
    make_together(rows)
    assert (maker.asked, other.asked) == ([[1, 4]], [[1]])
    assert rows[0] == maker.values[4].tolist()
    assert rows[4][1] == maker.values[1, 1]
    make_together(rows)
    assert len(maker.asked) == 1


def test_what_could_not_be_made_is_asked_for_again():
    maker = Maker()

    def failing(rows):
        if not maker.asked:
            maker.asked.append("failed")
            raise KeyboardInterrupt
        return maker(rows)

    colors = TokenColors(maker.values.shape, failing)
    with pytest.raises(KeyboardInterrupt):
        np.asarray(colors)
    assert not colors.known.any()
    np.testing.assert_array_equal(colors, maker.values)
