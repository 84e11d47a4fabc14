"""The errors of hubspool: data that says what happened, whether a retry can help, and what to do.

::

    HubspoolError
    ├── HFValidationError (ValueError)            a value was refused before anything was sent
    ├── SettingError (ValueError)                 an environment variable cannot be read
    ├── LocalTokenNotFoundError (OSError)         a token is needed and there is none
    ├── LocalFileError (OSError)                  a local file cannot be read while it is being sent
    │   └── FileChangedError                      it is not what it was when it was described
    │       ├── FileReplacedError                 another file stands at its path
    │       └── FileShrankError                   it ends before the range that was to be read
    ├── SpoolFull (OSError)                       the spool, or its disk, has no room for a row
    ├── FlushTimeout (TimeoutError)               a flush did not end in the time it was given
    ├── NotStoredError (OSError)                  files that cannot be stored, with the reasons
    ├── PushLockBusyError (OSError)               another process is pushing the same folder
    ├── ChangedMeanwhileError                     a path on the Hub is not what was planned for
    ├── StalledError (TimeoutError)               a push no longer moves
    ├── LedgerError (OSError)                     the ledger cannot be opened just now
    ├── RepoReplacedError (OSError)               the repository was deleted and made again
    ├── EntryNotFoundError (FileNotFoundError)
    │   ├── LocalEntryNotFoundError
    │   └── RemoteEntryNotFoundError              (also HfHubHTTPError)
    └── RequestError (OSError)                    a request to the Hub failed
        ├── OfflineModeIsEnabled (ConnectionError)
        ├── HubConnectionError (ConnectionError)  no connection, or it broke
        ├── HubTimeoutError (TimeoutError)        the other side was silent for too long
        ├── XetTransferError                      hf_xet gave up on a transfer
        ├── BadResponseError (ValueError)         an answer that cannot be understood
        └── HfHubHTTPError                        the Hub answered with an error status
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

Names that huggingface_hub has too mean the same. Every error pickles. No error carries a token or the query
of an address (signed addresses are secrets).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar


class Outcome(Enum):
    """May the request that failed nevertheless have been applied by the Hub?"""

    NOT_APPLIED = "not applied"
    #: It may have been applied, or still be applied later: the answer is what got lost.
    UNKNOWN = "unknown"


#: Statuses with which the Hub refuses a request as a whole. Every other one leaves open what it did.
_REFUSALS = frozenset({400, 401, 402, 403, 404, 405, 409, 410, 411, 412, 413, 415, 416, 422, 429})
TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


def outcome_of_status(status: int) -> Outcome:
    """Return what an answer with `status` that is not a success says about the request."""
    return Outcome.NOT_APPLIED if status in _REFUSALS else Outcome.UNKNOWN


class HubspoolError(Exception):
    """Base of all errors of hubspool.

    Attributes:
        message: What happened, naming the value.
        hint: One sentence on what to do; may be empty.
        retryable: Whether the same call can succeed later without anybody changing anything.
        outcome: Whether a request may have been applied although this error was raised.
        path: The local path, or the path in the repository, that it is about.
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
        # OSError's own reduce calls the class with its args, which drops the keyword fields.
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


class LocalTokenNotFoundError(HubspoolError, OSError):
    """A token is needed, and neither the argument, HF_TOKEN nor the token file has one."""

    default_hint = (
        "Set HF_TOKEN, pass token=..., or run `hubspool login` (tokens: https://huggingface.co/settings/tokens)."
    )


class LocalFileError(HubspoolError, OSError):
    """A local file cannot be read while it is being sent; nothing of it was committed."""


class FileChangedError(LocalFileError):
    """A local file is not what it was when it was described; nothing of it was committed."""

    default_hint = "Repeat the call with the file as it is now; write files that are uploaded under the lock."


class FileReplacedError(FileChangedError):
    """Another file stands at the path of the one that was described."""


class FileShrankError(FileChangedError):
    """A file ends before the range that was to be read from it."""


