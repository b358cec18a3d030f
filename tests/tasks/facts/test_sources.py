"""Facts and sentences from BEAR, COUNTERFACT and MiniPile, each known by what is in it."""

from __future__ import annotations

import json

import pytest

from inversionview.errors import UserError
from inversionview.tasks.facts.sources import read_sources, short_sentences
from tests.tasks.facts.files import bear_fact, counterfact, texts

ENTRIES = [
    counterfact("Danielle Darrieux", "The mother tongue of {} is", "French", []),
    counterfact("Thomas Joannes Stieltjes", "The mother tongue of {} is", "Dutch", []),
]
DOCUMENTS = [
    "A short one here. Then another, as short!\nA heading of five words\n" + "Far too long to be taken " * 5 + ".",
    'He said "no more of this." Then he went away.',
    "x" * 200,
]
SENTENCES = ["A short one here.", "Then another, as short!", "A heading of five words", 'He said "no more of this."',
             "Then he went away."]  # fmt: skip


@pytest.fixture
def bear(tmp_path):
    (tmp_path / "bear" / "BEAR").mkdir(parents=True)
    (tmp_path / "bear" / "BEAR" / "P36.jsonl").write_text(bear_fact("Peru", "Lima") + "\n")
    return tmp_path / "bear"


def minipile(folder):
    """As it is published: a folder of Parquet files, the training split among others."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    (folder / "data").mkdir(parents=True)
    pandas.DataFrame({"text": DOCUMENTS}).to_parquet(folder / "data" / "train-00000-of-00001-6fbc.parquet")
    pandas.DataFrame({"text": ["Not of the training."]}).to_parquet(
        folder / "data" / "test-00000-of-00001-010a.parquet"
    )
    return folder


def test_a_sentence_ends_with_its_point_or_its_line():
    assert [*short_sentences(DOCUMENTS)] == SENTENCES
    assert [*short_sentences(["Too few."])] == []


def test_all_three_together(bear, tmp_path):
    (tmp_path / "counterfact.json").write_text(json.dumps(ENTRIES))
    found = read_sources([str(bear), str(tmp_path / "counterfact.json"), str(minipile(tmp_path / "minipile"))])
    assert found.sentences == SENTENCES
    assert texts(found.table)[:2] == ["The capital of Peru is Lima.", "In Peru the capital is Lima."]
    assert texts(found.table)[2:] == [
        "The mother tongue of Danielle Darrieux is French.",
        "The mother tongue of Thomas Joannes Stieltjes is Dutch.",
    ]
    assert len(found.table.sources) == 2


def test_counterfact_as_a_data_set_of_rows(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ENTRIES)))
    pandas.DataFrame(ENTRIES).to_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        found = read_sources([str(tmp_path / name)])
        assert texts(found.table)[0] == "The mother tongue of Danielle Darrieux is French."
        assert found.sentences == []


def test_data_sets_by_their_name(monkeypatch):
    datasets = pytest.importorskip("datasets")
    there_are = {"azhx/counterfact": ENTRIES, "JeanKaddour/minipile": [{"text": text} for text in DOCUMENTS]}
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda self, name, **options: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, **options: iter(there_are[name]))
    found = read_sources(list(there_are))
    assert len(found.table.facts) == 2
    assert found.sentences == SENTENCES


def test_a_folder_that_datasets_saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list([{"body": text} for text in DOCUMENTS])
    made.save_to_disk(str(tmp_path / "alone"))
    datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "split"))
    for name in ("alone", "split"):
        assert read_sources([str(tmp_path / name)], "body").sentences == SENTENCES
        with pytest.raises(UserError, match=r"column 'text' of .* is not there; its columns are: body"):
            read_sources([str(tmp_path / name)])
    datasets.DatasetDict({"test": made}).save_to_disk(str(tmp_path / "other"))
    with pytest.raises(UserError, match="has no split train"):
        read_sources([str(tmp_path / "other")], "body")


def test_no_more_than_so_many_sentences_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("inversionview.tasks.facts.sources.MOST_TEXTS", 3)
    (tmp_path / "a.txt").write_text("\n".join(DOCUMENTS))
    assert read_sources([str(tmp_path / "a.txt")]).sentences == SENTENCES[:3]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.json", None, "is not there"),
        ("none.txt", None, "there is no file"),
        ("a.txt", "x" * 500, "holds no sentence of 10 to 100 characters"),
        ("a.jsonl", '{"requested_rewrite": {}}', "entry 0 of .* is not as in COUNTERFACT"),
        ("empty", "", "is a folder without texts"),
    ],
)
def test_what_is_neither_is_refused_in_one_line(tmp_path, name, content, said):
    path = tmp_path / name
    if name == "empty":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=said) as caught:
        read_sources([str(path)])
    assert "\n" not in str(caught.value)
