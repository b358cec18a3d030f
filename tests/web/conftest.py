from __future__ import annotations

import pytest

from inversionview.studies.study import load_study
from tests.preimage.tiny import few_sums, save_study
from tests.web.served import serving


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A study of tiny models."""
    return save_study(tmp_path_factory.mktemp("web") / "tiny")


@pytest.fixture(scope="session")
def study(folder):
    """The same, opened, with few inputs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inversionview.studies.study.get_task", lambda name, *of: few_sums())
        opened = load_study(folder)
        _ = opened.task
    return opened


@pytest.fixture(scope="session")
def client(study):
    """A client of a server of this study."""
    with serving(study) as client:
        yield client
