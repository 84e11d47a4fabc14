"""Errors as people read them: in one line, and with a traceback that ends with the line of their own code."""

from __future__ import annotations

import copy
import errno
import functools
import logging
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

from hubspool.errors import HubspoolError

E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
T = TypeVar("T")

#: Errors of a local disk that a person can end: it is full or read-only.
_OF_THE_DISK = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS})
#: Not permitted, or broken: errors of the disk where they name a file; sockets, terminals and signals have them too.
_OF_A_FILE = frozenset({errno.EACCES, errno.EPERM, errno.EIO})
#: The packages of this project.
OURS = ("hubspool", "hubspool_templates")


def is_expected(error: BaseException | None) -> bool:
    """Return whether a message is enough to understand an error; any other needs its traceback."""
    if isinstance(error, OSError) and error.errno in (_OF_THE_DISK | _OF_A_FILE if error.filename else _OF_THE_DISK):
        return True
    return isinstance(error, HubspoolError)


def described(error: BaseException) -> tuple[str, str]:
    """Return in one line each what happened, and what to do about it, which may be empty."""
    message, hint = getattr(error, "message", "") or repr(error), getattr(error, "hint", "")
    if isinstance(error, OSError) and error.strerror and is_expected(error):
        message = f"{error.filename or 'The disk'}: {error.strerror}."
        hint = "Check that the disk has space and that this user may write to the folder."
    return " ".join(message.split()), " ".join(hint.split())


def copied(error: E) -> E:
    """Return a copy of an expected error, for one more raise: the future and the status keep theirs unchanged.

    Any other error is returned itself: the class of a program need not be made to be copied.
    """
    if not is_expected(error):
        return error
    try:
        made = copy.copy(error)
    except Exception:  # noqa: BLE001  a subclass of OSError with an `__init__` of its own
        return error
    made.__cause__ = None if error.__cause__ is None else copied(error.__cause__)
    made.__context__, made.__suppress_context__ = error.__context__, error.__suppress_context__
    if hasattr(error, "__notes__"):
        made.__notes__ = [*error.__notes__]
    return made.with_traceback(error.__traceback__)


def shortened(error: BaseException) -> BaseException:
    """Return an expected error without this package's frames in its traceback, so that it ends with the caller's line.

    It changes the error itself: no other thread may have it (see `copied`). An error that only repeats the one that was
    being handled does not show it again. With the log at DEBUG all stay.
    """
    if not is_expected(error) or logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
        return error
    same = error.__context__ is not None and described(error)[0] == described(error.__context__)[0]
    error.__suppress_context__ = error.__suppress_context__ or same
    kept: TracebackType | None = None
    frames = []
    step = error.__traceback__
    while step is not None:
        frames.append(step)
        step = step.tb_next
    for each in reversed(frames):
        if each.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in OURS:
            kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    if error.__cause__ is not None:
        shortened(error.__cause__)
    return error.with_traceback(kept)


def in_words(seconds: float) -> str:
    """Return "at once", "in 12 s", "in 5 minutes" or "in 10 hours"."""
    if seconds < 1:
        return "at once"
    if seconds < 100:
        return f"in {seconds:.0f} s"
    return f"in {seconds / 60:.0f} minutes" if seconds < 6000 else f"in {seconds / 3600:.0f} hours"


def short_traceback(method: Callable[P, T]) -> Callable[P, T]:
    """Wrap a method so that the traceback of an expected error ends with the line of its caller."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (HubspoolError, OSError) as error:
            raise shortened(error)  # noqa: B904  the same error

    return call