class SpoolFull(HubspoolError, OSError):  # noqa: N818 - reads as the state that it is, like FlushTimeout
    """The spool has no room for a row, which was therefore not accepted.

    Args:
        folder: The spool's folder.
        used: Its size, bytes.
        limit: The size it may have, bytes; None when the disk itself is full.
        stored: How many of the first rows of an `extend` were stored all the same.
    """

    retryable = True

    def __init__(self, folder: str | Path, used: int, limit: int | None, stored: int = 0) -> None:
        reason = "the disk is full" if limit is None else f"its limit is {limit} bytes (max_spool_bytes)"
        what = f"only the first {stored} rows were stored" if stored else "the row was not stored"
        super().__init__(
            f"The spool in {folder} holds {used} bytes and {reason}; {what}.",
            hint="Free space, or look at status() for why nothing leaves the spool.",
            path=folder,
        )
        self.used = used
        self.limit = limit
        self.stored = stored


class FlushTimeout(HubspoolError, TimeoutError):  # noqa: N818 - the name is part of the interface
    """A flush did not end in the time it was given; what is pending stays on the disk and is sent later."""

    retryable = True


class NotStoredError(HubspoolError, OSError):
    """Some files are not on the Hub, and waiting does not help.

    Args:
        reasons: Path in the folder → why it is not stored.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        first = "; ".join(f"{path}: {reason.rstrip('.')}" for path, reason in list(reasons.items())[:3])
        more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
        super().__init__(
            f"{len(reasons)} files are not stored on the Hub: {first}{more}.",
            hint="They stay on the disk and are looked at again in every push; see status().skipped.",
        )
        self.reasons = dict(reasons)


class PushLockBusyError(HubspoolError, OSError):
    """Another process has been pushing the same folder for too long."""

    retryable = True

    def __init__(self, folder: str | Path) -> None:
        super().__init__(
            f"Another process is pushing {folder}.",
            hint="It is tried again; if no such process runs, look who holds push.lock in the state folder.",
            path=folder,
        )


class ChangedMeanwhileError(HubspoolError, OSError):
    """What stands at a path on the Hub is not what was planned for; the next attempt plans anew."""

    retryable = True

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} changed on the Hub meanwhile.", hint="It is looked at again at once.", path=path)


class StalledError(HubspoolError, TimeoutError):
    """A push has not moved on for longer than every one of its requests may take."""

    retryable = True

    def __init__(self, state: str, seconds: float) -> None:
        super().__init__(
            f"The push has been {state} for {seconds:.0f} seconds.",
            hint="It hangs in the disk or the network below us; what is appended is kept. A restart sends it.",
        )


class LedgerError(HubspoolError, OSError):
    """The ledger cannot be opened just now; nothing is known to be wrong with it."""

    retryable = True

    def __init__(self, ledger: str | Path, reason: str) -> None:
        super().__init__(
            f"The ledger {ledger} cannot be opened: {reason}.",
            hint="Check that the disk has room and the folder is writable, or pass state_dir=... on another disk.",
            path=ledger,
        )


class RepoReplacedError(HubspoolError, OSError):
    """The repository was deleted and made again since this folder was pushed to it; nothing is sent to the new one.

    Args:
        repo_id: Its name.
        folder: The folder whose content it held.
    """

    def __init__(self, repo_id: str, folder: str | Path) -> None:
        super().__init__(
            f"{repo_id} is not the repository that {folder} was pushed to: it was deleted and made again.",
            hint=f"To send everything in the folder to the new one, run `hubspool flush {folder} --to-new-repo`.",
            path=folder,
        )


class EntryNotFoundError(HubspoolError, FileNotFoundError):
    """There is no such file, here or on the Hub."""


class LocalEntryNotFoundError(EntryNotFoundError):
    """The file is not on this disk, and the Hub was not to be asked."""


class RequestError(HubspoolError, OSError):
    """A request to the Hub failed.

    Attributes:
        method: HTTP method.
        url: Address without its query.
        status_code: Status of the answer, None without one.
        request_id: The Hub's name for the request, for its support.
        server_message: What the Hub said.
        retry_after: Seconds after which the Hub wants to be asked again, None when it said nothing.
        details: The JSON object of a 409, which names what is there already.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        path: str | Path | None = None,
        method: str | None = None,
        url: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        server_message: str | None = None,
        retry_after: float | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        super().__init__(message, hint=hint, path=path)
        self.method = method
        self.url = url
        self.status_code = status_code
        self.request_id = request_id
        self.server_message = server_message
        self.retry_after = retry_after
        self.details = details
        if retryable is not None:
            self.retryable = retryable
        if outcome is not None:
            self.outcome = outcome

    def __str__(self) -> str:
        request_id = f" (Request ID: {self.request_id})" if self.request_id else ""
        return f"{self.message} {self.hint}".strip() + request_id


