from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from inversionview.errors import UserError
from inversionview.results.map import Map
from inversionview.studies.description import MAP, bundled_studies, read_description
from inversionview.studies.folder import FolderParts
from inversionview.studies.kept_map import keep_map, kept_map, write_map
from inversionview.studies.study import Study, load_study
from tests.preimage.tiny import save_study

WITH_MAPS = [name for name, folder in bundled_studies().items() if (folder / MAP).is_file()]


@pytest.fixture
def study(tmp_path):
    return load_study(save_study(tmp_path / "tiny"))


FOUND = Map(
    study="tiny", task="addition", input=None, where=None, epsilon=0.1, epsilon_rule="0.1", metric="euclidean",
    position_rule="same", queries=2, seed=0, exact=True, domain=None, sites=(), ats=(), cells=(),
)  # fmt: skip


def test_a_map_is_kept_with_its_study(study):
    assert kept_map(study) is None
    keep_map(study, FOUND)
    assert kept_map(study) == FOUND


def test_a_map_of_another_model_or_task_or_none_is_not_shown(study):
    keep_map(study, FOUND)
    for change in ({"fingerprint": "another"}, {"task": "counting"}):
        description = dataclasses.replace(read_description(study.folder), **change)
        assert kept_map(Study.of(FolderParts(study.folder, description))) is None
    for content in ("{", "[]", '{"schema": 2}', json.dumps({"schema": 1, "map": []}), json.dumps({"schema": 1})):
        (study.folder / MAP).write_text(content)
        assert kept_map(study) is None


def test_where_nothing_can_be_written_nothing_is_kept_and_nobody_is_troubled(study):
    shutil.rmtree(study.folder)
    keep_map(study, FOUND)
    with pytest.raises(UserError, match="cannot write"):
        write_map(study.folder, "f", FOUND)


def test_bundled_studies_come_with_maps_of_their_models():
    assert {"addition", "counting", "facts-small", "ioi-small"} <= set(WITH_MAPS)
    for name in WITH_MAPS:
        study = load_study(name)
        found = kept_map(study)
        assert found is not None, name
        assert found.sites == study.sites
        assert found.study == name
        assert len(found.cells) > len(study.sites)
        keep_map(study, FOUND)
        assert kept_map(study) == found  # what is shipped is not written over
