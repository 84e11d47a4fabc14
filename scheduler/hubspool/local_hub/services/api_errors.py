"""The refusals of the Hub, with the status, code and wording that clients look for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class HubError(Exception):
    """A request that is refused.

    Attributes:
        status: HTTP status.
        message: Goes into the body and into X-Error-Message.
        code: X-Error-Code; clients choose their exception by it.
        fields: Further members of the JSON body.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        fields: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})


class RepoMovedError(HubError):
    """The repository has another name now: the answer sends the client there.

    Attributes:
        new_id: `namespace/name`.
    """

    def __init__(self, new_id: str) -> None:
        super().__init__(307, f"Temporary Redirect. This repository is called {new_id} now")
        self.new_id = new_id


def member(mapping: object, name: str, kind: type[T], default: T) -> T:
    """A member of a JSON object, `default` when it is absent or null.

    Raises:
        HubError: 400 when it is of another kind, or there is no object.
    """
    value = mapping.get(name) if isinstance(mapping, dict) else mapping
    if value is None:
        return default
    if not isinstance(mapping, dict) or not isinstance(value, kind):
        raise HubError(400, f"Invalid body: {name!r} is not of the type {kind.__name__}")
    return value


def repo_not_found() -> HubError:
    return HubError(404, "Repository not found", "RepoNotFound")


def login_needed(code: str | None = None) -> HubError:
    """What an anonymous caller gets, the same for a repository that is missing and for one that is private."""
    return HubError(
        401,
        "Invalid username or password.",
        code,
        headers={"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'},
    )


def bad_token() -> HubError:
    return HubError(401, "Invalid credentials in Authorization header")


def revision_not_found(rev: str) -> HubError:
    return HubError(404, f"Invalid rev id: {rev}", "RevisionNotFound")


def entry_not_found(commit: str | None = None, message: str = "Entry not found") -> HubError:
    headers = {"X-Repo-Commit": commit} if commit else {}
    return HubError(404, message, "EntryNotFound", headers=headers)
