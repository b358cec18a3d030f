import json

from benchmarks import chosen_sites
from benchmarks.chosen_sites import by_patching, by_selection, depth_sites, in_turns
from inversionview.causal.head_selection import Counted, HeadSelection

KEPT = json.loads(chosen_sites.KEPT.read_text())


def selection(**counted):
    parts = tuple(
        Counted(name.replace("_", "."), counts, proximity) for name, (counts, proximity) in sorted(counted.items())
    )
    return HeadSelection(parts, 0.02, 100)


def test_rankings_are_taken_from_in_turns_and_no_name_twice():
    assert in_turns([["a", "b", "c"], ["b", "a", "d", "e"]], 4) == ["a", "b", "c", "d"]
    assert in_turns([["a", "b"], ["c", "d"]], 3) == ["a", "c", "b"]


def test_a_ranking_that_is_used_up_leaves_the_rest_to_the_other():
    assert in_turns([["a"], ["b", "c", "d"]], 10) == ["a", "b", "c", "d"]
    assert in_turns([], 3) == []


def test_a_patch_that_works_against_the_answer_counts_as_much():
    assert by_patching({"a0.0": (0.1, 0.0), "a0.1": (-2.0, 0.0), "a0.2": (1.0, 0.0)}) == ["a0.1", "a0.2", "a0.0"]


def test_of_heads_that_count_as_often_the_nearer_comes_first():
    heads = selection(x0_pre=(1.0, 0.9), a0_0=(1.0, 0.1), a0_1=(1.0, 0.3), a1_0=(0.5, 0.8))
    assert by_selection(heads) == ["a0.1", "a0.0", "a1.0"]


def test_free_text_is_read_at_eighths_of_the_depth():
    heads = {f"a{layer}_{head}": (0.1 * head, 0.5) for layer in range(12) for head in range(3)}
    assert depth_sites(selection(**heads), 12) == [
        "a1.2", "a4.2", "a7.2", "a10.2", "x1.post", "x4.post", "x7.post", "x10.post",
    ]  # fmt: skip


def test_the_kept_heads_are_what_the_rule_makes_of_the_kept_rankings():
    ioi = KEPT["ioi"]
    effects = json.loads(chosen_sites.PATCHED.read_text())["models"]["SmolLM2-135M"]["ioi"]["patching"]["flip@END"]
    patched = by_patching(effects["each"])
    assert list(ioi["by_patching"]) == patched[: chosen_sites.SHOWN]
    assert ioi["sites"] == in_turns([patched, list(ioi["by_selection"])], chosen_sites.HEADS)
    assert len(set(ioi["sites"])) == len(chosen_sites.chosen("ioi")) == 26
    ranked = [tuple(-number for number in numbers) for numbers in ioi["by_selection"].values()]
    assert ranked == sorted(ranked)


def test_the_kept_sites_of_free_text_are_what_the_rule_makes_of_the_kept_counts():
    heads = {name.replace(".", "_"): numbers for name, numbers in KEPT["text"]["by_selection"].items()}
    assert list(chosen_sites.chosen("text")) == depth_sites(selection(**heads), 30)
