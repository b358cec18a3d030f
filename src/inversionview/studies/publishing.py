"""A study to the Hugging Face hub: its parts as `save` writes them, and a card that says what it reads, how well."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from inversionview.errors import UserError
from inversionview.hub import asking, study_name
from inversionview.results.evaluation import Evaluation, Rate
from inversionview.studies.description import (
    EXPLANATIONS,
    MAP,
    TRAINING,
    StudyDescription,
    read_description,
    write_description,
)
from inversionview.studies.finding import FOLDERS
from inversionview.studies.folder import named_model, save_parts
from inversionview.studies.parts import Parts

CARD = "README.md"
TAGS = ["inversionview", "interpretability"]


def push(
    parts: Parts,
    name: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    message: str | None = None,
    half: bool = False,
    license: str | None = None,
    evaluation: Evaluation | None = None,
) -> str:
    """Write a study into a repository of the hub, made if there is none, as one commit; see `Study.push_to_hub`."""
    from huggingface_hub import HfApi

    to = study_name(name, revision)
    if to is None:
        raise UserError(f"{name!r} is no name of a repository on the hub: give user/name")
    if evaluation is not None and evaluation.study != parts.name:
        raise UserError(f"the evaluation is of study {evaluation.study}, and this is {parts.name}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "study"
        save_parts(parts, folder, half=half, by_name=True)
        described = _without_paths(folder)
        (folder / CARD).write_text(card(parts, described, to.repo, license, evaluation), encoding="utf-8")
        api = HfApi()
        with asking(to, "repository", pushing=True):
            api.create_repo(to.repo, private=private, exist_ok=True)
            if to.revision is not None:
                api.create_branch(to.repo, branch=to.revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=to.repo,
                folder_path=folder,
                revision=to.revision,
                commit_message=message or f"Study {parts.name}",
                delete_patterns=[MAP, EXPLANATIONS, *FOLDERS],  # what an earlier study had there and this one has not
            )
    return str(commit.oid)


def card(
    parts: Parts, described: StudyDescription, repo: str, license: str | None, evaluation: Evaluation | None
) -> str:
    """The model card, as Markdown with the hub's fields on top."""
    from huggingface_hub import ModelCardData

    model = named_model(parts)
    fields: dict[str, Any] = {} if model is None else {"base_model": model}
    data = ModelCardData(library_name="inversionview", tags=TAGS, license=license, **fields)
    sections = [
        f"---\n{data.to_yaml()}\n---",
        f"# {described.name}",
        f"A study for inversionview, which reads what an activation encodes by the inputs that share it. "
        f"{described.about}".strip(),
        f'```python\nimport inversionview as iv\n\nstudy = iv.load_study("{repo}")\n```',
        "## What it reads\n\n" + "\n".join(f"- {line}" for line in _reads(described, model)),
        "## How well it reads\n\n" + _rates(described, evaluation),
        "## Training\n\n" + _training(parts, described),
        "## Licence\n\n" + _licence(license, model),
    ]
    return "\n\n".join(sections) + "\n"


def _reads(described: StudyDescription, model: str | None) -> Iterator[str]:
    where = "a copy in `probed/`" if model is None else f"[{model}](https://huggingface.co/{model})"
    revision = described.loading.get("revision")
    at = f", revision `{revision}`" if revision else ""
    yield f"Probed model: {where}{at}, fingerprint `{described.fingerprint[:12]}`; any other is refused."
    yield f"Inputs: task `{described.task}`."
    yield f"{len(described.sites)} sites: {', '.join(f'`{site}`' for site in described.sites)}."
    yield f"Activations in convention `{described.convention}`."
    own = f" (by site, chosen by `{described.epsilon_rule}`)" if described.epsilons else ""
    limit = f"ε = {described.epsilon:g}{own}"
    yield f"Members: inputs whose activation is within {limit} of the query's, metric `{described.metric}`."


def _rates(described: StudyDescription, evaluation: Evaluation | None) -> str:
    """The in-ε rates beside their floors, as a table."""
    if described.decoder is None:
        return "It has no decoder: inputs are proposed by a bank of activations or by the prior."
    if evaluation is None:
        return "The rates of its decoder were not measured when it was pushed; `study.evaluate()` measures them."
    rows = [*evaluation.sites.items(), ("mean", evaluation.mean)]
    table = "\n".join(
        f"| {site} | {_rate(rates.any)} | {rates.any.floor:.3f} | {_rate(rates.same)} | {rates.same.floor:.3f} |"
        for site, rates in rows
    )
    return (
        f"How often one sample of the decoder is a member, of {evaluation.n:,} held-out queries a site (seed "
        f"{evaluation.seed}), ± one standard error; the floor is how often a random input of the domain is.\n\n"
        "| site | any position | floor | same position | floor |\n| --- | ---: | ---: | ---: | ---: |\n"
        f"{table}\n\nSamples in the domain: {evaluation.in_domain:.2%}. The probed model is right on "
        f"{evaluation.accuracy:.2%} of held-out inputs."
    )


def _rate(rate: Rate) -> str:
    return f"{rate.rate:.3f}" if rate.se is None else f"{rate.rate:.3f} ± {rate.se:.3f}"


def _training(parts: Parts, described: StudyDescription) -> str:
    if described.decoder is None:
        return "Nothing was trained to read it."
    config = parts.decoder.config if parts.decoder is not None else None
    sizes = "" if config is None else f" {config.n_layers} layers of width {config.d_model}."
    recipe = f"Its decoder was trained by recipe `{described.recipe or described.task}`."
    made_of = f" It is made of the language model {described.decoder_from}." if described.decoder_from else sizes
    return recipe + made_of + _run(parts.folder)


def _run(folder: Path | None) -> str:
    """How long the run was, where the folder is that of the run."""
    with suppress(OSError, ValueError, KeyError, IndexError, TypeError):
        lines = (Path(folder or "") / TRAINING / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        last = json.loads(lines[-1])
        return f" The run took {last['step']:,} steps in {last['seconds'] / 60:.0f} minutes."
    return ""


def _licence(license: str | None, model: str | None) -> str:
    if license is not None:
        return f"`{license}`, as whoever pushed it says."
    if model is not None:
        return f"The probed model is not in this repository: its own licence is that of [{model}](https://huggingface.co/{model})."
    return "Whoever pushed it named no licence for the probed model, a copy of which is in this repository."


def _without_paths(folder: Path) -> StudyDescription:
    """Take the paths of this machine out of the description."""
    described = read_description(folder)
    from_ = described.decoder_from
    described = replace(described, bank="", decoder_from=Path(from_).name if Path(from_).is_absolute() else from_)
    write_description(folder, described)
    return described
