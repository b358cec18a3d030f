"""The page's table of architectures, held to the table in the code and to tiny models of every form."""

import re

import pytest

from inversionview.probed.architectures import ARCHITECTURES
from inversionview.probed.model import ProbedModel
from tests.paths import ROOT
from tests.probed.seldom import SELDOM
from tests.probed.tiny import LAYER_NORM, MODELS, NOT_IN_TRANSFORMER_LENS, every_site, tiny

PAGE = (ROOT / "docs" / "sites-and-conventions.md").read_text(encoding="utf-8")
ROWS = {
    model_type: dict(zip(("x.mid", "h", "n", "tl", "TransformerLens"), cells[2:], strict=True))
    for cells in (line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `"))
    if len(cells) == 7 and "config.json" not in cells[0]
    for model_type in re.findall("`(.*?)`", cells[0])
}


def test_the_page_has_the_types_that_the_table_has():
    assert sorted(ROWS) == sorted(ARCHITECTURES)
    assert {name.split()[0] for name in MODELS} == set(ARCHITECTURES)
    assert set(MODELS) > SELDOM


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_the_page_says_of_each_type_what_its_forms_have(model_type):
    forms = [name for name in MODELS if name.split()[0] == model_type]
    names = [{str(site) for site in every_site(ProbedModel(tiny(form)))} for form in forms]
    has = {
        "x.mid": ["x0.mid" in sites for sites in names],
        "h": ["h0.1" in sites for sites in names],
        "n": ["n0" in sites for sites in names],
        "tl": [form in LAYER_NORM for form in forms],
        "TransformerLens": [form not in NOT_IN_TRANSFORMER_LENS for form in forms],
    }
    for column, there in has.items():
        word = "yes" if all(there) else "only" if any(there) else "no"
        assert re.match(r"\w+", ROWS[model_type][column]).group() == word, column
