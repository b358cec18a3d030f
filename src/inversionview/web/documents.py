"""What the page is told about a study before anything is asked."""

from __future__ import annotations

from typing import Any

import torch

from inversionview.criterion import SiteEpsilons
from inversionview.report.reading import visible
from inversionview.results.map import UNASKED
from inversionview.sites import Site
from inversionview.studies.examples import first_view
from inversionview.studies.parts import counts_all
from inversionview.studies.study import Study
from inversionview.tasks.base import Contrastable, Flippable, Restrictable

EXAMPLES = 6
_KINDS = {"resid_pre": "resid", "resid_mid": "resid", "resid_post": "resid", "mlp_out": "mlp", "attn_out": "attn"}


def study_document(name: str, study: Study) -> dict[str, Any]:
    """All that the page needs to ask about this study."""
    task, probed, criterion = study.task, study.probed, study.criterion
    own = criterion.epsilon if isinstance(criterion.epsilon, SiteEpsilons) else None
    examples = example_inputs(study, EXAMPLES, 0)
    return {
        "name": name,
        "task": task.name,
        "about": task.about,
        "architecture": {"layers": probed.n_layers, "heads": probed.n_heads, "d_model": probed.d_model},
        "sites": [site_document(site) for site in study.sites],
        "roles": list(task.roles),
        "features": [
            {
                "name": feature.name,
                "about": feature.about,
                "values": len(feature.values),
                "unasked": feature.name in UNASKED,
            }
            for feature in task.features.values()
        ],
        "columns": list(task.columns),
        "epsilon": criterion.largest,
        "epsilon_rule": str(criterion.epsilon),
        "epsilons": {} if own is None else dict(own.by_site),
        "metric": criterion.metric,
        "has_decoder": study.parts.has_decoder,
        "size": task.size,
        "enumerable": counts_all(study.parts),
        "restrictions": dict(task.restrictions) if isinstance(task, Restrictable) else {},
        "examples": examples,
        "start": _start(study, examples),
        "patch": {"contrasts": _contrasts(study), "targets": list(task.roles)},
    }


def site_document(name: str) -> dict[str, Any]:
    """A site with its place in the model."""
    site = Site.named(name)
    return {"name": name, "kind": _KINDS.get(site.kind, site.kind), "layer": site.layer, "head": site.head}


def tokens_document(study: Study, text: str) -> dict[str, Any]:
    """An input's tokens, and which of them can be read. Raises `UserError` where it is none of the task's."""
    task = study.task
    tokens = task.encode(text)
    strings = task.token_strings(tokens)
    eligible: list[bool] = task.eligible(tokens[None])[0, : len(strings)].tolist()
    return {
        "input": task.decode(tokens),
        "tokens": strings,
        "shown": [visible(text) for text in strings],
        "roles": [task.role(tokens, t) for t in range(len(strings))],
        "eligible": eligible,
        "default": max(t for t, may in enumerate(eligible) if may),
    }


def example_inputs(study: Study, n: int, seed: int) -> list[str]:
    """Distinct inputs of the task that no model of the study was trained on, as one types them."""
    generator = torch.Generator().manual_seed(seed)
    drawn = study.task.sample(4 * n, generator=generator, split="held-out")
    return list(dict.fromkeys(study.task.decode(row) for row in drawn))[:n]


def _start(study: Study, examples: list[str]) -> dict[str, Any]:
    """The first thing to show, with its tokens, so that the page need not ask for them."""
    start = first_view(study, examples)
    [(site, at)] = start.places
    tokens = tokens_document(study, start.input)
    return {"input": tokens["input"], "at": at, "site": site, "tokens": tokens}


def _contrasts(study: Study) -> list[str]:
    of_task = (("flip", Flippable), ("change", Contrastable))
    return ["random", *(name for name, ability in of_task if isinstance(study.task, ability))]
