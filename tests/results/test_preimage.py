from __future__ import annotations

import builtins
import dataclasses
import json
import os

import numpy as np
import pytest

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.sampled import sampled_preimages
from inversionview.results import convert
from inversionview.results.estimates import Component, FeatureBits, Interval, Pattern, Patterns
from inversionview.results.preimage import Preimage
from tests.preimage.tiny import Fixed, few_sums, probed, query, rows, task
from tests.results.preimages import exact, made, weighed


def colored() -> Preimage:
    found = made()
    colors = np.random.default_rng(0).uniform(-1, 1, found.tokens.shape)
    return dataclasses.replace(found, colors=colors, colors_about="compared with 'nothing' — ε")


def known_bits() -> Preimage:
    bits = (FeatureBits("F1", 0.5, 3.0, 0.7, (0.25, 0.75)), FeatureBits("C1", -0.125, 1.0, float("inf"), None))
    return dataclasses.replace(weighed(), bits=bits, epsilon_from="the null quantile 0.01")


def told() -> Preimage:
    """With what is said in words of members and near misses."""
    shared = Pattern("5··+···", 0.625, Interval(0.5, 0.75), 11, ("505+495=1000", "500+990=1490"), of_query=True)
    bits = [
        dataclasses.replace(one, value="5", about="a digit", left=(("5", 0.75), ("9", 0.25)))
        for one in known_bits().bits
    ]
    return dataclasses.replace(
        known_bits(),
        bits=tuple(bits),
        patterns=Patterns((shared, dataclasses.replace(shared, interval=None)), 0.375, ("F1",)),
        differences=tuple("" if inside else "F1 = 1" for inside in weighed().inside),
    )


