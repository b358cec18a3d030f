"""Read what an activation inside a language model encodes: the inputs that the model cannot tell apart there.

```python
import inversionview as iv

study = iv.load_study("addition")
query = study.query("615+861=1476", at="=", site="a0.0")
preimage = study.preimage(query, n=1000)
```

Names are imported when they are first used, so that `import inversionview` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from inversionview.imports import uncollected

if TYPE_CHECKING:
    from inversionview.decoder.model import Decoder as Decoder
    from inversionview.errors import UserError as UserError
    from inversionview.preimage.sources.registry import register_source as register_source
    from inversionview.probed.architectures import Architecture as Architecture
    from inversionview.probed.architectures import architecture_of as architecture_of
    from inversionview.probed.architectures import register_architecture as register_architecture
    from inversionview.probed.model import ProbedModel as ProbedModel
    from inversionview.probed.patching import Patch as Patch
    from inversionview.results.preimage import Preimage as Preimage
    from inversionview.results.preimage import Query as Query
    from inversionview.sites import Site as Site
    from inversionview.studies.recipes import Budget as Budget
    from inversionview.studies.recipes import TaskSource as TaskSource
    from inversionview.studies.recipes import register_probed_recipe as register_probed_recipe
    from inversionview.studies.recipes import register_recipe as register_recipe
    from inversionview.studies.study import Study as Study
    from inversionview.studies.study import load_study as load_study
    from inversionview.studies.study import open_study as open_study
    from inversionview.studies.training_runs import train_decoder as train_decoder
    from inversionview.studies.training_runs import train_probed as train_probed
    from inversionview.tasks import get_task as get_task
    from inversionview.tasks import register_task as register_task
    from inversionview.tasks.base import Feature as Feature
    from inversionview.tasks.base import Task as Task
    from inversionview.tasks.listed import ListedTask as ListedTask

_HOMES = {
    "Architecture": "probed.architectures",
    "Budget": "studies.recipes",
    "Decoder": "decoder.model",
    "Feature": "tasks.base",
    "ListedTask": "tasks.listed",
    "Patch": "probed.patching",
    "Preimage": "results.preimage",
    "ProbedModel": "probed.model",
    "Query": "results.preimage",
    "Site": "sites",
    "Study": "studies.study",
    "Task": "tasks.base",
    "TaskSource": "studies.recipes",
    "UserError": "errors",
    "architecture_of": "probed.architectures",
    "get_task": "tasks",
    "load_study": "studies.study",
    "open_study": "studies.study",
    "register_architecture": "probed.architectures",
    "register_probed_recipe": "studies.recipes",
    "register_recipe": "studies.recipes",
    "register_source": "preimage.sources.registry",
    "register_task": "tasks",
    "train_decoder": "studies.training_runs",
    "train_probed": "studies.training_runs",
}

__all__ = [*_HOMES]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with uncollected():
        value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
