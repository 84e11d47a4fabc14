"""The errors of hubspool. Each says what happened, whether a retry can help, and what to do.

::

    HubspoolError
    ├── HFValidationError (ValueError)            a value was refused before anything was sent
    ├── CursorTooOldError (LookupError)           what a reader has read before cannot be told any more
    ├── SettingError (ValueError)                 an environment variable cannot be read
    ├── LocalTokenNotFoundError (OSError)         a token is needed and there is none
    ├── LocalFileError (OSError)                  a local file cannot be read while it is being sent
    │   └── FileChangedError                      it changed since the upload was prepared
    │       ├── FileReplacedError                 its path holds another file
    │       └── FileShrankError                   it ends before the range that was to be read
    ├── SpoolFull (OSError)                       the spool, or its disk, has no space for a row
    ├── FlushTimeout (TimeoutError)               a flush did not end within its time-out
    │   └── SecondLookError                       a lost ledger: rows may be on the Hub, or arrive there late
    ├── NotStoredError (OSError)                  files that cannot be stored, with the reasons
    ├── UnfitRowsError (ValueError)               rows that could not be stored as they are, and are kept as text
    ├── PushLockBusyError (OSError)               another process is pushing the same folder
    ├── FilesMissingError (OSError)               files of a running scheduler were moved or removed
    ├── LockHeldError (TimeoutError)              the app holds scheduler.lock for too long
    ├── ChangedMeanwhileError (OSError)           a path on the Hub changed since the push was planned
    ├── StalledError (TimeoutError)               a push makes no progress
    ├── StateFileError (OSError)                  the ledger cannot be opened at the moment
    ├── RepoReplacedError (OSError)               the repository was deleted and created again
    ├── OtherAccountError (PermissionError)       the rows belong to another account than the token's
    ├── EntryNotFoundError (FileNotFoundError)
    │   ├── LocalEntryNotFoundError
    │   └── RemoteEntryNotFoundError              (also HfHubHTTPError)
    └── RequestError (OSError)                    a request to the Hub failed
        ├── OfflineModeIsEnabled (ConnectionError)
        ├── HubConnectionError (ConnectionError)  no connection, or it was lost
        ├── HubTimeoutError (TimeoutError)        the other side was silent for too long
        ├── XetTransferError                      hf_xet gave up on a transfer
        ├── BadResponseError (ValueError)         an answer that is not what the API promises
        └── HfHubHTTPError                        the Hub answered with an error status
            ├── BucketBatchError                      a bucket did not apply some operations
            ├── BadRequestError (ValueError)      400, 422
            ├── UnauthorizedError (PermissionError)   401
            ├── ForbiddenError (PermissionError)      403
            ├── DisabledRepoError                     403
            ├── RepositoryNotFoundError               404, or 401 without a token
            │   └── GatedRepoError                    401, 403
            ├── RevisionNotFoundError                 404
            ├── RemoteEntryNotFoundError              404
            ├── ConflictError                         409
            ├── ParentCommitMismatchError             412
            ├── PayloadTooLargeError (ValueError)     413
            └── RateLimitedError                      429

Names that huggingface_hub has too mean the same. Every error pickles. No error contains a token or the query of an
address (signed addresses are secrets).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


class Outcome(Enum):
    """Whether the Hub may have applied a request that failed."""

    NOT_APPLIED = "not applied"
    #: The answer was lost: the request may have been applied, or may still be.
    UNKNOWN = "unknown"


#: Statuses with which the Hub refuses a whole request. After any other error status the outcome is unknown.
_REFUSALS = frozenset({400, 401, 402, 403, 404, 405, 409, 410, 411, 412, 413, 415, 416, 422, 429})
TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


def outcome_of_status(status: int) -> Outcome:
    """Return the outcome of a request that was answered with the error `status`."""
    return Outcome.NOT_APPLIED if status in _REFUSALS else Outcome.UNKNOWN


class HubspoolError(Exception):
    """Base of all errors of hubspool.

    Attributes:
        message: what happened, with the value that caused it.
        hint: one sentence on what to do; may be empty.
        retryable: whether the same call can succeed later without user action.
        outcome: whether the request may have been applied although it failed.
        path: the local path, or the path in the repository, that the error is about.
    """

    default_hint: ClassVar[str] = ""
    retryable: bool = False
    outcome: Outcome = Outcome.NOT_APPLIED

    def __init__(self, message: str, *, hint: str | None = None, path: str | Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.path = None if path is None else str(path)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        # Rejected: OSError's own __reduce__, which calls the class with its args and drops the keyword fields.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[HubspoolError], args: tuple[Any, ...], fields: dict[str, Any]) -> HubspoolError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class HFValidationError(HubspoolError, ValueError):
    """A repository id, path, revision or other value was refused before anything was sent."""


class SettingError(HubspoolError, ValueError):
    """An environment variable holds a value that cannot be read."""


class CursorTooOldError(HubspoolError, LookupError):
    """Which rows came after a point in the past cannot be told any more.

    The history of the branch was squashed since, or rows were removed from the middle of what was read.

    Attributes:
        oldest: the earliest time that can be given; None if only a read of everything helps.
    """

    default_hint = "Read everything once, and keep the new cursor."

    def __init__(self, message: str, *, oldest: datetime | None = None) -> None:
        hint = f"The oldest time that can be read from is {oldest.isoformat()}. " if oldest else ""
        super().__init__(message, hint=hint + self.default_hint)
        self.oldest = oldest


class LocalTokenNotFoundError(HubspoolError, OSError):
    """A token is needed, and neither the argument, HF_TOKEN nor the token file has one."""

    default_hint = (
        "Set HF_TOKEN, pass token=..., or run `hubspool login` (tokens: https://huggingface.co/settings/tokens)."
    )


class LocalFileError(HubspoolError, OSError):
    """A local file cannot be read while it is being sent; nothing of it was committed."""


class FileChangedError(LocalFileError):
    """A local file changed since the upload was prepared; nothing of it was committed."""

    default_hint = "Repeat the call; write files that are uploaded under the scheduler's lock."


class FileReplacedError(FileChangedError):
    """The path holds another file than when the upload was prepared."""


class FileShrankError(FileChangedError):
    """A file ends before the range that was to be read from it."""


class SpoolFull(HubspoolError, OSError):  # noqa: N818 - the name is part of the interface
    """The spool has no space for a row, so the row was not stored.

    Args:
        folder: the spool's folder.
        used: size of the spool, bytes.
        limit: largest allowed size, bytes; None if the disk itself is full.
        stored: number of the first rows of an `extend` that were stored nevertheless.
    """

    retryable = True

    def __init__(self, folder: str | Path, used: int, limit: int | None, stored: int = 0) -> None:
        reason = "the disk is full" if limit is None else f"its limit is {limit} bytes (max_spool_bytes)"
        what = f"only the first {stored} rows were stored" if stored else "the row was not stored"
        super().__init__(
            f"The spool in {folder} holds {used} bytes and {reason}; {what}.",
            hint="Free space, or read in status() why rows are not uploaded.",
            path=folder,
        )
        self.used = used
        self.limit = limit
        self.stored = stored


class FlushTimeout(HubspoolError, TimeoutError):  # noqa: N818 - the name is part of the interface
    """A flush did not end within its time-out; pending rows stay on the disk and are sent later."""

    retryable = True


def second_look_reason(until: float) -> str:
    """Return why a segment is not sent before `until`, seconds since the epoch."""
    at = time.strftime("%H:%M", time.localtime(until))
    why = "what was sent earlier may still arrive: its ledger was lost or copied, or rows of it are to be removed"
    return f"waits for the second look until {at}: {why}"


class SecondLookError(FlushTimeout):
    """Rows stay pending until no commit of an earlier process can arrive any more; all others are sent.

    Args:
        name: of the repository.
        until: time of the second look, seconds since the epoch.
    """

    retryable = False

    def __init__(self, name: str, until: float) -> None:
        super().__init__(
            f"{name}: a segment {second_look_reason(until)}.",
            hint="The rows stay on the disk and are sent then, also by a later process. New rows do not wait.",
        )
        self.until = until


class NotStoredError(HubspoolError, OSError):
    """Some files could not be stored on the Hub, and waiting does not help.

    Args:
        reasons: path in the folder → why the file is not stored.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        first = "; ".join(f"{path}: {reason.rstrip('.')}" for path, reason in list(reasons.items())[:3])
        more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
        super().__init__(
            f"{len(reasons)} {'file is' if len(reasons) == 1 else 'files are'} not stored on the Hub: {first}{more}.",
            hint="Every push checks again those that are on the disk; see status().skipped.",
        )
        self.reasons = dict(reasons)


