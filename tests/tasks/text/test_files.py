"""Texts from files, and one clear line for each that cannot be read."""

from __future__ import annotations

import json

import pytest

from inversionview.errors import UserError
from inversionview.tasks.text import files as text_files
from inversionview.tasks.text.files import read_texts


def test_lines_of_a_text_file(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo été\n", encoding="utf-8")
    assert read_texts(str(tmp_path / "a.txt")) == ["one", "two été"]


def test_rows_of_jsonl_and_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = [{"text": "one", "story": "a"}, {"text": "two", "story": "b"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pandas.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        assert read_texts(str(tmp_path / name)) == ["one", "two"]
        assert read_texts(str(tmp_path / name), "story") == ["a", "b"]
        with pytest.raises(UserError, match=r"column 'body'.*text, story"):
            read_texts(str(tmp_path / name), "body")


def test_a_line_without_end_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "LONGEST_LINE", 100)
    (tmp_path / "a.txt").write_text("x" * 1050 + "\nnext\n" + "y" * 100 + "\nlast")
    assert [len(text) for text in read_texts(str(tmp_path / "a.txt"))] == [100, 4, 100, 4]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "holds no text"),
        ("a.txt", b"\n \n", "holds no text"),
        ("a.txt", b"\xff\xfe\x00", "not text in UTF-8"),
        ("a.txt", b"a\0b", "bytes of value 0"),
        ("a.jsonl", b"{oops", "line 1 of .* is not JSON"),
        ("a.jsonl", b'["a"]', "line 1 of .* is no row"),
        ("a.parquet", b"nothing", "damaged or not Parquet"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, name, content, says):
    pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read_texts(str(tmp_path / name))
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        read_texts(str(tmp_path / "none.txt"))
    with pytest.raises(UserError, match="is a folder"):
        read_texts(str(tmp_path))


def test_a_data_set_out_of_reach_is_one_line(monkeypatch):
    pytest.importorskip("datasets")

    def unreachable(self, name, **options):
        raise ConnectionError("no route\nto anywhere")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    with pytest.raises(UserError, match=r"no file some/stories.*no route to anywhere.*\.jsonl or \.parquet") as caught:
        read_texts("some/stories")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_is_closed_when_what_is_in_it_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\nnot json\n{"text": "two"}\n', encoding="utf-8")
    opened, ordinary = [], type(tmp_path).open

    def noting(self, *args, **options):
        opened.append(ordinary(self, *args, **options))
        return opened[-1]

    monkeypatch.setattr(type(tmp_path), "open", noting)
    with pytest.raises(UserError, match="line 2") as refused:
        read_texts(str(tmp_path / "a.jsonl"))
    assert refused.traceback  # which still holds all that was being read
    assert [file.closed for file in opened] == [True]
