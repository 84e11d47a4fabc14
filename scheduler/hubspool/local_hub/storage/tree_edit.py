"""Changes to a tree: only the folders on the way to a changed path are read and written again."""

from __future__ import annotations

import stat

from dulwich.objects import ObjectID, Tree

from hubspool.local_hub.storage.git_store import FILE_MODE, GitStore


class PathConflictError(ValueError):
    """A file stands where a folder is needed, or the other way round."""


class TreeEdit:
    """A folder being changed. Nothing is stored before `write()`; one thread at a time."""

    def __init__(self, store: GitStore, root: str | None) -> None:
        self._store = store
        tree = store.tree(root).copy() if root is not None else Tree()
        assert isinstance(tree, Tree)  # a copy is of the same class
        self._tree = tree
        self._folders: dict[bytes, TreeEdit] = {}

    def _folder(self, name: bytes, *, make: bool) -> TreeEdit | None:
        if name in self._folders:
            return self._folders[name]
        if name in self._tree:
            mode, oid = self._tree[name]
            if not stat.S_ISDIR(mode):
                if make:
                    raise PathConflictError(name.decode())
                return None
            self._folders[name] = TreeEdit(self._store, oid.decode())
        elif make:
            self._folders[name] = TreeEdit(self._store, None)
        return self._folders.get(name)

    def _is_empty(self) -> bool:
        return all(folder._is_empty() for folder in self._folders.values()) and all(
            name in self._folders for name in self._tree
        )

    def _parent(self, path: str, *, make: bool) -> tuple[TreeEdit | None, bytes]:
        *folders, name = path.split("/")
        parent: TreeEdit | None = self
        for folder in folders:
            parent = parent._folder(folder.encode(), make=make) if parent is not None else None
        return parent, name.encode()

    def blob(self, path: str) -> str | None:
        """The blob at `path` as it stands now, None when no file is there."""
        parent, name = self._parent(path, make=False)
        if parent is None or name in parent._folders or name not in parent._tree:
            return None
        mode, oid = parent._tree[name]
        return None if stat.S_ISDIR(mode) else oid.decode()

    def set(self, path: str, oid: str) -> None:
        """Put a file at `path`; an executable stays executable.

        Raises:
            PathConflictError: A folder stands there, or a file stands on the way.
        """
        parent, name = self._parent(path, make=True)
        assert parent is not None  # made
        folder = parent._folder(name, make=False) if name in parent._folders or name in parent._tree else None
        if folder is not None and not folder._is_empty():
            raise PathConflictError(path)
        parent._folders.pop(name, None)
        mode = parent._tree[name][0] if name in parent._tree and folder is None else FILE_MODE
        parent._tree[name] = (mode, ObjectID(oid.encode()))

    def remove(self, path: str) -> bool:
        """Take a file or a whole folder away; False when nothing is there."""
        parent, name = self._parent(path, make=False)
        if parent is None:
            return False
        there = name in parent._tree or name in parent._folders
        parent._folders.pop(name, None)
        if name in parent._tree:
            del parent._tree[name]
        return there

    def write(self) -> str:
        """Store what changed, empty folders left out; returns the name of the tree."""
        for name, folder in self._folders.items():
            oid = folder.write()
            if len(folder._tree):
                self._tree[name] = (stat.S_IFDIR, ObjectID(oid.encode()))
            elif name in self._tree:
                del self._tree[name]
        return self._store.add(self._tree)