class UnfitRowsError(HubspoolError, ValueError):
    """Rows could not be stored in the columns of a file; they are on the Hub as JSON text, and all others as they are.

    Args:
        rows: how many, since the scheduler started.
        reason: the error for the last one.
    """

    def __init__(self, rows: int, reason: str) -> None:
        super().__init__(
            f"{rows} {'row' if rows == 1 else 'rows'} could not be stored; the column '_unfit' has the text: {reason}",
            hint="json.loads reads the text. Change the values, so that later rows can be stored.",
        )
        self.rows = rows
        self.reason = reason


class PushLockBusyError(HubspoolError, OSError):
    """Another process has been pushing the same folder for too long.

    Args:
        folder: the folder.
        holder: that process, or empty where it is not known.
        seconds: since when this process waits.
    """

    retryable = True

    def __init__(self, folder: str | Path, holder: str, seconds: float) -> None:
        super().__init__(
            f"{folder} is being pushed by {holder or 'another process'}; this one has waited {seconds:.0f} s for it.",
            hint="The push is retried. If that process hangs or is stopped, end it: what it did not send is sent then.",
            path=folder,
        )


class LockHeldError(HubspoolError, TimeoutError):
    """A push could not take `scheduler.lock` in time; it sent what needs no lock.

    Line files were sent up to their last newline; the other files that changed are sent by the next push.
    """

    def __init__(self, folder: str | Path, seconds: float) -> None:
        super().__init__(
            f"scheduler.lock of {folder} was not free within {seconds:.1f} seconds; whole files stay pending.",
            hint="Leave `with scheduler.lock` before a call of flush() or stop(), and never hold the lock around"
            " super().push_to_hub() or a request.",
            path=folder,
        )


