"""Domains from the literature of prompts, written in twenty lines each, in both real models by the command line."""

import json
from pathlib import Path

import pytest

from inversionview.cli import main
from tests.real_models import GEMMA3, SMOLLM2, folder_of, real_model

FILES = sorted((Path(__file__).parent / "domains").glob("*.toml"))
LATE = {SMOLLM2: "a20-21", GEMMA3: "a14-15"}

EXAMPLES = {
    "colored-objects": "I see a red pen, a blue cup and a green hat. The color of the cup is blue",
    "entity-binding": "The apple is in Box A, the bell is in Box B, the map is in Box C. Box B contains the bell",
    "successor": "The day after Monday is Tuesday",
}


def printed(capsys, *args):
    code = main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "model"),
    [
        *(pytest.param(path, SMOLLM2, marks=real_model(SMOLLM2), id=path.stem) for path in FILES),
        pytest.param(FILES[-1], GEMMA3, marks=real_model(GEMMA3), id=f"{FILES[-1].stem} in gemma"),
    ],
)
def test_a_domain_of_ones_own_is_mapped_patched_and_read(path, model, capsys, tmp_path):
    where = [path, "--model", folder_of(model), "--json"]
    a_map = printed(capsys, "map", *where, "--at", "END", "--sites", LATE[model], "-n", 120, "--epsilon", "null:0.1")
    heads = {cell["site"] for cell in a_map["cells"]}
    assert all(cell["at"] == "END" for cell in a_map["cells"])
    patched = printed(
        capsys, "patch", *where, "--target", "answer", "--at", "END", "--sites", LATE[model], "--contrast", "random",
        "--order", "each", "-n", 8,
    )  # fmt: skip
    assert {site for effect in patched["effects"] for site in effect["sites"]} == heads
    assert any(effect["drop"] for effect in patched["effects"])
    site = max(a_map["cells"], key=lambda cell: sum(bits["bits"] for bits in cell["bits"].values()))["site"]
    bank = tmp_path / "bank"
    assert main(["bank", *map(str, where), "--at", "END", "--sites", site, "-n", "120", "--out", str(bank)]) == 0
    capsys.readouterr()
    read = printed(
        capsys, "read", path, EXAMPLES[path.stem], *where[1:], "--at", "END", "--site", site, "--bank", bank,
        "--epsilon", "null:0.1",
    )  # fmt: skip
    assert read["inside"] > 0
    assert all(sample["in_domain"] for sample in read["samples"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_has_twenty_lines_and_a_source(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30
    assert "arXiv" in lines[0]
