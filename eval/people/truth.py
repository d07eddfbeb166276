"""What a benchmark of people knows: the bodies and cameras of an index of shards, held against the body file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shards import Clip, ClipStore
from shards.people.body import Body, read_body
from shards.people.person import Person


class PeopleTruth:
    """The people of one index.json (a path or a URL) whose shapes and joints are those of one body file.

    Raises ValueError, when it is made for clips without people, and when a clip is read whose person was made with
    another body file.
    """

    def __init__(self, index: str | Path, body: str | Path) -> None:
        self._store = ClipStore(index)
        self.path, self.body_path = self._store.path, Path(body)
        self.body: Body = read_body(self.body_path)
        if not len(self._store):
            raise ValueError(f"{self._store.name}: there is no clip")
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self.person(self.names[0])

    @property
    def dataset(self) -> str:
        return self._store.dataset

    @property
    def sha256(self) -> str:
        return self._store.sha256

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._store.keys)

    def person(self, name: str) -> tuple[Person, tuple[int, int]]:
        """The person of a clip, and the size (H, W) of its pictures."""
        person, size = self._store.read_person(self._number_of(name))
        if person.body != self.body.digest:
            raise ValueError(
                f"{self._store.name}: clip {name} was made with the body {person.body}, {self.body_path} is "
                f"{self.body.digest} ({self.body.name}); give the body file that the shards were made with (--body)"
            )
        return person, size

    def people(self) -> Iterator[tuple[str, Person, tuple[int, int]]]:
        """Name, person and picture size of every clip, one at a time."""
        for name in self.names:
            yield name, *self.person(name)

    def clip(self, name: str) -> Clip:
        """A whole clip, with its pictures."""
        self.person(name)
        return self._store.read(self._number_of(name))

    def _number_of(self, name: str) -> int:
        return self._numbers[name] if name in self._numbers else self._store.number_of(name)