class FilesMissingError(HubspoolError, OSError):
    """Files of a running scheduler were moved, or removed and not written again; `path` is one of them."""

    default_hint = "See status().skipped for each file."


class ChangedMeanwhileError(HubspoolError, OSError):
    """A path on the Hub changed since the push was planned; the next attempt makes a new plan."""

    retryable = True

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} changed on the Hub meanwhile.", hint="The push is planned again at once.", path=path)


class StalledError(HubspoolError, TimeoutError):
    """A push has made no progress for longer than any of its requests may take."""

    retryable = True

    def __init__(self, state: str, seconds: float) -> None:
        super().__init__(
            f"The push has been {state} for {seconds:.0f} seconds.",
            hint="The disk or the network does not respond. Rows are still stored on the disk; restart to send them.",
        )


class StateFileError(HubspoolError, OSError):
    """A file of the state folder cannot be opened or written now; it is not known to be damaged."""

    retryable = True

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(
            f"{path} cannot be opened or written: {reason}.",
            hint="Check that the disk has space and the folder is writable, or pass state_dir=... on another disk.",
            path=path,
        )


class RepoReplacedError(HubspoolError, OSError):
    """The repository was deleted and created again after this folder was pushed to it; nothing is sent to the new one.

    Args:
        repo_id: id of the repository, or address of the bucket.
        folder: the local folder that was pushed to it.
    """

    def __init__(self, repo_id: str, folder: str | Path) -> None:
        super().__init__(
            f"{repo_id} is not the repository that {folder} was pushed to: it was deleted and created again.",
            hint="To send everything in the folder to the new one, run"
            f" `hubspool flush {folder} --from {repo_id} --to {repo_id}`.",
            path=folder,
        )


