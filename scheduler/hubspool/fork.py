"""Fork handling: the registry of objects that a forked child must repair.

A forked child has only the thread that forked, but copies of all descriptors and of all locks, held ones included.
Each object that has such things registers here once and repairs itself in the child.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable


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


_files: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_threads: weakref.WeakSet[ForkAware] = weakref.WeakSet()
#: Id of an object and attribute → the object, and what makes the value in a child.
_renewed: dict[tuple[int, str], tuple[weakref.ref[object], Callable[[], object]]] = {}
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
    for thing in [*_files, *_threads]:
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
    for thing in [*_files, *_threads]:
        thing.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
