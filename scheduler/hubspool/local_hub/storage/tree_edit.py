"""Changes a git tree; reads and writes only the folders on the way to a changed path."""

from __future__ import annotations

import stat

from dulwich.objects import ObjectID, Tree

from hubspool.local_hub.storage.git_store import FILE_MODE, GitStore

_Entry = tuple[int, ObjectID]  # mode and id


class PathConflictError(ValueError):
    """A file is at a path where a folder is needed, or a folder where a file is needed."""


class FolderFullError(ValueError):
    """A folder has more entries than the repository may have in one; the message is its path."""


class TreeEdit:
    """Collects changes of a folder; `write()` stores them. Not thread-safe."""

    def __init__(self, store: GitStore, root: str | None) -> None:
        self._store = store
        tree = store.tree(root) if root is not None else Tree()
        # a folder becomes a TreeEdit when it is looked into
        self._entries: dict[bytes, TreeEdit | _Entry] = {name: tree[name] for name in tree}

    def _opened(self, name: bytes) -> TreeEdit | _Entry | None:
        found = self._entries.get(name)
        if isinstance(found, tuple) and stat.S_ISDIR(found[0]):
            found = self._entries[name] = TreeEdit(self._store, found[1].decode())
        return found

    def _is_empty(self) -> bool:
        return all(isinstance(entry, TreeEdit) and entry._is_empty() for entry in self._entries.values())

    def _parent(self, path: str, *, make: bool = False) -> tuple[TreeEdit, bytes]:
        """Return the folder of a path and the name in it; a missing one is new, and only with `make` a part of this."""
        *folders, name = path.encode().split(b"/")
        parent = self
        for folder in folders:
            found = parent._opened(folder)
            if make and isinstance(found, tuple):
                raise PathConflictError(folder.decode())
            if not isinstance(found, TreeEdit):
                found = TreeEdit(self._store, None)
            if make:
                parent._entries[folder] = found
            parent = found
        return parent, name

    def blob(self, path: str) -> str | None:
        """Return the blob at `path` with the changes so far, or None if there is no file."""
        parent, name = self._parent(path)
        found = parent._opened(name)
        return found[1].decode() if isinstance(found, tuple) else None

    def set(self, path: str, oid: str) -> None:
        """Put a file at `path`; an executable file stays executable.

        Raises:
            PathConflictError: A folder is at `path`, or a file is at one of its parents.
        """
        parent, name = self._parent(path, make=True)
        found = parent._opened(name)
        if isinstance(found, TreeEdit) and not found._is_empty():
            raise PathConflictError(path)
        parent._entries[name] = (found[0] if isinstance(found, tuple) else FILE_MODE, ObjectID(oid.encode()))

    def remove(self, path: str) -> bool:
        """Remove a file or a whole folder; return False if there is none."""
        parent, name = self._parent(path)
        return parent._entries.pop(name, None) is not None

    def write(self, path: str = "/") -> str:
        """Store the changed folders, without empty ones; return the id of the tree, whose path is `path`.

        Raises:
            FolderFullError: A changed folder has more entries than `GitStore.folder_limit`.
        """
        tree = Tree()
        for name, entry in self._entries.items():
            if isinstance(entry, tuple):
                tree[name] = entry
            elif not entry._is_empty():
                tree[name] = (stat.S_IFDIR, ObjectID(entry.write(f"{path}{name.decode()}/").encode()))
        if self._store.folder_limit is not None and len(tree) > self._store.folder_limit:
            raise FolderFullError(path)
        return self._store.add(tree)