def assert_same(one: Preimage, other: Preimage) -> None:
    for field in dataclasses.fields(Preimage):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype.kind == b.dtype.kind, field.name  # an exact preimage is held in the smallest integers
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
@pytest.mark.parametrize("make", [made, colored, exact, weighed, known_bits, told])
def test_a_saved_preimage_comes_back_to_the_last_bit(tmp_path, make, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"found{suffix}"
    found = make()
    found.save(path)
    assert_same(found, Preimage.load(path))
    assert Preimage.load(str(path)).to_dict() == found.to_dict()
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_preimage_without_candidates_comes_back_too(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    [found] = sampled_preimages(probed(), task(), [query()], [Fixed(rows("BE")[:0])], criterion=Criterion.parse(0.1))
    assert len(found) == found.n_drawn == 0
    found.save(tmp_path / f"none{suffix}")
    back = Preimage.load(tmp_path / f"none{suffix}")
    assert back.to_dict() == found.to_dict()
    assert back.to_reading().samples == []


def test_the_document_has_the_fields_of_the_contract():
    found = made()
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["schema"] == 1
    assert document["study"] == "addition"
    assert document["query"] == {
        "input": "615+861=1476",
        "tokens": [10, 6, 1, 5, 11, 8, 6, 1, 12, 1, 4, 7, 6, 13],
        "position": 12,
        "at": "A4",
        "site": "a0.0",
    }
    assert document["epsilon"] == 0.5
    assert document["metric"] == "euclidean"
    assert document["position_rule"] == "same"
    assert document["seed"] == 3
    assert document["exact"] is False
    samples = document["samples"]
    fields = {"input", "position", "distance", "inside", "in_domain", "sources", "log_prob", "weight"}
    assert all(set(sample) == fields for sample in samples)
    assert document["distinct"] == len(samples)
    assert document["in_domain"] == sum(sample["in_domain"] for sample in samples)
    assert document["inside"] == sum(sample["inside"] for sample in samples)
    assert document["drawn"] == 35 == sum(sum(sample["sources"].values()) for sample in samples)
    known = [sample["distance"] for sample in samples if sample["distance"] is not None]
    assert known == sorted(known)
    assert [sample["distance"] for sample in samples][: len(known)] == known
    assert samples[0]["input"] == "615+861=1476"
    assert samples[0]["sources"]["given"] == 2
    lacks = next(sample for sample in samples if sample["input"] == "100+100=200")
    assert (lacks["position"], lacks["distance"], lacks["in_domain"], lacks["inside"]) == (None, None, False, False)


def test_counts_say_what_they_count():
    found = made()
    assert found.n_drawn == found.counts.sum() == 35
    assert found.n_distinct == len(found) == len(found.inputs) == len(set(found.inputs))
    assert found.n_inside == found.inside.sum() == len(found.members)
    assert found.n_inside <= found.n_in_domain <= found.n_distinct
    assert found.members[0] == "615+861=1476"
    assert "35 drawn" in repr(found)
    assert "inside ε = 0.5" in repr(found)


def test_another_epsilon_re_cuts_what_was_measured():
    found = made()
    wide = found.at_epsilon(1e9)
    assert wide.n_inside == found.n_in_domain
    narrow = found.at_epsilon(1e-5)
    assert narrow.members == ("615+861=1476",)
    assert found.epsilon == 0.5
    fresh = made(epsilon=0.9)
    assert_same(found.at_epsilon(0.9), fresh)
    with pytest.raises(UserError, match="above 0"):
        found.at_epsilon(-1.0)


def test_another_epsilon_takes_nothing_with_it_that_was_found_at_the_old_one():
    found = known_bits()
    narrow = found.at_epsilon(0.3)
    assert (narrow.bits, narrow.epsilon_from) == ((), "")
    assert found.bits
    assert 0 < narrow.n_inside < found.n_inside
    assert narrow.weights[~narrow.inside].sum() == 0
    assert narrow.weights.sum() == pytest.approx(1)
    assert found.weights.sum() == pytest.approx(1)


def test_an_exact_preimage_is_cut_to_a_smaller_epsilon_and_never_widened():
    found = exact()
    narrow = found.at_epsilon(0.3)
    assert 0 < narrow.n_inside < found.n_inside
    assert narrow.members == tuple(text for text, d in zip(found.inputs, found.distances, strict=True) if d <= 0.3)
    assert_same(narrow, exact(epsilon=0.3))
    assert narrow.effective_size == narrow.n_inside == len(narrow)
    assert found.at_epsilon(0.5).n_inside == found.n_inside
    with pytest.raises(UserError, match=r"holds what is within 0\.5: to have what is within 0\.6, search again"):
        found.at_epsilon(0.6)


@pytest.mark.parametrize("make", [exact, weighed, colored])
def test_the_first_candidates_alone_are_the_nearest(make):
    found = make()
    few = found.head(3)
    assert len(few) == len(few.inputs) == len(few.token_strings) == len(few.sources) == 3
    assert list(few.inputs) == list(found.inputs)[:3]
    for field in dataclasses.fields(Preimage):
        whole, cut = getattr(found, field.name), getattr(few, field.name)
        if isinstance(whole, np.ndarray):
            rows = whole[:, :3] if field.name == "log_densities" else whole[:3]
            np.testing.assert_array_equal(cut, rows, err_msg=field.name)
    assert len(found.head(10**6)) == len(found)


def test_an_exact_preimage_counts_the_domain_it_looked_at():
    found = exact(at="A4")
    four = sum(a + b >= 1000 for a in few_sums().numbers.tolist() for b in few_sums().numbers.tolist())
    assert found.domain_size == four
    assert found.n_drawn == found.n_distinct == found.n_in_domain == four
    assert found.n_inside == len(found) < four
    document = found.to_dict()
    assert document["exact"] is True
    assert document["domain"] == document["distinct"] == four
    assert len(document["samples"]) == found.n_inside == document["inside"]
    assert f"exactly {found.n_inside:,} of {four:,} inputs inside ε = 0.5" in repr(found)


def test_exact_weights_are_in_proportion_to_the_prior():
    found, numbers = exact(), few_sums().numbers.tolist()
    by_hand = np.array([1 + 0.5 * numbers.index(int(text[:3])) for text in found.inputs])
    np.testing.assert_allclose(found.weights, by_hand / by_hand.sum(), rtol=1e-5)
    assert found.effective_size == found.n_inside


def test_sampled_weights_are_the_prior_over_the_chance_to_be_drawn_at_all():
    found, numbers = weighed(), few_sums().numbers.tolist()
    assert [component.source for component in found.components] == ["decoder t=1", "decoder t=2", "prior"]
    assert sum(component.n for component in found.components) == 400
    draws = [component.n for component in found.components]
    prior = {a: (1 + 0.5 * i) / sum(1 + 0.5 * j for j in range(34)) / 34 for i, a in enumerate(numbers)}
    by_hand, squares = np.zeros(len(found)), 0.0
    for i, (text, times) in enumerate(zip(found.inputs, found.sources, strict=True)):
        if not found.inside[i] or set(times) == {"given"}:
            continue
        q = np.exp(found.log_densities[:, i])
        assert q[2] == pytest.approx(prior[int(text[:3])], rel=1e-5)
        chance = 1 - np.prod((1 - q) ** draws)
        by_hand[i] = prior[int(text[:3])] / chance
        squares += by_hand[i] ** 2 * (1 - chance)
    assert (by_hand > 0).sum() > 20
    np.testing.assert_allclose(found.weights, by_hand / by_hand.sum(), rtol=1e-6)
    assert found.effective_size == pytest.approx(by_hand.sum() ** 2 / squares, rel=1e-6)
    only_given = [set(times) == {"given"} for times in found.sources]
    assert (found.inside & only_given).any(), "a member that was found by chance unknown counts for nothing"
    assert (found.independent == ~np.array(only_given)).all()


def test_without_a_known_density_there_are_no_weights():
    [found] = sampled_preimages(
        probed(), task(), [query()], [Fixed(rows("B615+861=1476E"))], criterion=Criterion.parse(0.5)
    )
    assert found.components == ()
    assert np.isnan(found.weights).all()
    assert found.effective_size == 0
    unknown = dataclasses.replace(weighed(), log_prior=None)
    assert np.isnan(unknown.weights).all()
    assert unknown.effective_size == 0


def test_weights_come_back_from_a_file(tmp_path):
    for make in (exact, weighed):
        found = make()
        found.save(tmp_path / "found.json")
        back = Preimage.load(tmp_path / "found.json")
        np.testing.assert_array_equal(back.weights, found.weights)
        assert back.effective_size == found.effective_size
        assert all(type(component) is Component for component in back.components)
        assert all(type(known) is FeatureBits for known in back.bits)


def test_the_reading_is_plain_data_that_both_renderers_take():
    from io import StringIO

    from rich.console import Console

    from inversionview.report.page import render_page
    from inversionview.report.terminal import render_terminal
    from inversionview.report.wire import pack_reading

    found = colored()
    reading = found.to_reading()
    plain = convert.plain(reading)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert reading.query.tokens[12] == "6"
    assert reading.counts.inside == found.n_inside
    assert sum(source.drawn for source in reading.sources) == found.n_drawn
    inside_draws = sum(int(count) for count, inside in zip(found.counts, found.inside, strict=True) if inside)
    assert sum(source.inside for source in reading.sources) == inside_draws
    for sample in reading.samples:
        assert len(sample.tokens) == len(sample.colors) == len(sample.token_distances)
        assert 0 <= sample.position < max(2, len(sample.tokens))
    console = Console(file=StringIO(), width=120)
    render_terminal(reading, console)
    for text in (
        console.file.getvalue(),
        render_page([pack_reading(reading)], title="t"),
        found.to_html(),
        found._repr_html_(),
    ):
        assert "A4" in text
        assert "a0.0" in text


def test_a_data_frame_has_one_row_a_candidate():
    pytest.importorskip("pandas")
    found = made()
    frame = found.to_pandas()
    assert len(frame) == found.n_distinct
    assert frame["inside"].sum() == found.n_inside
    assert frame["count"].sum() == found.n_drawn
    assert frame["input"][0] == "615+861=1476"


@pytest.mark.parametrize(
    ("module", "use"),
    [
        ("pandas", lambda path: made().to_pandas()),
        ("pyarrow", lambda path: made().save(path / "x.parquet")),
        ("pyarrow", lambda path: Preimage.load(path / "x.parquet")),
    ],
)
def test_a_missing_package_is_named(monkeypatch, tmp_path, module, use):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == module:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=f"pip install {module}"):
        use(tmp_path)


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"cut{suffix}"
    made().save(path)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut\.(json|parquet)") as raised:
            Preimage.load(path)
        assert "damaged" in str(raised.value)
        assert "\n" not in str(raised.value)


def damage(document: dict, name: str) -> None:
    sample = document["samples"][0]
    match name:
        case "no samples":
            del document["samples"]
        case "no tokens":
            del sample["tokens"]
        case "ragged":
            sample["tokens"] = [1]
        case "words":
            document["samples"][1]["distance"] = "near"
        case "list":
            document["query"] = []
        case "fewer":
            document["samples"].pop()
        case "sources":
            sample["sources"] = 3


@pytest.mark.parametrize("name", ["no samples", "no tokens", "ragged", "words", "list", "fewer", "sources"])
def test_a_damaged_document_is_named(tmp_path, name):
    path = tmp_path / "bad.json"
    made().save(path)
    document = json.loads(path.read_text())
    damage(document, name)
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"bad\.json") as raised:
        Preimage.load(path)
    assert "\n" not in str(raised.value)


