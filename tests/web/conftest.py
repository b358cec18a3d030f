from __future__ import annotations

import pytest

from inversionview.studies.folder import open_folder
from inversionview.studies.parts import live_parts
from inversionview.studies.study import Study
from tests.preimage.tiny import few_sums, save_study
from tests.web.served import serving


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A study of tiny models."""
    return save_study(tmp_path_factory.mktemp("web") / "tiny")


@pytest.fixture(scope="session")
def study(folder):
    """The same, opened, with few inputs."""
    return Study.of(live_parts(open_folder(folder), task=few_sums()))


@pytest.fixture(scope="session")
def client(study):
    """A client of a server of this study."""
    with serving(study) as client:
        yield client
