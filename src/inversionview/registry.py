"""Things of one kind by name: those of the package, those of other packages (entry points), and a user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from inversionview.errors import UserError, one_line

T = TypeVar("T")


class Registry(MutableMapping[str, T], Generic[T]):
    """A mapping from names to things, which `register` adds to and never replaces in.

    `own` may say where a thing is, as `module:attribute`, so that it is imported when it is first asked for; entry
    points of `group` are loaded then too. Raises `UserError` for one that cannot be.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str | T], *, of: str = "") -> None:
        self.kind, self.group, self._of = kind, group, f" {of}" if of else ""
        self._things: dict[str, Any] = dict(own)

    def register(self, name: str, thing: T) -> None:
        """Add a thing. Raises `UserError` where another one has this name."""
        if name in self and self[name] is not thing:
            raise UserError(f"there is a {self.kind} {name!r}{self._of} already: give yours another name")
        self._things[name] = thing

    def find(self, name: str) -> T:
        """The thing of this name. Raises `UserError` that lists the ones there are."""
        if name not in self:
            raise UserError(f"there is no {self.kind} {name!r}{self._of}; the {self.kind}s are: {', '.join(self)}")
        return self[name]

    def __getitem__(self, name: str) -> T:
        if name not in self._things:
            self._things[name] = _loaded(self._entries[name])
        thing = self._things[name]
        if isinstance(thing, str):
            module, _, attribute = thing.partition(":")
            thing = self._things[name] = getattr(import_module(module), attribute)
        return thing  # type: ignore[no-any-return]

    def __setitem__(self, name: str, thing: T) -> None:
        self._things[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._things, *self._entries]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._things or name in self._entries

    @cached_property
    def _entries(self) -> dict[str, EntryPoint]:
        """By name. Raises `UserError` for a name that something else has too."""
        entries: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            twice = entries.setdefault(entry.name, entry).value != entry.value
            if twice or (entry.name in self._things and self[entry.name] is not _loaded(entry)):
                raise UserError(f"{_described(entry)} has the name of another {self.kind}: uninstall one of the two")
        return entries


def _loaded(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:  # whatever another package's import raises
        why = one_line(error)
        raise UserError(f"{_described(entry)} cannot be loaded: {type(error).__name__}: {why}") from error


def _described(entry: EntryPoint) -> str:
    of = f" of {entry.dist.name}" if entry.dist is not None else ""
    return f"the entry point {entry.name} = {entry.value}{of} in {entry.group}"
