from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from inversionview.errors import UserError
from inversionview.preimage.domain import ModelDomain
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.index import IndexedDomain, build_index, ensure_index
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from tests.preimage.tiny import FewSums, few_sums, gpt2, probed, query, with_criterion

SITES = ("a0.1", "x1.post")
TEXTS = (("100+994=1094", "="), ("499+501=1000", "A4"), ("103+496=599", "S2"), ("984+100=1084", "A1"))
BLOCKS = (22, 177)
NUMBERS = (100, 101, 503, 995)
KILLED = """
import os, signal, sys
from inversionview.preimage.index import build_index
from tests.preimage.tiny import few_sums, probed

def progress(done, of):
    if 500 < done < of:
        os.kill(os.getpid(), signal.SIGKILL)

build_index(probed(), few_sums(), "a0.1", sys.argv[1], block=100, progress=progress)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An index of two sites, made in blocks that end in the middle of prefixes, some with no sum of four digits."""
    place = tmp_path_factory.mktemp("index")
    for site, block in zip(SITES, BLOCKS, strict=True):
        assert build_index(probed(), few_sums(), site, place, block=block) == place / site
    return place


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "index")


@contextmanager
def no_forward(model):
    """The probed model fails when it is run."""

    def fail(*_):
        raise AssertionError("the probed model was run")

    handle = model.model.transformer.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


def by_tokens(found):
    """The position of each member."""
    return dict(zip(map(bytes, found.tokens.astype(np.uint8)), found.positions.tolist(), strict=True))


