"""The generated pages are what they are made of, and those that are not can be written again."""

from __future__ import annotations

from research import generate


def test_generated_pages_are_what_the_code_says(capsys):
    assert generate.main(["--check"]) == 0


def test_a_stale_page_is_named_and_can_be_written_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    assert generate.main(["--check"]) == len(generate.PAGES)
    assert "docs/command-line.md is out of date" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert "--position-rule" in (tmp_path / "command-line.md").read_text(encoding="utf-8")