class OfflineModeIsEnabled(RequestError, ConnectionError):  # noqa: N818 - huggingface_hub's name
    """HF_HUB_OFFLINE is set, and the address is not on this machine."""

    default_hint = "Unset HF_HUB_OFFLINE to reach it."


class HubConnectionError(RequestError, ConnectionError):
    """No connection to the Hub could be made, or it broke before the answer was complete."""

    retryable = True
    default_hint = "Check the network and HF_ENDPOINT."


class HubTimeoutError(RequestError, TimeoutError):
    """The other side was silent for longer than it may be (HUBSPOOL_TIMEOUT, seconds)."""

    retryable = True
    default_hint = "Try again later; HUBSPOOL_TIMEOUT sets how many seconds a request may be silent."


class XetTransferError(RequestError):
    """hf_xet gave up on a transfer. An upload commits nothing, so it can always be repeated."""

    retryable = True
    default_hint = "Try again; HF_HUB_DISABLE_XET=1 uploads through LFS instead."


class BadResponseError(RequestError, ValueError):
    """The Hub's answer cannot be understood; the request may have been applied."""

    retryable = True
    outcome = Outcome.UNKNOWN
    default_hint = "Check that HF_ENDPOINT is the address of a Hub and that no proxy changes its answers."


class HfHubHTTPError(RequestError):
    """The Hub answered with an error status."""

    def __init__(self, message: str, **fields: Any) -> None:
        status = fields.get("status_code")
        if status is not None:
            fields.setdefault("retryable", self.retryable or status in TRANSIENT_STATUSES)
            fields.setdefault("outcome", outcome_of_status(status))
        super().__init__(message, **fields)


class BadRequestError(HfHubHTTPError, ValueError):
    """The Hub refused the content of the request (400, 422)."""


class UnauthorizedError(HfHubHTTPError, PermissionError):
    """The Hub wants a token, or does not accept the one it got (401)."""


class ForbiddenError(HfHubHTTPError, PermissionError):
    """The token does not allow this (403)."""

    default_hint = "Check that the token may write to this repository (https://huggingface.co/settings/tokens)."


class RepositoryNotFoundError(HfHubHTTPError):
    """There is no such repository, or it is private and the token does not show it."""

    default_hint = (
        "Check repo_id and repo_type, and that the token may see the repository; create_repo makes a new one."
    )


class GatedRepoError(RepositoryNotFoundError):
    """The repository is gated and the account has no access."""

    default_hint = "Ask for access on the repository's page."


class DisabledRepoError(HfHubHTTPError):
    """The repository was disabled."""


class RevisionNotFoundError(HfHubHTTPError):
    """The repository has no such branch, tag or commit."""

    default_hint = "Check the revision, or create the branch first."


class RemoteEntryNotFoundError(HfHubHTTPError, EntryNotFoundError):
    """The repository has no such file at that revision."""


class ConflictError(HfHubHTTPError):
    """The repository's state does not allow this: it exists already, or an operation is in progress (409)."""


class ParentCommitMismatchError(HfHubHTTPError):
    """The branch moved on since parent_commit; nothing was committed (412)."""

    default_hint = "Read the branch again, check that the commit still fits, and pass its head as parent_commit."


class PayloadTooLargeError(HfHubHTTPError, ValueError):
    """The request is larger than the Hub takes (413)."""

    default_hint = "Send fewer files, or less inline content, at a time."


class RateLimitedError(HfHubHTTPError):
    """Too many requests or commits (429); `retry_after` says how many seconds to wait, if the Hub did."""

    default_hint = "Wait, and push less often."
