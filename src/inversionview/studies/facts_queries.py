"""Which heads are read in factual recall, at which inputs and positions, as in the paper.

Source: InversionView (arXiv 2405.17653), appendix on factual recall.

The heads are those that most often count at END, by `causal.head_selection`; inputs and positions are those of
`decoder.places.Attended`, by which a decoder of recipe `facts` is trained and measured too.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from inversionview.decoder.places import ROLE, Attended
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.seeds import seeded
from inversionview.shapes import Positions, Tokens
from inversionview.sites import Site
from inversionview.studies.settings import HeadSettings, Layers
from inversionview.studies.verbs.attribution import choose_heads
from inversionview.tasks.base import Task

HEADS = 25
INPUTS = 500
"""By which heads are chosen."""


class Queries(NamedTuple):
    """Inputs [batch, pos], the position [batch] at which each is read, and how much the head looks at begin there."""

    tokens: Tokens
    positions: Positions
    to_begin: Float[Tensor, " batch"]


def heads_at_end(
    probed: ProbedModel, task: Task, *, n: int = INPUTS, heads: int = HEADS, layers: Layers = "upper", seed: int = 0
) -> tuple[str, ...]:
    """The heads, `a0.1`, that count most often at END of `n` random training inputs, most often first.

    In the paper those of the upper half of the layers alone, at the prompts of COUNTERFACT's known facts.

    Raises `UserError` for a task whose inputs have no END.
    """
    selection = choose_heads(probed, task, HeadSettings(at=ROLE, n=n, layers=layers, seed=seed))
    return tuple(head.site for head in selection.heads[:heads])


def choose_queries(probed: ProbedModel, task: Task, head: str | Site, n: int, *, seed: int = 0) -> Queries:
    """`n` queries of a head: the first half at END, the rest where it looks least at the begin token.

    Raises `UserError` for what is no head, and a head that looks at the begin token nearly everywhere.
    """
    site = Site.parse(head)
    if site.kind != "head" or site not in probed.sites:
        raise UserError(f"{head} is no head of this model; heads are written as a0.0")
    places = Attended(probed, task, (site,))
    tokens, positions, _ = places.at([site], n, seeded(seed), "all")
    to_begin = probed.attention_to(tokens, [site])[site].float().cpu()
    return Queries(tokens, positions, to_begin.gather(1, positions[:, None])[:, 0])