class OtherAccountError(HubspoolError, PermissionError):
    """Rows for a repository without a namespace are bound to the account of the first token, and this is another's.

    Args:
        name: the repository's name, as the program gave it.
        bound: the account that it is bound to.
        account: the account of the token.
        folder: the spool of the rows.
    """

    def __init__(self, name: str, bound: str | None, account: str, folder: str | Path) -> None:
        super().__init__(
            f"The rows in {folder} are for {bound}/{name}, and the token is of {account}: nothing is sent.",
            hint=f"Use a token of {bound}, or write {account}/{name} for a repository of {account}.",
            path=folder,
        )


class EntryNotFoundError(HubspoolError, FileNotFoundError):
    """There is no such file, on the disk or on the Hub."""


class LocalEntryNotFoundError(EntryNotFoundError):
    """The file is not on the disk, and the caller wanted no request to the Hub."""


@dataclass(frozen=True)
class ErrorResponse:
    """The Hub's answer to a request that failed, with the names that the response of an HTTP library has.

    Attributes:
        status_code: HTTP status.
        headers: found in either case, without those that may hold a signed address or a cookie.
        text: the beginning of the body, without the token.
    """

    status_code: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        """Return the body as JSON values.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.text)


class RequestError(HubspoolError, OSError):
    """A request to the Hub failed.

    Attributes:
        method: HTTP method.
        url: address without its query.
        status_code: status of the answer; None without one.
        request_id: the Hub's id of the request, for its support.
        server_message: the Hub's message.
        retry_after: seconds that the Hub asks to wait; None if it does not say.
        details: the JSON object of a 409, which names what exists already.
        response: the answer; None without one.
    """

    method: str | None = None
    url: str | None = None
    status_code: int | None = None
    request_id: str | None = None
    server_message: str | None = None
    retry_after: float | None = None
    details: Mapping[str, Any] | None = None
    response: ErrorResponse | None = None

    def __init__(self, message: str, *, hint: str | None = None, path: str | Path | None = None, **fields: Any) -> None:
        super().__init__(message, hint=hint, path=path)
        for name, value in fields.items():
            if not hasattr(self, name):
                raise TypeError(f"{type(self).__name__} has no field {name!r}")
            setattr(self, name, value)

    def __str__(self) -> str:
        request_id = f" (Request ID: {self.request_id})" if self.request_id else ""
        return f"{self.message} {self.hint}".strip() + request_id


class OfflineModeIsEnabled(RequestError, ConnectionError):  # noqa: N818 - huggingface_hub's name
    """HF_HUB_OFFLINE is set, and the address is not on this machine."""

    default_hint = "Unset HF_HUB_OFFLINE to allow requests."


class HubConnectionError(RequestError, ConnectionError):
    """No connection to the Hub could be made, or it was lost before the answer was complete."""

    retryable = True
    default_hint = "Check the network and HF_ENDPOINT."


class HubTimeoutError(RequestError, TimeoutError):
    """The answer did not arrive within HUBSPOOL_TIMEOUT seconds, or a transfer moved too little in that time."""

    retryable = True
    default_hint = "Try again later; HUBSPOOL_TIMEOUT sets how many seconds an answer may take."


class XetTransferError(RequestError):
    """hf_xet gave up on a transfer. A transfer commits nothing, so it can always be repeated."""

    retryable = True
    default_hint = "Try again; HF_HUB_DISABLE_XET=1 uploads through LFS instead."


class BadResponseError(RequestError, ValueError):
    """The Hub's answer is not what its API promises; the request may have been applied."""

    retryable = True
    outcome = Outcome.UNKNOWN
    default_hint = "Check that HF_ENDPOINT is the address of a Hub and that no proxy changes its answers."


