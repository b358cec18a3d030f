from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from inversionview.preimage.texts import Decoded, Repeated

TEXTS = ("abc", "abd", "b", "", "cc")


def rows() -> np.ndarray:
    return np.array([[ord(c) for c in text.ljust(3)] for text in TEXTS])


def text(row) -> str:
    return "".join(map(chr, row.tolist())).strip()


@pytest.fixture
def decoded() -> Decoded[str]:
    return Decoded(rows(), text)


def test_it_is_what_the_tuple_of_texts_is(decoded):
    assert decoded == TEXTS
    assert (*TEXTS,) == decoded, "whichever stands first"
    assert decoded != TEXTS[:-1]
    assert len(decoded) == 5
    assert tuple(decoded) == TEXTS
    assert repr(decoded) == repr(TEXTS)
    assert hash(decoded) == hash(TEXTS)
    assert "cc" in decoded
    assert "ccc" not in decoded
    assert decoded.index("b") == 2
    assert list(reversed(decoded)) == list(reversed(TEXTS))


@pytest.mark.parametrize("read_before", [False, True])
def test_items_and_slices_are_a_tuples(decoded, read_before):
    if read_before:
        list(decoded)
    for index in (0, 3, -1, -5):
        assert decoded[index] == TEXTS[index]
    for part in (slice(0, 2), slice(2, None), slice(None, None, 2), slice(-2, None), slice(7, 9)):
        assert decoded[part] == TEXTS[part]
    for index in (5, -6):
        with pytest.raises(IndexError):
            decoded[index]


def test_only_what_is_asked_for_is_decoded_and_the_whole_once():
    seen: Counter[str] = Counter()
    decoded = Decoded(rows(), lambda row: seen.update([text(row)]) or text(row))
    assert len(decoded) == 5
    assert not seen
    assert decoded[2] == "b"
    assert seen == {"b": 1}
    assert list(decoded) == list(decoded) == list(TEXTS)
    assert decoded == TEXTS
    assert seen == dict.fromkeys(TEXTS, 1) | {"b": 2}


def test_a_slice_is_not_decoded_until_it_is_read():
    seen: list[str] = []
    decoded = Decoded(rows(), lambda row: seen.append(text(row)) or text(row))
    first = decoded[:3]
    assert len(first) == 3
    assert not seen
    assert first[1:2] == ("abd",)
    assert seen == ["abd"]


def test_there_may_be_none():
    none = Decoded(np.zeros((0, 3), dtype=np.int64), text)
    assert none == ()
    assert len(none) == 0
    assert not none


@pytest.mark.parametrize("n", [0, 1, 4])
def test_one_thing_repeated_is_what_the_tuple_of_it_is(n):
    repeated, plain = Repeated({"a": 1}, n), ({"a": 1},) * n
    assert repeated == plain == tuple(repeated)
    assert len(repeated) == n
    assert repeated != ({"a": 1},) * (n + 1)
    assert repeated != ({"a": 2},) * max(n, 1)
    for part in (slice(0, 2), slice(1, None), slice(None, None, -2), slice(7, 9)):
        assert repeated[part] == plain[part]
    for index in range(-n, n):
        assert repeated[index] == plain[index]
    for index in (n, -n - 1):
        with pytest.raises(IndexError):
            repeated[index]
    assert hash(Repeated("x", n)) == hash(("x",) * n)
