"""Claims beside hand-made measurements: each test holds on its side of the threshold and fails on the other."""

from __future__ import annotations

import pytest

from research import circuit_page
from research.claims import Bits, Claim, Measured, More, Moves, Uses, judged, table
from research.documents import whole


def cell(site, bits, of=4.0, se=0.01):
    return {"site": site, "at": "=", "bits": {"F1": {"bits": bits, "of": of, "se": se}}}


def patched(sites, drop, order="each"):
    return {"sites": sites, "order": order, "patched": 10 - drop, "patched_se": 0.2, "drop": drop, "se": 0.1}


def measured(**cells) -> Measured:
    document = {"cells": [cell(site, bits) for site, bits in cells.items()], "epsilon": 0.1}
    effects = [patched(["a0"], 4.0), patched(["b0@:"], 0.2), patched(["a0", "b0@:"], 8.0, "forward")]
    patching = {
        "at": "=", "clean": 10.0, "clean_se": 0.1, "contrast_run": -10.0, "contrast_run_se": 0.1, "target": "A1",
        "contrast": "random", "where": None, "contrast_where": "A1 != 1", "n": 50, "drawn": 60, "effects": effects,
    }  # fmt: skip
    verdicts = ["used", "used", "merely present", None]
    causal = [{"features": [{"name": "F1", "verdict": verdict}]} for verdict in verdicts]
    return Measured({"map": document}, {"s": patching}, {"q": causal})


@pytest.mark.parametrize(
    ("bits", "says", "holds"),
    [
        (3.6, "knows", True), (3.59, "knows", False), (2.0, "reads", True), (1.99, "reads", False),
        (1.99, "does not read", True), (2.0, "does not read", False),
    ],
)  # fmt: skip
def test_bits_go_by_the_share_of_the_entropy(bits, says, holds):
    check = Bits("a0", "=", "F1", says).check(measured(a0=bits))
    assert check.holds == holds
    assert f"{bits:.2f} ± 0.01 of 4.00 bits" in check.words


def test_one_site_gives_more_than_another_by_a_tenth_of_a_bit():
    assert More("b", "a", "=", "F1").check(measured(a=1.0, b=1.2)).holds
    assert not More("b", "a", "=", "F1").check(measured(a=1.0, b=1.09)).holds
    assert not More("b", "a", "=", "F1").check(measured(a=1.2, b=1.0)).holds
    noisy = measured(a=1.0, b=1.2)
    for one in noisy.maps["map"]["cells"]:
        one["bits"]["F1"]["se"] = 0.08
    assert not More("b", "a", "=", "F1").check(noisy).holds, "within two standard errors"


def test_where_a_map_is_silent_the_wide_one_speaks_and_is_named():
    both = measured(a=3.0)
    both.maps["map"]["cells"] = [{"site": "a", "at": "=", "why_not": "few members"}]
    assert not Bits("a", "=", "F1", "reads").check(both).holds
    wide = Measured({**both.maps, "wide map": {"cells": [cell("a", 3.0)], "epsilon": 0.25}}, {})
    check = Bits("a", "=", "F1", "reads").check(wide)
    assert check.holds
    assert "ε = 0.25" in check.words


@pytest.mark.parametrize(
    ("sites", "order", "says", "holds"),
    [
        (("a0",), "each", "moves", True), (("a0@=",), "each", "moves", True), (("b0@:",), "each", "moves", False),
        (("b0@:",), "each", "barely moves", True), (("a0",), "each", "barely moves", False),
        (("a0", "b0@:"), "forward", "moves", True), (("a0", "b0@:"), "reverse", "moves", False),
    ],
)  # fmt: skip
def test_a_patch_goes_by_its_share_of_the_whole_effect(sites, order, says, holds):
    assert whole(measured().patching["s"]) == 20
    assert Moves("s", sites, says, order).check(measured()).holds == holds


def test_use_goes_by_most_queries_that_tell_anything():
    check = Uses("q", "F1", "used").check(measured())
    assert check.holds
    assert check.words == "F1 used in 2 of 3 queries, 1 tell nothing"
    assert not Uses("q", "F1", "merely present").check(measured()).holds


def test_claims_that_disagree_say_why_in_bold():
    claims = [
        Claim("a0 knows F1", "somebody", (Bits("a0", "=", "F1", "knows"),), (Moves("s", ("a0",)),)),
        Claim("a0 does nothing", "somebody", (), (Moves("s", ("a0",), "barely moves"),)),
    ]
    verdicts = judged("ours", measured(a0=4.0), claims)
    assert [verdict.agrees for verdict in verdicts] == [True, False]
    disagree, agree = (table(verdicts, agree=which) for which in (False, True))
    assert "a0 does nothing" in disagree
    assert "**s, patching `a0`: 4.00 ± 0.10 (20% of the whole)**" in disagree
    assert "a0 knows F1" in agree
    assert "**" not in agree
    assert table(verdicts[:1], agree=False) == "None."


def test_published_numbers_are_compared_in_standard_errors_of_both_runs():
    documents = measured().patching
    near = {"s": [("clean", "clean", 10.5), ("one", "drop each 0", 4.5), ("it", "patched each 1", 9.0)]}
    lines = circuit_page.published(documents, near).splitlines()
    assert "10.00 ± 0.10 | 3.5 standard errors |" in lines[2]
    assert "4.00 ± 0.10 | 3.5 standard errors |" in lines[3]
    assert "9.80 ± 0.20 | 2.8 standard errors |" in lines[4]
    assert lines[-1].startswith("All agree")
    far = circuit_page.published(documents, {"s": [("clean", "clean", 11.0)]}).splitlines()
    assert "**differs**" in far[2]
    assert far[-1].startswith("Not all agree within 4 standard errors")


def test_effects_say_what_was_patched_and_on_how_many_pairs():
    text = circuit_page.effects(measured().patching)
    assert "contrast inputs where `A1 != 1`; 50 of 60 pairs" in text
    assert "| `a0@=` `b0@:` | forward | 2.00 ± 0.20 | 8.00 ± 0.10 | 40.0% |" in text


def test_the_command_of_a_setting_is_one_that_a_shell_takes():
    setting = {"target": "A1", "at": "=", "contrast": "change:F1,S1", "contrast_where": "A1 != 1"}
    command = circuit_page.command("addition", setting, 20, "FOLDER")
    assert '--at "=" --contrast "change:F1,S1" --contrast-where "A1 != 1" -n 20 --model FOLDER' in command
