"""Texts from files, and one clear line for each that cannot be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from inversionview.errors import UserError
from inversionview.tasks.text import formats
from inversionview.tasks.text.files import iter_rows, read_texts


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


THREE = ["one", "two, or three\nlines", "été"]


def written(path: Path, kind: str) -> None:
    rows = [{"id": i, "text": text} for i, text in enumerate(THREE)]
    with path.open("w", encoding="utf-8", newline="") as file:
        if kind in ("csv", "tsv"):
            to = csv.DictWriter(file, ["id", "text"], dialect="excel" if kind == "csv" else "excel-tab")
            to.writeheader()
            to.writerows(rows)
        elif kind == "lines":
            file.write("\n".join(map(json.dumps, rows)))
        else:
            json.dump(THREE if kind == "texts" else rows, file, indent=1)


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "with a byte order mark"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "lines"), ("a.ndjson", "lines"), ("a.JSONL", "lines"), ("a.json", "lines"), ("a.json", "rows"),
        ("a.Json", "texts"), ("a.csv", "csv"), ("a.CSV", "csv"), ("a.tsv", "tsv"),
    ],
)  # fmt: skip
def test_a_file_is_taken_for_what_it_is(tmp_path, name, kind, mark):
    written(tmp_path / name, kind)
    content = (tmp_path / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(mark + content, encoding="utf-8", newline="")
    assert read_texts(str(tmp_path / name)) == THREE
    if kind != "texts":
        assert [str(row["id"]) for row in iter_rows(str(tmp_path / name))] == ["0", "1", "2"]


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.md", "corpus"])
def test_a_byte_order_mark_is_no_part_of_the_first_text(tmp_path, name):
    (tmp_path / name).write_text("\ufeffone\r\ntwo\rthree\n", encoding="utf-8", newline="")
    assert read_texts(str(tmp_path / name)) == ["one", "two", "three"]


def test_of_a_folder_all_kinds_are_read_but_what_is_about_them(tmp_path):
    (tmp_path / "data").mkdir()
    written(tmp_path / "b.CSV", "csv")
    written(tmp_path / "data" / "c.ndjson", "lines")
    (tmp_path / "dataset_info.json").write_text('{"rows": 6}')
    (tmp_path / "README.md").write_text("about")
    assert read_texts(str(tmp_path)) == THREE * 2


def test_a_column_that_parquet_lacks_is_no_damage(tmp_path):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"text": ["one"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"^column 'body' of \S+ is not there; its columns are: text$"):
        read_texts(str(tmp_path / "a.parquet"), "body")


def test_broken_bytes_in_parquet_are_named_by_their_row(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    column = arrow.array([b"one", None, b"a\xff"], arrow.binary()).view(arrow.string())
    parquet.write_table(arrow.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"^row 3 of \S+ is not text in UTF-8: its byte 2 cannot be read$"):
        read_texts(str(tmp_path / "a.parquet"))


def test_a_line_without_end_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LONGEST_LINE", 100)
    (tmp_path / "a.txt").write_text("x" * 1050 + "\nnext\n" + "y" * 100 + "\nlast")
    assert [len(text) for text in read_texts(str(tmp_path / "a.txt"))] == [100, 4, 100, 4]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "holds no text"),
        ("a.txt", b"\n \n", "holds no text"),
        ("a.txt", b"good\n\xe9t\xe9\n", r"line 2 of \S+ is not text in UTF-8: its byte 1 is 0xe9$"),
        ("a.txt", "été\r\nun ".encode() + b"\xff", r"line 2 of \S+ is not text in UTF-8: its byte 4 is 0xff$"),
        ("a.txt", "é".encode() + b"\xed\xa0\x80", r"line 1 of \S+ is not text in UTF-8: its byte 3 is 0xed$"),
        ("a.txt", "good".encode("utf-16"), "is 0xff; it is UTF-16, it seems: save it as UTF-8"),
        ("a.txt", b"a\n\nx\0b", r"line 3 of \S+ is not text: it holds a byte of value 0"),
        (
            "a.jsonl",
            b'{"text": "good"}\n{"text": "b\xff"}',
            r"line 2 of \S+ is not text in UTF-8: its byte 12 is 0xff$",
        ),
        ("a.csv", b"text\ngood\n\xff", r"line 3 of \S+ is not text in UTF-8: its byte 1 is 0xff$"),
        ("a.jsonl", b'{"text": "a"}\n\n{"story": "b"}', r"column 'text' of line 3 of \S+ is not there; .*: story$"),
        ("a.jsonl", b'{"text": "a"}\n{"text": 3}', r"column 'text' of line 2 of \S+ is not text"),
        ("a.jsonl", b'{"text": "\\udead"}', r"column 'text' of line 1 of \S+ holds half a character, \\udead: mend"),
        ("a.json", b'[{"text": "a"}, {"story": "b"}]', r"column 'text' of entry 2 of \S+ is not there; .*: story$"),
        ("a.json", b'[{"text": "a"}, 3]', r"entry 2 of \S+ is no row"),
        ("a.json", b'{"data": [\n{"text": "a"}]}', "is no list of rows"),
        ("a.json", b'[{"text": "a"},', "is damaged or truncated"),
        ("a.csv", b"id,text\n1,one,two\n", r"line 2 of \S+ has 3 fields, and the first line names 2 columns"),
        ("a.csv", b'id,text\n1,"one\n', r"line 2 of \S+ is not as in .csv files: unexpected end of data"),
        ("a.csv", b"id,story\n1,one\n", r"column 'text' of line 2 of \S+ is not there; .*: id, story$"),
        ("a.docx", b"PK", r"is of a kind that no texts are read from: give .txt, .jsonl, .* end in .txt"),
        ("a.jsonl.gz", b"\x1f\x8b", "is of a kind that no texts are read from"),
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
    with pytest.raises(
        UserError, match=r"no file some/stories.*no route to anywhere.*\.jsonl, \.csv or \.parquet"
    ) as caught:
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
