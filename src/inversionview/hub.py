"""The Hugging Face hub: names of what lies there, and what can go wrong when it is asked. Needs no torch."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from inversionview.errors import UserError, one_line

TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""The disk's errors, which are not the hub's."""
_STUDY = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w.][\w./-]*))?", re.ASCII)


class HubName(NamedTuple):
    """Of a repository, and of a branch, tag or commit of it; None stands for the newest."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


class HubUnreachableError(UserError):
    """The hub gave no answer: what is here already has to do."""


def study_name(name: str, revision: str | None = None) -> HubName | None:
    """What `user/name` or `user/name@revision` stands for; None where it is no such name.

    Raises `UserError` where two different revisions are given.
    """
    hub = _STUDY.fullmatch(name)
    if hub is None or name.endswith(".toml"):
        return None
    if revision is not None and hub["revision"] not in (None, revision):
        raise UserError(f"{name} names a revision already: leave out revision {revision!r}")
    return HubName(hub["repo"], revision or hub["revision"])


@contextmanager
def asking(name: HubName, what: str, *, pushing: bool = False) -> Iterator[None]:
    """What the hub's client raises in this block, as a `UserError` of one line; `what` it is that is asked for.

    `HubUnreachableError` where the hub gave no answer.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    repo, revision = name
    try:
        yield
    except UserError:
        raise
    except GatedRepoError as error:
        raise UserError(
            f"the {what} {repo} is gated: ask for access on its page, then log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"the {what} {repo} on the hub has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"there is no folder {repo}, and no {what} of that name on the hub that you may read"
        ) from error
    except Exception as error:  # of the HTTP library, which is another one in each major version of huggingface_hub
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise UserError(
                f"the hub does not let you {'write' if pushing else 'read'} {repo}: log in with `hf auth login`, or "
                "set HF_TOKEN to a token that may"
            ) from error
        if (number := getattr(error, "errno", None)) in _NO_ROOM:
            raise UserError(f"the {what} {repo} cannot be kept here: {os.strerror(number)}") from error
        if status is not None and status < 500:
            raise UserError(f"the hub refused what was asked of {repo}: {one_line(error)}") from error
        at = "" if revision is None else f" at revision {revision}"
        lacks = f"there is no folder {repo}, no local copy of a {what} of that name{at}, and "
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        begin = f"{repo} was not pushed: " if pushing else lacks
        raise HubUnreachableError(f"{begin}the hub cannot be reached: {one_line(cause)}") from error
