"""Changes a git tree; reads and writes only the folders on the way to a changed path."""

from __future__ import annotations

import stat

from dulwich.objects import ObjectID, Tree

from hubspool.local_hub.storage.git_store import FILE_MODE, GitStore


class PathConflictError(ValueError):
    """A file is at a path where a folder is needed, or a folder where a file is needed."""


class FolderFullError(ValueError):
    """A folder has more entries than the repository may have in one; the message is its path."""


class TreeEdit:
    """Collects changes of a folder; `write()` stores them. Not thread-safe."""

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
        """Return the blob at `path` with the changes so far, or None if there is no file."""
        parent, name = self._parent(path, make=False)
        if parent is None or name in parent._folders or name not in parent._tree:
            return None
        mode, oid = parent._tree[name]
        return None if stat.S_ISDIR(mode) else oid.decode()

    def set(self, path: str, oid: str) -> None:
        """Put a file at `path`; an executable file stays executable.

        Raises:
            PathConflictError: A folder is at `path`, or a file is at one of its parents.
        """
        parent, name = self._parent(path, make=True)
        assert parent is not None  # make=True
        folder = parent._folder(name, make=False) if name in parent._folders or name in parent._tree else None
        if folder is not None and not folder._is_empty():
            raise PathConflictError(path)
        parent._folders.pop(name, None)
        mode = parent._tree[name][0] if name in parent._tree and folder is None else FILE_MODE
        parent._tree[name] = (mode, ObjectID(oid.encode()))

    def remove(self, path: str) -> bool:
        """Remove a file or a whole folder; return False if there is none."""
        parent, name = self._parent(path, make=False)
        if parent is None:
            return False
        exists = name in parent._tree or name in parent._folders
        parent._folders.pop(name, None)
        if name in parent._tree:
            del parent._tree[name]
        return exists

    def write(self, path: str = "/") -> str:
        """Store the changed folders, without empty ones; return the id of the tree, whose path is `path`.

        Raises:
            FolderFullError: A changed folder has more entries than `GitStore.folder_limit`.
        """
        for name, folder in self._folders.items():
            oid = folder.write(f"{path}{name.decode()}/")
            if len(folder._tree):
                self._tree[name] = (stat.S_IFDIR, ObjectID(oid.encode()))
            elif name in self._tree:
                del self._tree[name]
        if self._store.folder_limit is not None and len(self._tree) > self._store.folder_limit:
            raise FolderFullError(path)
        return self._store.add(self._tree)
