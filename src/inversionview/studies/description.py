"""What a study says of itself on disk, `study.json`, and the studies that come with the package. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from inversionview.criterion import checked_epsilon
from inversionview.errors import UserError
from inversionview.files import checked_schema, read_json, write_json
from inversionview.sites import Site

SCHEMA = 1
FILE = "study.json"
PROBED, DECODER, TRAINING, TASK = "probed", "decoder", "training", "task"
"""The folders of a study."""
MAP, EXPLANATIONS = "map.json", "explanations.json"
"""What is kept with it where it was made: what each site knows, and what it says in words."""


@dataclass(frozen=True)
class StudyDescription:
    """A probed model, the task it was trained on, and the sites at which a decoder can read it."""

    name: str
    task: str
    convention: str
    sites: tuple[str, ...]
    metric: str
    epsilon: float
    """Largest distance of a member, at the sites that `epsilons` leaves out."""
    probed: str
    """`probed`, the folder beside this file; or the absolute path or the hub's name of a model."""
    fingerprint: str
    """Of the probed model; what is trained for another one is refused."""
    decoder: str | None
    """`decoder`, the folder beside this file; None before one is trained."""
    recipe: str = ""
    """By which decoders are trained for it; empty where it has the task's name."""
    epsilons: Mapping[str, float] = field(default_factory=dict)
    """By site, where each has its own; see `epsilon_rule`."""
    epsilon_rule: str = ""
    """How `epsilons` were chosen, such as `null:0.02`."""
    decoder_from: str = ""
    """The language model that the decoder is made of: a folder, a name on the hub, or `self` (the probed model);
    empty for layers of its own.
    """
    lora_rank: int = 0
    """Of the matrices that LoRA adds to that model; 0: all of its weights are trained."""
    read: str = "anywhere"
    """Which activations the decoder is trained on and measured by: `anywhere`, or `attended`; see `decoder.places`."""
    dtype: str = ""
    """Type of numbers that the probed model is loaded in, such as `bfloat16`; empty: as it was saved."""
    loading: Mapping[str, str] = field(default_factory=dict)
    """What else it takes to find and load a model that is not beside this file: `revision`, `base`, `begin`."""
    bank: str = ""
    """Folder of the bank that the decoder's training began with; empty for new inputs from the first."""
    about: str = ""
    """What the task says of itself, in a sentence."""

    def epsilon_at(self, site: str) -> float:
        """Largest distance of a member at this site, where nothing else is asked for."""
        return self.epsilons.get(site, self.epsilon)


def bundled_studies() -> dict[str, Path]:
    """The folders of the studies that come with the package, by name."""
    assets = Path(str(files("inversionview"))) / "assets"
    return {path.parent.name: path.parent for path in sorted(assets.glob(f"*/{FILE}"))}


def write_description(folder: Path, description: StudyDescription) -> None:
    """Write `study.json`. Raises `UserError` when it cannot be written."""
    write_json(folder / FILE, {"schema": SCHEMA, **asdict(description)})


def read_description(folder: Path) -> StudyDescription:
    """Read `study.json`. Raises `UserError` naming it when it is missing, damaged or written by a newer version."""
    file = folder / FILE
    content = checked_schema(read_json(file, "study description"), file, "the description of a study", SCHEMA)
    for name, kind in _KINDS.items():
        content.setdefault(name, _LATER.get(name))
        if not isinstance(content[name], kind):
            raise UserError(f"{file} is damaged: {name} is {_shown(content[name])}")
    return StudyDescription(
        **{name: content[name] for name in _KINDS if name not in ("sites", "epsilon", "epsilons")},
        sites=tuple(str(Site.parse(site)) for site in content["sites"]),
        epsilon=checked_epsilon(content["epsilon"]),
        epsilons={str(Site.parse(site)): checked_epsilon(one) for site, one in content["epsilons"].items()},
    )


_KINDS: dict[str, Any] = {
    "name": str,
    "task": str,
    "convention": str,
    "sites": list,
    "metric": str,
    "epsilon": (int, float),
    "probed": str,
    "fingerprint": str,
    "decoder": (str, type(None)),
    "recipe": str,
    "epsilons": dict,
    "epsilon_rule": str,
    "decoder_from": str,
    "lora_rank": int,
    "read": str,
    "dtype": str,
    "loading": dict,
    "bank": str,
    "about": str,
}
_LATER: dict[str, Any] = {
    "recipe": "",
    "epsilons": {},
    "epsilon_rule": "",
    "decoder_from": "",
    "lora_rank": 0,
    "read": "anywhere",
    "dtype": "",
    "loading": {},
    "bank": "",
    "about": "",
}
"""What older files lack."""


def _shown(value: object) -> str:
    return "missing" if value is None else f"{value!r}"[:40]
