"""A domain that one TOML file declares: phrasings with slots, and what fills them; its inputs are equally probable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from inversionview.errors import UserError
from inversionview.files import write_atomic, write_json
from inversionview.shapes import InputMask, NextTokens, OneInput, PerInput, PositionMask, Positions, Tokens
from inversionview.tasks.base import Feature, Split, Start, Task, read_description
from inversionview.tasks.listed import token_feature
from inversionview.tasks.mistakes import where_it_leaves
from inversionview.tasks.template.aspects import Aspect, aspects_of, declared_aspect
from inversionview.tasks.template.changes import (
    check_flip,
    check_kept,
    flipped,
    kept_by,
    redrawn,
    redrawn_but,
    sharing,
)
from inversionview.tasks.template.choices import Choices, Space
from inversionview.tasks.template.file import PHRASING, Declared, bundled, read_template
from inversionview.tasks.template.forms import Forms, check_cut
from inversionview.tasks.template.held_out import held_out_by, held_out_names
from inversionview.tasks.template.reading import Reader
from inversionview.tasks.template.roles import role_table
from inversionview.tasks.template.sources import checked_texts
from inversionview.tasks.template.spelling import Speller, lead_of, misspelt, sources_of, without
from inversionview.tasks.vocabulary import Vocabulary
from inversionview.tasks.words import forms

if TYPE_CHECKING:
    from inversionview.probed.model import ProbedModel

FILE = "template.toml"
ENUMERATED = 2_000_000
"""Most inputs of a domain that is enumerated."""
CHECKED = 20_000
"""Most inputs that are written and read back when a template is opened; of more, each value in each phrasing."""
DRAWN = 1000
"""Inputs of a larger domain that are drawn to be so too."""
_ROUNDS = 1000
_KEPT = 4
"""Tensors of rows of which it is kept what they are made of: a reading asks for many features of the same few."""


class _Read(NamedTuple):
    """What rows are made of."""

    tokens: Tokens
    version: int
    """How often `tokens` had been written to in place when it was read."""
    choices: Choices
    inside: InputMask

    def is_of(self, tokens: Tokens) -> bool:
        """Whether these rows are the same."""
        if self.version != self.tokens._version or self.tokens.device != tokens.device:
            return False
        return self.tokens is tokens or torch.equal(self.tokens, tokens)


class TemplateTask(Task):
    """The inputs of a template in the tokens of one tokenizer; see `docs/domains.md` for what its file can say."""

    vocabulary: Vocabulary
    one_in = 4

    def __init__(self, declared: Declared, vocabulary: Vocabulary) -> None:
        """Raises `UserError`, with the place in the file, for what cannot be, also in this tokenizer alone."""
        self.vocabulary = vocabulary
        self.left_out: dict[str, tuple[str, ...]] = {}
        """Values that this tokenizer cannot write as they are asked for, by where they stand in the file."""
        self.source = declared
        self.declared, self.space, self.forms = self._fitted(declared)
        self.reader = Reader(self.space, self.forms)
        self.name, self.columns = declared.name, declared.columns
        self.max_length = self.forms.max_length
        self.size = self.space.total if self.space.total <= ENUMERATED else None
        self._aspects = aspects_of(self.space)
        self.roles, self._order, self._positions = role_table(self.forms)
        self._out = [
            held_out_by(self.forms, name, rule, self._aspects) for name, rule in self.declared.held_out.items()
        ]
        self._sides = self._listed_sides()
        self._kept: list[_Read] = []
        if self.declared.flip is not None:
            check_flip(self.space, self.declared.flip)
        self._check_changes()
        self._check_texts()
        self.features  # noqa: B018  (what is wrong with them is said now)
        self.start = self._start()

    @classmethod
    def from_file(
        cls, path: str | Path, tokenizer: Any, *, lists: Mapping[str, Sequence[str]] | None = None
    ) -> TemplateTask:
        """The domain of a TOML file in the tokens of a Hugging Face tokenizer; `lists` replace those of the file."""
        vocabulary = tokenizer if isinstance(tokenizer, Vocabulary) else Vocabulary(tokenizer)
        return cls.of(read_template(path, lists=lists), vocabulary)

    @staticmethod
    def of(declared: Declared, vocabulary: Vocabulary) -> TemplateTask:
        """The task of a template that was read; with `flip` where it declares one."""
        return (TemplateTask if declared.flip is None else FlippableTemplateTask)(declared, vocabulary)

    @property
    def kind(self) -> str:
        """Its name where it is one of the package's templates."""
        return self.name if self.name in bundled() else "template"

    @property
    def about(self) -> str:
        """What the file says it is about."""
        return self.declared.about

    def encode(self, text: str) -> OneInput:
        """Tokens [pos] of an input; its final full stop may be left out, and its accented letters typed as one
        character or two. Raises `UserError` for any other text.
        """
        typed = text.strip()
        for said in (form + stop for form in forms(typed) for stop in ("", ".")):
            row = self.vocabulary.row(self.vocabulary.ids(said))
            if bool(self.contains(row[None])[0]):
                return row
        example = self.forms.write(self.space.numbered(torch.tensor([0])))[0]
        raise UserError(f"{typed!r} is not an input of {self.name}: {where_it_leaves(self, typed, example)}")

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` inputs [n, pos] uniformly, with replacement."""
        if self._sides is not None:
            side = self._sides[split]
            return self.forms.write(self.space.numbered(side[torch.randint(len(side), (n,), generator=generator)]))
        kept: list[Tokens] = []
        missing = n
        for _ in range(_ROUNDS):
            if missing <= 0:
                break
            rows = self._side(missing, generator, split)[:missing]
            kept.append(rows)
            missing -= len(rows)
        else:
            raise UserError(f"no input of {self.name} is {'held out' if split == 'held-out' else 'left for training'}")
        return torch.cat(kept) if kept else torch.full((0, self.max_length), self.pad)

    def _side(self, missing: int, generator: torch.Generator, split: Split) -> Tokens:
        drawn = self.space.draw(missing * (1 if split == "all" else 2) + 8, generator)
        if split == "all":
            return self.forms.write(drawn.at(torch.arange(missing)))
        if self._out:
            right = (self._held_out(drawn) > 0) == (split == "held-out")
            return self.forms.write(drawn.at(right.nonzero()[:missing, 0]))
        rows = self.forms.write(drawn)
        return rows[self.is_held_out(rows) == (split == "held-out")]

    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows are one of the inputs, an end token and padding, and nothing else."""
        return self._read(tokens)[1].to(tokens.device, copy=True)

    def log_prior(self, tokens: Tokens) -> PerInput:
        """Minus the logarithm of the number of inputs, for each of them."""
        return torch.where(self.contains(tokens), -math.log(self.space.total), -math.inf).to(torch.float32)

    def enumerate(self, block: int = 65536) -> Iterator[Tokens]:
        """All inputs, phrasing after phrasing. Raises `UserError` where they are more than 2,000,000."""
        if self.size is None:
            raise UserError(
                f"the {self.space.total:,} inputs of {self.name} are too many to enumerate; at most {ENUMERATED:,} are"
            )
        for start in range(0, self.size, block):
            choices = self.space.numbered(torch.arange(start, min(start + block, self.size)))
            tokens = self.forms.write(choices)
            self._keep(tokens, choices, torch.ones(len(tokens), dtype=torch.bool))  # nobody has to read them
            yield tokens

    @property
    def used_tokens(self) -> Int[Tensor, " used"]:
        """Those of its phrasings and of what fills them."""
        return self.forms.used

    def next_tokens(self, tokens: Tokens, start: int = 0) -> NextTokens:
        """Tokens [batch, pos, used] with which what stands up to each position can go on to become an input."""
        return self.reader.next_tokens(tokens.cpu(), start).to(tokens.device)

    def places(self, tokens: Tokens) -> dict[str, Positions]:
        """Position [batch] of each role, -1 in rows that are no input."""
        choices, inside = self._read(tokens)
        found = self.forms.positions([self._positions[name] for name in self._order], self.forms.layout(choices))
        return {
            name: torch.where(inside, position, -1).to(tokens.device)
            for name, position in zip(self._order, found, strict=True)
        }

    def is_held_out(self, tokens: Tokens) -> InputMask:
        """Which inputs a rule of the file holds out; without rules, a quarter by hashes of tokens."""
        if not self._out:
            return super().is_held_out(tokens) & self.contains(tokens)
        choices, inside = self._read(tokens)
        return ((self._held_out(choices) > 0) & inside).to(tokens.device)

    def answer_mask(self, tokens: Tokens) -> PositionMask:
        """The tokens of the answer."""
        choices, inside = self._read(tokens)
        mask = self.forms.answer(self.forms.layout(choices), tokens.shape[1])
        return (mask & inside[:, None]).to(tokens.device)

    @cached_property
    def features(self) -> dict[str, Feature]:
        """The slots, the phrasing, what the file declares, what is held out, and the token there and its position."""
        aspects = self._declared_aspects()
        if self._out and self.declared.features.get("held out") is not False:
            values = held_out_names(list(self.declared.held_out))
            aspects["held out"] = Aspect(values, self._held_out, "what of it is seen in no training")
        made = {
            name: Feature(name, aspect.values, self._computing(aspect), aspect.about)
            for name, aspect in aspects.items()
        }
        indices = tuple(str(t) for t in range(self.max_length))
        position = Feature("position", indices, lambda x, t: t, "the index of the position")
        return made | {"token": token_feature(self.vocabulary, self.forms.used), "position": position}

    def change(self, tokens: Tokens, roles: tuple[str, ...], generator: torch.Generator) -> Tokens:
        """Draw anew what the slots named `roles` are made of, the `phrasing` or a part of it, and redo the answer.

        Raises `UserError` for anything else.
        """
        known = self._changes
        unknown = [role for role in roles if role not in known]
        if unknown or not roles:
            raise UserError(f"{self.name} can change {', '.join(known)}, not {', '.join(unknown) or 'nothing'}")
        choices, inside = self._read(tokens)
        for name in dict.fromkeys(one for role in roles for one in known[role]):
            choices = self._redrawn(name, choices, generator)
        return self._written(choices, inside, tokens)

    def edit(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """Draw one of each input's choices anew, given all others."""
        read, inside = self._read(tokens)
        choices = Choices(read.phrasing.clone(), read.codes.clone())
        moves = [*self.space.bases, *(self.declared.parts or (PHRASING,))]
        move = torch.randint(len(moves), (len(tokens),), generator=generator)
        for number, name in enumerate(moves):
            rows = ((move == number) & inside).nonzero()[:, 0]
            if len(rows):
                changed = redrawn(self.space, name, choices.at(rows), generator)
                choices.phrasing[rows], choices.codes[rows] = changed
        return self._written(choices, inside, tokens)

    # Parts that can be enumerated

    @property
    def restrictions(self) -> Mapping[str, str]:
        """What may be given: slots that inputs share, or `all-but:` those that they need not."""
        return _Restrictions(self)

    def given(self, tokens: OneInput, name: str) -> Task:
        """The inputs that share with this one the slots `A,B`, or all but those of `all-but:A,B`."""
        kept = kept_by(self.space, name, self._keepable)
        choices, inside = self._read(tokens[None])
        if not bool(inside[0]):
            raise UserError(f"{self.decode(tokens)!r} is not an input of {self.name}")
        return PartOfTemplate(
            self, torch.cat([self.forms.write(made) for made in sharing(self.space, choices, kept, self._aspects)])
        )

    @cached_property
    def _keepable(self) -> tuple[str, ...]:
        rows = [name for name, slot in self.declared.slots.items() if slot.kind == "row"]
        return (*self._aspects, *rows)

    # Files

    def save(self, folder: Path) -> None:
        """Write the tokenizer, the template and the files that it names."""
        self.vocabulary.save(folder / "tokenizer")
        write_atomic(folder / FILE, self.source.source)
        names = {}
        for number, (name, content) in enumerate(self.source.files.contents.items(), start=1):
            names[name] = f"{number}-{Path(name).name}"
            write_atomic(folder / names[name], content)
        lists = {name: list(self.source.lists[name].values) for name in self.source.replaced}
        write_json(folder / "task.json", {"schema": 1, "template": self.source.where, "files": names, "lists": lists})

    @classmethod
    def load(cls, folder: Path, probed: Callable[[], ProbedModel] | None = None) -> TemplateTask:
        """Read what `save` wrote. Raises `UserError` naming what is missing or damaged."""
        described = read_description(folder)
        for key in ("files", "lists"):
            if not isinstance(described.get(key), dict):
                raise UserError(f"{folder / 'task.json'} is damaged: {key} is missing")
        called = str(described.get("template", ""))
        declared = read_template(folder / FILE, lists=described["lists"], names=described["files"], called=called)
        return cls.of(declared, Vocabulary.load(folder / "tokenizer"))

    # How it is made

    def _fitted(self, declared: Declared) -> tuple[Declared, Space, Forms]:
        """The template with the values that this tokenizer can write."""
        speller = Speller(self.vocabulary, lead_of(declared))
        bad = misspelt(declared, speller)
        while True:
            for source, words in bad.items():
                self.left_out[source.key] = (*self.left_out.get(source.key, ()), *words)
            declared = without(declared, bad)
            space = Space(declared)
            forms = Forms(space, self.vocabulary, speller)
            wrong = check_cut(forms)
            if wrong is None:
                return declared, space, forms
            slot, word = wrong
            why = "not cut from what stands around it"
            bad = {source: {word: why} for source in sources_of(declared, slot) if word in source.words}

    def _check_texts(self) -> None:
        """Write inputs and read them again: all, or some. Raises `UserError` where two choices give one text."""
        choices = self.space.spread(CHECKED, DRAWN)
        rows = self.forms.write(choices)
        row, parsed = self.reader.parses(rows)
        same = (parsed.phrasing == choices.phrasing[row]) & (parsed.codes == choices.codes[row]).all(dim=1)
        wrong = torch.bincount(row[same], minlength=len(rows)) != 1
        wrong[row[~same]] = True
        if bool(wrong.any()):
            one = int(wrong.nonzero()[0, 0])
            others = parsed.phrasing[(row == one) & ~same].tolist()
            phrase = self.declared.phrasings[int(choices.phrasing[one])].text
            by = self.declared.phrasings[others[0]].text if others else "another one"
            raise self.declared.error(
                "phrasings", f"two choices give one text, {self.decode(rows[one])!r}: of {phrase!r} and {by!r}"
            )  # fmt: skip

    def _check_changes(self) -> None:
        for name, kept in self._keeping.items():
            check_kept(self.space, f"changes.{name}", kept)
        for name, names in self._changes.items():
            for one in names:
                if one not in self._aspects and one != "flip" and one not in self._keeping:
                    raise self.declared.error(f"changes.{name}", f"there is no slot {one!r} to draw anew")
            if "flip" in names and self.declared.flip is None:
                raise self.declared.error(f"changes.{name}", "there is no [flip]")

    def _start(self) -> Start | None:
        start = self.declared.start
        if "input" not in start:
            return None
        places = tuple((str(site), str(role)) for site, role in start.get("at", []))
        return Start(str(start["input"]), places)

    @cached_property
    def _changes(self) -> dict[str, tuple[str, ...]]:
        own = {name: (name,) for name in self._aspects if name != PHRASING or len(self.declared.phrasings) > 1}
        more = {name: (to,) if isinstance(to, str) else tuple(to) for name, to in self.declared.changes.items()}
        return own | more | {name: (name,) for name in self._keeping}

    @cached_property
    def _keeping(self) -> dict[str, list[str]]:
        """The changes that say what they keep."""
        keeping = {}
        for name, to in self.declared.changes.items():
            if isinstance(to, dict):
                if set(to) != {"keep"}:
                    raise self.declared.error(f"changes.{name}", f"it is slots, flip, or {{ keep = [...] }}, not {to}")
                keeping[name] = checked_texts(to["keep"], f"{self.declared.where}, changes.{name}")
        return keeping

    def _redrawn(self, name: str, choices: Choices, generator: torch.Generator) -> Choices:
        if name in self._keeping:
            return redrawn_but(self.space, self._keeping[name], choices, generator)
        if name != "flip":
            return redrawn(self.space, name, choices, generator)
        assert self.declared.flip is not None
        flip = torch.randint(2, (len(choices.phrasing),), generator=generator) > 0
        other = flipped(self.space, choices, self.declared.flip)
        return Choices(choices.phrasing, torch.where(flip[:, None], other.codes, choices.codes))

    def _declared_aspects(self) -> dict[str, Aspect]:
        """Slots, phrasing and parts, but those that the file turns off, then what it declares, in its order."""
        declared, aspects = self.declared.features, dict(self._aspects)
        features = {
            name: aspect for name, aspect in aspects.items()
            if name not in declared and (name != PHRASING or len(aspect.values) > 1)
        }  # fmt: skip
        for name, given in declared.items():
            if given is False:
                continue
            if given is True and name not in aspects:
                raise self.declared.error(f"features.{name}", f"there is no slot {name!r} to be a feature")
            if isinstance(given, dict) and "position" in given:
                made: Aspect | None = self._position_aspect(name, given)
            else:
                made = aspects[name] if given is True else declared_aspect(self.space, name, given, aspects)
            if made is not None:
                aspects[name] = features[name] = made
        return features

    def _position_aspect(self, name: str, given: Mapping[str, Any]) -> Aspect:
        role = given["position"]
        if role not in self._positions:
            there_are = ", ".join(self._order)
            raise self.declared.error(f"features.{name}", f"there is no position {role!r}; there are {there_are}")

        def code(choices: Choices) -> Positions:
            [position] = self.forms.positions([self._positions[role]], self.forms.layout(choices))
            return torch.where(position >= 0, position, self.max_length)

        lacking = any(atom < 0 for atom, _, _ in self._positions[role])
        indices = tuple(str(t) for t in range(self.max_length))
        return Aspect((*indices, "none") if lacking else indices, code, given.get("about", f"where {role} stands"))

    def _listed_sides(self) -> dict[Split, Positions] | None:
        """The numbers of all inputs and of those on each side, where texts are held out one by one."""
        if not any(rule.one_in for rule in self.declared.held_out.values()):
            return None
        numbers = torch.arange(self.space.total)
        out = self._held_out(self.space.numbered(numbers)) > 0
        return {"all": numbers, "train": numbers[~out], "held-out": numbers[out]}

    def _held_out(self, choices: Choices) -> Positions:
        """Which rules hold an input out, as `held_out_names` numbers them."""
        codes = torch.zeros_like(choices.phrasing)
        for number, code in enumerate(self._out):
            codes = codes + code(choices) * 2**number
        return codes

    def _computing(self, aspect: Aspect) -> Callable[[Tokens, Positions], Positions]:
        def compute(tokens: Tokens, positions: Positions) -> Positions:
            return aspect.code(self._read(tokens)[0]).to(tokens.device, copy=True)

        return compute

    def _read(self, tokens: Tokens) -> tuple[Choices, InputMask]:
        """What rows are made of, without reading the same rows again; those that are no input as the first of all."""
        for read in self._kept:
            if read.is_of(tokens):
                return read.choices, read.inside
        choices, inside = self.reader.read(tokens.cpu())
        first = self.space.numbered(torch.tensor([0]))
        choices = Choices(
            torch.where(inside, choices.phrasing, first.phrasing),
            torch.where(inside[:, None], choices.codes, first.codes),
        )
        self._keep(tokens, choices, inside)
        return choices, inside

    def _keep(self, tokens: Tokens, choices: Choices, inside: InputMask) -> None:
        """What the latest rows are made of, until they change or others come."""
        if not tokens.is_inference():  # of which nobody can tell whether they were written to
            self._kept[:] = [_Read(tokens, tokens._version, choices, inside), *self._kept[: _KEPT - 1]]

    def _written(self, choices: Choices, inside: InputMask, tokens: Tokens) -> Tokens:
        """These inputs, as wide as `tokens`, and `tokens` itself where it was none or they are too long for that."""
        made = self.forms.write(choices)
        changed = torch.full(tokens.shape, self.pad)
        width = min(made.shape[1], tokens.shape[1])
        changed[:, :width] = made[:, :width]
        inside = inside & (made[:, width:] == self.pad).all(dim=1)
        return torch.where(inside[:, None].to(tokens.device), changed.to(tokens.device), tokens)


class FlippableTemplateTask(TemplateTask):
    """A template with a least change that is worth patching."""

    def flip(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """Make the change that `[flip]` declares, and redo the answer."""
        assert self.declared.flip is not None
        choices, inside = self._read(tokens)
        return self._written(flipped(self.space, choices, self.declared.flip), inside, tokens)


class PartOfTemplate(Task):
    """The inputs of a template that share something with one of them, all of them listed."""

    def __init__(self, whole: TemplateTask, rows: Tokens) -> None:
        self.whole, self.vocabulary, self.name = whole, whole.vocabulary, whole.name
        self.max_length, self.columns, self.roles = whole.max_length, whole.columns, whole.roles
        order = sorted(range(len(rows)), key=rows.tolist().__getitem__)
        self.rows, self.size = rows[order], len(rows)
        self._known = {tuple(row) for row in self.rows.tolist()}

    def encode(self, text: str) -> OneInput:
        """As the whole template. Raises `UserError` for an input that is not in this part."""
        row = self.whole.encode(text)
        if not bool(self.contains(row[None])[0]):
            raise UserError(f"{text!r} does not share what is given")
        return row

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tokens:
        """Draw `n` of them."""
        rows = self.rows
        if split != "all":
            rows = rows[self.is_held_out(rows) == (split == "held-out")]
        if n and not len(rows):
            raise UserError(f"none of these inputs is {'held out' if split == 'held-out' else 'left for training'}")
        return rows[torch.randint(max(len(rows), 1), (n,), generator=generator)]

    def contains(self, tokens: Tokens) -> InputMask:
        """Which rows are one of them."""
        width = min(tokens.shape[1], self.max_length)
        padded = torch.full((len(tokens), self.max_length), self.pad)
        padded[:, :width] = tokens[:, :width].cpu()
        behind = (tokens[:, self.max_length :] == self.pad).all(dim=1).cpu()
        known = torch.tensor([tuple(row) in self._known for row in padded.tolist()], dtype=torch.bool)
        return (known & behind).to(tokens.device)

    def enumerate(self, block: int = 65536) -> Iterator[Tokens]:
        """All of them, sorted by token ids."""
        yield from torch.split(self.rows, block)

    def places(self, tokens: Tokens) -> Mapping[str, Positions]:
        """Position [batch] of each role."""
        return self.whole.places(tokens)

    def position_of(self, tokens: Tokens, role: str) -> Positions:
        """As in the whole template."""
        return self.whole.position_of(tokens, role)

    def is_held_out(self, tokens: Tokens) -> InputMask:
        """As in the whole template."""
        return self.whole.is_held_out(tokens)

    def answer_mask(self, tokens: Tokens) -> PositionMask:
        """The tokens of the answer."""
        return self.whole.answer_mask(tokens)

    @property
    def features(self) -> Mapping[str, Feature]:
        """Those of the whole template."""
        return self.whole.features


class _Restrictions(dict[str, str]):
    """What can be given, in words; any other list of slots is one too."""

    def __init__(self, task: TemplateTask) -> None:
        self.task = task
        names = [name for name in task._aspects if name != PHRASING or len(task.declared.phrasings) > 1]
        super().__init__({name: f"with the same {name}" for name in names})
        self.update({f"all-but:{name}": f"that differ in {name} at most" for name in names})

    def __missing__(self, spec: str) -> str:
        free = spec.startswith("all-but:")
        kept_by(self.task.space, spec, self.task._keepable)
        names = " and ".join(name.strip() for name in spec.removeprefix("all-but:").split(","))
        return f"that differ in {names} at most" if free else f"with the same {names}"