def test_other_files_and_newer_ones_are_refused(tmp_path):
    path = tmp_path / "found.json"
    made().save(path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"schema": 99}))
    with pytest.raises(UserError, match=r"found\.json was written by a newer inversionview \(schema 99\)"):
        Preimage.load(path)
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match="not a saved preimage"):
        Preimage.load(path)
    path.write_text(json.dumps(made().to_dict()))
    with pytest.raises(UserError, match=r"lacks 'token_strings'; use Preimage\.save"):
        Preimage.load(path)
    with pytest.raises(UserError, match=r"there is no preimage at .*none\.json"):
        Preimage.load(tmp_path / "none.json")
    for refused in (lambda: Preimage.load(tmp_path / "x.csv"), lambda: made().save(tmp_path / "x.csv")):
        with pytest.raises(UserError, match=r"must end in \.json or \.parquet"):
            refused()


def test_parquet_of_something_else_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"other\.parquet is not a saved preimage"):
        Preimage.load(tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"there is no preimage at .*none\.parquet"):
        Preimage.load(tmp_path / "none.parquet")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "found.json"
    made().save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inversionview.files.os.replace", full)
    with pytest.raises(UserError, match=r"cannot write .*found\.json: the disk is full"):
        made(seed=4).save(path)
    assert path.read_bytes() == before
