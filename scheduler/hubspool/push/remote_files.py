"""Files on the Hub, as far as a decision about a local one needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class HubFile:
    """What stands at a path on the Hub: bytes, and the id of the content (sha256, or git blob id)."""

    path: str
    size: int
    content_id: str


class HubReader(Protocol):
    """The reads that a survey needs, all at one revision."""

    def files(self, paths: Sequence[str]) -> dict[str, HubFile]:
        """Return what stands at those of `paths` that exist."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """Return `length` bytes of a file from `start` on, fewer where it ends."""


@dataclass
class Suspects:
    """Paths of ours where foreign content was seen, and since when: reads of the Hub may be stale.

    Args:
        seconds: how long foreign content must stand to count.
    """

    seconds: float = 60.0
    _since: dict[str, float] = field(default_factory=dict)

    def is_certain(self, path: str, now: float) -> bool:
        """Note one more sighting; return whether the first one is long enough ago."""
        return now - self._since.setdefault(path, now) >= self.seconds

    def clear(self, path: str) -> None:
        """Note that what stands there is ours."""
        self._since.pop(path, None)


class AskedOnce:
    """A `HubReader` that asks for many paths in the first request about any of them."""

    def __init__(self, hub: HubReader, paths: list[str]) -> None:
        self.read = hub.read
        self._hub = hub
        self._paths = frozenset(paths)
        self._found: dict[str, HubFile] | None = None

    def files(self, paths: Sequence[str]) -> dict[str, HubFile]:
        if not self._paths.issuperset(paths):
            return self._hub.files(paths)
        if self._found is None:
            self._found = self._hub.files(sorted(self._paths))
        return {path: self._found[path] for path in paths if path in self._found}