class HfHubHTTPError(RequestError):
    """The Hub answered with an error status."""

    #: What that means, in words without the status; begins the message.
    sentence: ClassVar[str] = ""

    def __init__(self, message: str, **fields: Any) -> None:
        status = fields.get("status_code")
        if status is not None:
            fields.setdefault("retryable", self.retryable or status in TRANSIENT_STATUSES)
            fields.setdefault("outcome", outcome_of_status(status))
        super().__init__(message, **fields)


class BucketBatchError(HfHubHTTPError):
    """The Hub did not apply some operations of a batch of a bucket, and may have applied the others.

    Attributes:
        failures: ``path`` and ``error`` of each operation that was not applied.
    """

    outcome = Outcome.UNKNOWN

    def __init__(self, failures: list[dict[str, str]], count: int) -> None:
        named = "; ".join(f"{each['path']}: {each['error']}" for each in failures[:10])
        more = f"; and {len(failures) - 10} more" if len(failures) > 10 else ""
        super().__init__(f"The Hub did not apply {len(failures)} of {count} operations: {named}{more}.")
        self.failures = failures


class BadRequestError(HfHubHTTPError, ValueError):
    """The Hub refused the content of the request (400, 422)."""

    sentence = "The Hub did not accept the request"


class UnauthorizedError(HfHubHTTPError, PermissionError):
    """The Hub requires a token, or refused the one that was sent (401)."""

    sentence = "The Hub did not accept the token"


class ForbiddenError(HfHubHTTPError, PermissionError):
    """The token does not allow this (403)."""

    sentence = "The token does not permit this"
    default_hint = "Check that the token may write to this repository (https://huggingface.co/settings/tokens)."


class RepositoryNotFoundError(HfHubHTTPError):
    """There is no such repository, or it is private and the token may not see it."""

    sentence = "The repository does not exist, or the token may not see it"
    default_hint = (
        "Check repo_id and repo_type, and that the token may see the repository; create_repo creates a new one."
    )


class GatedRepoError(RepositoryNotFoundError):
    """The repository is gated and the account has no access."""

    sentence = "The account has no access to this gated repository"
    default_hint = "Ask for access on the repository's page."


class DisabledRepoError(HfHubHTTPError):
    """The repository was disabled."""

    sentence = "The repository is disabled"


class RevisionNotFoundError(HfHubHTTPError):
    """The repository has no such branch, tag or commit."""

    sentence = "The repository has no such branch, tag or commit"
    default_hint = "Check the revision, or create the branch first."


class RemoteEntryNotFoundError(HfHubHTTPError, EntryNotFoundError):
    """The repository has no such file at that revision."""

    sentence = "The repository has no such file"


class ConflictError(HfHubHTTPError):
    """The repository exists already, or another operation on it is in progress (409)."""

    sentence = "The Hub is busy with another change, or what is to be created exists"


class ParentCommitMismatchError(HfHubHTTPError):
    """The branch's head is no longer parent_commit; nothing was committed (412)."""

    sentence = "The branch has a new commit, so nothing was committed"
    default_hint = "Read the branch again, check that the commit still fits, and pass the new head as parent_commit."


class PayloadTooLargeError(HfHubHTTPError, ValueError):
    """The request is larger than the Hub accepts (413)."""

    sentence = "The request is too large for the Hub"
    default_hint = "Send fewer files, or less inline content, at a time."


class RateLimitedError(HfHubHTTPError):
    """Too many requests or commits (429); `retry_after` is the wait in seconds that the Hub asks for, if it does."""

    sentence = "The Hub takes no more requests or commits for now"
    default_hint = "Wait, and push less often."
