"""Which large content a repository or bucket holds: what was uploaded or copied to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from hubspool.local_hub.identifiers import is_content_hash
from hubspool.local_hub.storage.durable_files import DurableFiles


class HeldContent:
    """The SHA-256 and the Xet hashes of the large content that one repository holds, in a file of its folder.

    All repositories share one store of content. Only content in this list may be committed to the repository, and read
    through it; a pointer in git alone gives no right to the content that it names. The list keeps what later commits
    remove, because the history still names it.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self, files: DurableFiles, path: Path, named: Callable[[], set[str]]) -> None:
        self._files = files
        self._path = path
        self._named = named  # what the repository names: the list of one that is older than such lists
        self._lock = threading.Lock()
        self._known: set[str] | None = None

    def __contains__(self, sha256: str) -> bool:
        with self._lock:
            return sha256 in self._load()

    def add(self, found: Iterable[str]) -> None:
        """Remember content, which must be stored already; it is on the disk when this method returns."""
        with self._lock:
            known = self._load()
            if new := sorted({*found} - known):
                # a newline first: a line that a killed process left unfinished spoils itself only
                self._files.append(self._path, "".join(f"\n{sha256}" for sha256 in new).encode())
                known.update(new)

    def remove(self, gone: Iterable[str]) -> None:
        """Forget content: nobody can read it through this repository any more."""
        with self._lock:
            known = self._load()
            known.difference_update(gone)
            self._files.write(self._path, "\n".join(sorted(known)).encode())

    def _load(self) -> set[str]:
        if self._known is None:
            try:
                self._known = {*filter(is_content_hash, self._path.read_text(encoding="ascii").split())}
            except FileNotFoundError:
                self._known = self._named()
                self._files.write(self._path, "\n".join(sorted(self._known)).encode())
        return self._known
