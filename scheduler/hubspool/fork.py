"""Fork handling: the registry of objects that a forked child must repair.

A forked child has only the thread that forked, but copies of all descriptors and of all locks, held ones included.
Each object that has such things registers here once and repairs itself in the child.
"""

from __future__ import annotations

import _imp
import os
import threading
import time
import weakref
from collections.abc import Callable
from importlib import _bootstrap

#: Seconds that a fork waits for imports of our threads.
_IMPORT_SECONDS = 30


class ForkAware:
    """An object that must change when the process forks; register it with `register`.

    The hooks run in the forking thread. They must not wait for another thread, except `before_fork`.
    """

    def before_fork(self) -> None:
        """Bring the object into a state that can be copied; locks taken here stay held over the fork."""

    def after_fork_in_parent(self) -> None:
        """Undo `before_fork`."""

    def after_fork_in_child(self) -> None:
        """Replace what the child must not share with its parent: locks, descriptors, connections, threads."""


class Imports(ForkAware):
    """Makes a fork wait until no thread of this package is importing a module.

    A child copies the lock of a half-imported module, whose owner it does not have, and would wait for it for ever;
    Python frees only the import lock itself. Imports of the app's threads are not waited for: the module may be the
    app, whose import ends with the app. To import all that the pushing thread may need beforehand was tried: each
    new version of pyarrow or hf_xet imports something else in its functions.
    """

    def __init__(self) -> None:
        self._is_held = False

    def before_fork(self) -> None:
        """Take the import lock, which a thread needs in order to begin an import, between two imports of ours."""
        deadline = time.monotonic() + _IMPORT_SECONDS
        _imp.acquire_lock()
        while _threads_importing() and time.monotonic() < deadline:
            _imp.release_lock()
            time.sleep(0.001)
            _imp.acquire_lock()
        self._is_held = True

    def after_fork_in_parent(self) -> None:
        """Let other threads import again."""
        if self._is_held:
            self._is_held = False
            _imp.release_lock()

    after_fork_in_child = after_fork_in_parent  # Python keeps the lock for the thread that forked


def _threads_importing() -> set[int]:
    """Return the ids of the other threads of this package that hold the lock of a module."""
    ours = {thread.ident for thread in threading.enumerate() if thread.name.startswith("hubspool")}
    locks = [reference() for reference in list(getattr(_bootstrap, "_module_locks", {}).values())]
    return {lock.owner for lock in locks if lock is not None} & ours - {threading.get_ident()}


_files: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_threads: weakref.WeakSet[ForkAware] = weakref.WeakSet()
#: Id of an object and attribute → the object, and what makes the value in a child.
_renewed: dict[tuple[int, str], tuple[weakref.ref[object], Callable[[], object]]] = {}
_imports = Imports()
#: The objects whose `before_fork` ran for the fork that is going on.
_forking: list[ForkAware] = []


def register(thing: ForkAware, *, has_thread: bool = False) -> None:
    """Call the hooks of `thing` at every fork, for as long as somebody else holds a reference to it.

    Args:
        has_thread: the hook in the child starts a thread that uses other registered objects, so it runs after theirs.
    """
    (_threads if has_thread else _files).add(thing)


def renew(owner: object, attribute: str, make: Callable[[], object]) -> None:
    """Give the child's copy of `owner` a new value of an attribute, usually an unlocked lock."""
    key = (id(owner), attribute)  # not the owner itself, which need not be hashable
    _renewed[key] = (weakref.ref(owner, lambda _: _renewed.pop(key, None)), make)


def _before() -> None:
    # Imports last: an import may need what another object's hook waits for, and no hook imports.
    for thing in [*_files, *_threads, _imports]:
        thing.before_fork()
        _forking.append(thing)


def _after_in_parent() -> None:
    while _forking:
        _forking.pop().after_fork_in_parent()


def _after_in_child() -> None:
    # Objects that were made by another thread during `_before` are in the sets but not in `_forking`.
    _forking.clear()
    for (_, attribute), (reference, make) in list(_renewed.items()):
        if (owner := reference()) is not None:
            setattr(owner, attribute, make())
    for thing in [_imports, *_files, *_threads]:
        thing.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
