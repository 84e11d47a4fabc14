"""How errors are told to people: in one line, and with a traceback that ends with their own code."""

from __future__ import annotations

import errno
import logging
from types import TracebackType

from hubspool.errors import HubspoolError

#: Errors of a local disk that a person can end: full, read-only, not permitted, broken.
_FULL = getattr(errno, "EDQUOT", errno.ENOSPC)
_OF_THE_DISK = frozenset({errno.ENOSPC, _FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
_OURS = ("hubspool", "hubspool_templates")


def is_expected(error: BaseException | None) -> bool:
    """Return whether a message is enough to understand an error; any other needs its traceback."""
    return isinstance(error, HubspoolError) or (isinstance(error, OSError) and error.errno in _OF_THE_DISK)


def described(error: BaseException) -> tuple[str, str]:
    """Return in one line each what happened, and what to do about it, which may be empty."""
    message, hint = getattr(error, "message", "") or repr(error), getattr(error, "hint", "")
    if isinstance(error, OSError) and error.strerror and is_expected(error):
        message = f"{error.filename or 'The disk'}: {error.strerror}."
        hint = "Check that the disk has space and that this user may write to the folder."
    return " ".join(message.split()), " ".join(hint.split())


def shortened(error: BaseException) -> BaseException:
    """Return an expected error without this package's frames in its traceback, so that it ends with the caller's line.

    An error that only repeats the one that was being handled does not show it again. With the log at DEBUG all stay.
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
        if each.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in _OURS:
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