@pytest.mark.parametrize("rule", ["same", "any"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("block", [90, 65536])
def test_preimages_are_those_of_the_model_without_running_it(folder, metric, rule, block):
    queries = [query(text, at, site) for text, at in TEXTS for site in SITES]
    z_q = torch.stack([probed().capture(torch.tensor([q.tokens]), q.site, q.position)[Site.parse(q.site)][0]
                       for q in queries])  # fmt: skip
    asked = {"epsilon": 0.4, "metric": metric, "position_rule": rule, "activations": z_q}
    of_model = exact_preimages(probed(), few_sums(), queries, **with_criterion(asked))
    domain = IndexedDomain(folder, probed(), few_sums(), block=block)
    with no_forward(probed()):
        again = [
            exact_preimages(probed(), few_sums(), queries, domain=domain, **with_criterion(asked)) for _ in range(2)
        ]
    for found in again:
        for ours, theirs in zip(found, of_model, strict=True):
            assert by_tokens(ours) == by_tokens(theirs)
            np.testing.assert_allclose(ours.distances, theirs.distances, atol=1e-6)
    assert len({len(found) for found in of_model}) > 3, "the cells differ, and the comparison says something"
    assert all(len(found) > 0 for found in of_model)


def test_blocks_hold_every_input_once_with_the_activations_of_capture(folder):
    sites = [Site.parse(site) for site in SITES]
    domain = IndexedDomain(folder, probed(), few_sums(), block=300)
    assert domain.sites == tuple(sites)
    with no_forward(probed()):
        blocks = list(domain.blocks(sites, None))
    assert torch.equal(torch.cat([part.tokens for part in blocks]), few_sums().rows)
    for part in blocks:
        whole = probed().capture(part.tokens, sites)
        eligible = few_sums().eligible(part.tokens)
        for site in sites:
            assert sorted(part.read.at[site]) == list(range(1, 13))
            for t, z in part.read.at[site].items():
                rows = eligible[:, t]
                assert len(z) == len(part.read.tree.rows[t]) == len(torch.unique(part.tokens[:, : t + 1], dim=0))
                torch.testing.assert_close(
                    z[part.read.tree.owners[t].long()][rows], whole[site][rows, t], atol=1e-5, rtol=1e-4
                )


@pytest.mark.parametrize("roles", [("A4",), ("F2", "="), ("E",)])
def test_positions_are_those_that_the_model_would_be_run_to(folder, roles):
    sites = [Site.parse("a0.1")]
    ours = IndexedDomain(folder, probed(), few_sums(), block=22)
    theirs = [list(part.read.at[sites[0]]) for part in ModelDomain(probed(), few_sums(), 22).blocks(sites, roles)]
    for _ in range(2):
        assert [list(part.read.at[sites[0]]) for part in ours.blocks(sites, roles)] == theirs
    assert ([] in theirs) == (roles != ("F2", "=")), "some blocks have no sum of four digits"


def test_a_prefix_has_one_row_however_the_domain_was_cut(folder):
    counts = {str(t): len(torch.unique(few_sums().rows[:, : t + 1], dim=0)) for t in range(1, 13)}
    for site, block in zip(SITES, BLOCKS, strict=True):
        description = json.loads((folder / site / "index.json").read_text())
        assert (description["positions"], description["block"], description["site"]) == (counts, block, site)
        for t, count in counts.items():
            assert (folder / site / f"{t}.f32").stat().st_size == count * 16 * 4


def test_a_domain_in_any_order_whose_last_inputs_are_short_is_kept(tmp_path):
    task = FewSums((995, 503, 100))
    build_index(probed(), task, "a0.1", tmp_path, block=1)
    site = Site.parse("a0.1")
    for block in (1, 4, 9):
        for part in IndexedDomain(tmp_path, probed(), task, block=block).blocks([site], None):
            whole, eligible = probed().capture(part.tokens, [site])[site], task.eligible(part.tokens)
            for t, z in part.read.at[site].items():
                found = z[part.read.tree.owners[t].long()]
                torch.testing.assert_close(found[eligible[:, t]], whole[eligible[:, t], t], atol=1e-5, rtol=1e-4)


def test_a_model_in_half_precision_is_kept_in_single(tmp_path):
    model = ProbedModel(gpt2().to(torch.bfloat16))
    task = FewSums(NUMBERS)
    build_index(model, task, "x0.post", tmp_path)
    (block,) = IndexedDomain(tmp_path, model, task).blocks([Site.parse("x0.post")], ["="])
    kept = block.read.at[Site.parse("x0.post")][8]
    assert kept.dtype == torch.float32
    torch.testing.assert_close(kept, model.capture(task.rows, "x0.post", 8)[Site.parse("x0.post")].float())


def test_progress_is_told_how_far_it_is(tmp_path):
    told = []
    build_index(probed(), FewSums(NUMBERS), "embed", tmp_path, block=7, progress=lambda *n: told.append(n))
    assert told == [(7, 16), (14, 16), (16, 16)]


def test_ensure_builds_what_is_missing_and_opens_what_is_there(tmp_path):
    task = FewSums(NUMBERS)
    assert ensure_index(probed(), task, "a0.1", tmp_path / "new").sites == (Site.parse("a0.1"),)
    with no_forward(probed()):
        assert ensure_index(probed(), task, "blocks.0.attn.hook_result.1", tmp_path / "new").sites
    assert ensure_index(probed(), task, "a0.0", tmp_path / "new").sites == (Site.parse("a0.0"), Site.parse("a0.1"))
    (tmp_path / "new" / "a0.0").rename(tmp_path / "new" / ".a0.0.old")  # as a kill between two renames leaves it
    with no_forward(probed()):
        assert len(ensure_index(probed(), task, "a0.0", tmp_path / "new").sites) == 2


def test_a_kill_in_the_middle_of_a_build_leaves_nothing_that_opens(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / ".a0.1.part" / "8.f32").stat().st_size, "it was in the middle"
    with pytest.raises(UserError, match=r"there is no index in .* build one with build_index\("):
        IndexedDomain(tmp_path, probed(), few_sums())
    assert ensure_index(probed(), few_sums(), "a0.1", tmp_path).sites == (Site.parse("a0.1"),)
    assert [path.name for path in tmp_path.iterdir()] == ["a0.1"]


def test_a_build_that_fails_leaves_the_old_index(copy):
    def fail(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(probed(), few_sums(), "a0.1", copy, block=100, progress=fail)
    assert sorted(path.name for path in copy.iterdir()) == sorted(SITES)
    first = next(iter(IndexedDomain(copy, probed(), few_sums()).blocks([Site.parse("a0.1")], ["="])))
    assert first.start == 0


@pytest.mark.parametrize("byte", [0, 777, -1])
def test_a_flipped_byte_is_found_and_its_file_named(copy, byte):
    file = copy / "a0.1" / "8.f32"
    content = bytearray(file.read_bytes())
    content[byte] ^= 1
    file.write_bytes(content)
    domain = IndexedDomain(copy, probed(), few_sums())
    assert list(domain.blocks([Site.parse("a0.1")], ["S1"])), "other positions are sound"
    assert list(domain.blocks([Site.parse("x1.post")], None)), "other sites are sound"
    for roles in (["="], None):
        with pytest.raises(UserError, match=r"a0\.1/8\.f32 is damaged: its checksum is wrong; build") as error:
            list(domain.blocks([Site.parse("a0.1")], roles))
        assert "\n" not in str(error.value)


def test_missing_and_truncated_files_are_found_at_once(copy):
    file = copy / "x1.post" / "11.f32"
    content = file.read_bytes()
    for wrong in (content[:-1], b"", content + b"0"):
        file.write_bytes(wrong)
        with pytest.raises(UserError, match=r"x1\.post/11\.f32 is damaged: it has [\d,]+ bytes, not [\d,]+; build one"):
            IndexedDomain(copy, probed(), few_sums())
    file.unlink()
    with pytest.raises(UserError, match=r"x1\.post/11\.f32 is damaged: it is missing"):
        IndexedDomain(copy, probed(), few_sums())
    (copy / "x1.post" / "index.json").unlink()
    with pytest.raises(UserError, match=r"there is no index of activations at .*index\.json"):
        ensure_index(probed(), few_sums(), "x1.post", copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, r"index\.json was written by a newer inversionview \(schema 2\)"),
        ({"schema": None}, r"index\.json is not the description of an index"),
        ({"positions": None}, r"index\.json is damaged: positions is missing or wrong"),
        ({"positions": {"=": 1}}, "positions and checksums are not what was written"),
        ({"checksums": {"8": "x"}}, "positions and checksums are not what was written"),
        ({"checksums": {"8": 1}}, "positions and checksums are not what was written"),
        ({"site": "x1.post"}, r"a0\.1 is of the site x1\.post, not a0\.1"),
        ({"d_model": 8}, r"a0\.1 is of activations of width 8, not 16"),
    ],
)
def test_a_damaged_description_is_told(copy, change, message):
    file = copy / "a0.1" / "index.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=message):
        IndexedDomain(copy, probed(), few_sums())


def test_a_description_that_is_no_json_or_lacks_a_position_is_told(copy):
    file = copy / "a0.1" / "index.json"
    content = json.loads(file.read_text())
    for table in ("positions", "checksums"):
        del content[table]["8"]
    file.write_text(json.dumps(content))
    domain = IndexedDomain(copy, probed(), few_sums())
    with pytest.raises(UserError, match=r"index\.json is damaged: it lacks position 8"):
        list(domain.blocks([Site.parse("a0.1")], ["="]))
    file.write_text(file.read_text()[:-9])
    with pytest.raises(UserError, match=r"index\.json is damaged or truncated"):
        IndexedDomain(copy, probed(), few_sums())


def test_another_model_convention_or_task_is_refused(folder):
    others = (
        (probed(1), few_sums(), f"the model with fingerprint {probed().fingerprint[:12]}, not"),
        (probed(convention="raw"), few_sums(), "activations in convention tl, not raw"),
        (probed(), FewSums(NUMBERS), "a domain of size 1156, not 16"),
    )
    for model, task, message in others:
        with pytest.raises(UserError, match=rf"the index .*a0\.1 is of {message}.*: build one with build_index\("):
            IndexedDomain(folder, model, task)
        with pytest.raises(UserError, match=message):
            ensure_index(model, task, "a0.0", folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(SITES)


def test_other_inputs_under_the_same_name_are_refused(folder):
    others = FewSums((*range(200, 212), *range(494, 504), *range(984, 996)))
    domain = IndexedDomain(folder, probed(), others)
    with pytest.raises(UserError, match=r"a0\.1 was made of other inputs than addition has now: build"):
        list(domain.blocks([Site.parse("a0.1")], None))


def test_a_task_of_another_name_is_refused(folder):
    task = FewSums(few_sums().numbers.tolist())
    task.name = "subtraction"
    with pytest.raises(UserError, match="is of the task addition, not subtraction"):
        IndexedDomain(folder, probed(), task)


def test_a_site_that_was_not_kept_is_told_with_how_to_keep_it(folder):
    domain = IndexedDomain(folder, probed(), few_sums())
    with pytest.raises(UserError, match=r"has no site a0\.0, only a0\.1, x1\.post: build one with .*'a0\.0'"):
        list(domain.blocks([Site.parse("a0.0")], None))
    with pytest.raises(UserError, match="this model has no site a7"):
        build_index(probed(), few_sums(), "a7.0", folder)


def test_a_domain_without_end_has_no_index(tmp_path):
    task = FewSums(NUMBERS)
    task.size = None
    for call in (
        lambda: build_index(probed(), task, "a0.0", tmp_path),
        lambda: IndexedDomain(tmp_path, probed(), task),
    ):
        with pytest.raises(UserError, match="cannot be enumerated"):
            call()
    assert not list(tmp_path.iterdir())
