"""Tiny random models, and what to ask them; shared by the tests of preimages, readings and studies."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from inversionview.criterion import Criterion
from inversionview.decoder.loading import save_decoder
from inversionview.decoder.model import Decoder
from inversionview.decoder.training import make_decoder
from inversionview.preimage.sources.proposals import Draws
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Query
from inversionview.sites import Site
from inversionview.tasks import get_task
from inversionview.tasks.addition.task import AdditionTask

SITES = ("x0.pre", "a0.0", "a0.1", "x0.post", "x1.post")


@functools.cache
def task():
    return get_task("addition")


def gpt2(seed: int = 0, **changes) -> GPT2LMHeadModel:
    fields = {"vocab_size": 15, "n_positions": 14, "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.4}
    config = GPT2Config(**fields | changes, bos_token_id=10, eos_token_id=13, pad_token_id=14)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config).eval()


@functools.cache
def probed(seed: int = 0, convention: str = "tl") -> ProbedModel:
    return ProbedModel(gpt2(seed), convention=convention)


@functools.cache
def decoder(sites: tuple[str, ...] = SITES) -> Decoder:
    made = make_decoder(
        probed(),
        task(),
        [Site.parse(site) for site in sites],
        n_statistics=256,
        d_model=16,
        n_heads=2,
        trunk_blocks=1,
        trunk_width=16,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in made.parameters():  # some weights start at zero, and would hide what depends on them
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def query(text: str = "615+861=1476", at: str = "=", site: str = "a0.0") -> Query:
    tokens = task().encode(text)
    position = int(task().position_of(tokens[None], at)[0])
    strings = tuple(task().token_strings(tokens))
    return Query("addition", text, tuple(tokens.tolist()), strings, position, at, site)


def with_criterion(options):
    """Settings, with the three that make an input a member as one criterion."""
    names = ("epsilon", "metric", "position_rule")
    rest = {name: value for name, value in options.items() if name not in names}
    return rest | {"criterion": Criterion.parse(**{name: options[name] for name in names if name in options})}


class Fixed:
    """A source that proposes the rows it was given, to every query."""

    density = None

    def __init__(self, tokens: torch.Tensor, name: str = "fixed", log_prob: float = float("nan")) -> None:
        self.tokens, self.name, self._log_prob = tokens, name, log_prob

    def propose(self, activations, queries, generators) -> Draws:
        shape = (len(activations), *self.tokens.shape)
        return Draws(self.tokens.expand(shape), torch.full(shape[:2], self._log_prob))


class FewSums(AdditionTask):
    """The sums of a few numbers with each other, in the order of their token ids; all equally probable, or not."""

    def __init__(self, numbers: Sequence[int], tilt: float = 0.0) -> None:
        self.numbers = torch.tensor(numbers)
        self.weights = 1 + tilt * torch.arange(len(numbers)).double()
        """How probable each first number is."""
        self.size = len(numbers) ** 2
        self.rows = self._from_numbers(*torch.cartesian_prod(self.numbers, self.numbers).unbind(1))

    def enumerate(self, block: int = 65536) -> Iterator[torch.Tensor]:
        yield from torch.split(self.rows, block)

    def sample(self, n: int, *, generator: torch.Generator, split: str = "all") -> torch.Tensor:
        first = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        second = torch.randint(len(self.numbers), (n,), generator=generator)
        return self.rows[first * len(self.numbers) + second]

    def contains(self, tokens: torch.Tensor) -> torch.Tensor:
        inside = super().contains(tokens)
        for start in (1, 5):
            inside &= torch.isin(self._number(tokens, start), self.numbers)
        return inside

    def log_prior(self, tokens: torch.Tensor) -> torch.Tensor:
        first = (self._number(tokens, 1)[:, None] == self.numbers).double() @ self.weights
        share = first / (self.weights.sum() * len(self.numbers))
        return torch.where(self.contains(tokens), share.log(), -torch.inf).float()


@functools.cache
def few_sums(tilt: float = 0.0) -> FewSums:
    """1,156 sums, of three and of four digits, with and without carries."""
    return FewSums((*range(100, 112), *range(494, 504), *range(984, 996)), tilt)


def rows(*texts: str) -> torch.Tensor:
    """Inputs typed with B and E, malformed ones too, padded to the task's length."""
    symbols = "0123456789B+=E_"
    return torch.tensor([[symbols.index(c) for c in text.ljust(14, "_")] for text in texts])


def study(task=None, *, with_decoder: bool = True, **settings):
    """A study of the tiny models in memory, of few sums."""
    from inversionview.studies.study import Study

    settings = {"epsilon": 0.5, "name": "tiny", "sites": SITES} | settings
    return Study(probed(), task or few_sums(), decoder() if with_decoder else None, **settings)


def save_study(folder: Path, *, with_decoder: bool = True, **changes) -> Path:
    """Write a study of the tiny models."""
    from inversionview.studies.description import StudyDescription, write_description

    folder.mkdir(parents=True, exist_ok=True)
    probed().model.save_pretrained(folder / "probed")
    if with_decoder:
        save_decoder(decoder(), folder / "decoder")
    fields = {
        "name": "tiny",
        "task": "addition",
        "convention": "tl",
        "sites": SITES,
        "metric": "euclidean",
        "epsilon": 0.5,
        "probed": "probed",
        "fingerprint": probed().fingerprint,
        "decoder": "decoder" if with_decoder else None,
    }
    write_description(folder, StudyDescription(**fields | changes))
    return folder


class Endless(FewSums):
    """A domain that only draws are known of, and how probable each input is."""

    def __init__(self) -> None:
        super().__init__(range(100, 1000))
        self.inputs, self.size = self.size, None


def first_input(study) -> str:
    return study.task.decode(study.task.sample(1, generator=torch.Generator().manual_seed(9))[0])
