"""Errors of the Hub's API, with the status, code and text that clients look for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class ApiError(Exception):
    """The Hub refuses a request.

    Attributes:
        status: HTTP status.
        message: text of the body and of the header X-Error-Message.
        code: header X-Error-Code, by which clients choose their exception.
        fields: further members of the JSON body.
        headers: further headers.
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


class RepositoryRenamedError(ApiError):
    """The repository was renamed; the answer redirects the client.

    Attributes:
        new_id: `namespace/name`.
    """

    def __init__(self, new_id: str) -> None:
        super().__init__(307, f"Temporary Redirect. This repository is called {new_id} now")
        self.new_id = new_id


def member(mapping: object, name: str, kind: type[T], default: T) -> T:
    """Return a member of a JSON object, or `default` if it is absent or null.

    Raises:
        ApiError: 400 if the member has another type, or if `mapping` is not an object.
    """
    value = mapping.get(name) if isinstance(mapping, dict) else mapping
    if value is None:
        return default
    if not isinstance(mapping, dict) or not isinstance(value, kind):
        raise ApiError(400, f"Invalid body: {name!r} is not of the type {kind.__name__}")
    return value


def repo_not_found() -> ApiError:
    return ApiError(404, "Repository not found", "RepoNotFound")


def login_needed(code: str | None = None) -> ApiError:
    """Return the answer to a request without a token: the same for private and for missing repositories."""
    return ApiError(
        401,
        "Invalid username or password.",
        code,
        headers={"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'},
    )


def bad_token() -> ApiError:
    return ApiError(401, "Invalid credentials in Authorization header")


def revision_not_found(rev: str) -> ApiError:
    return ApiError(404, f"Invalid rev id: {rev}", "RevisionNotFound")


def entry_not_found(commit: str | None = None, message: str = "Entry not found") -> ApiError:
    headers = {"X-Repo-Commit": commit} if commit else {}
    return ApiError(404, message, "EntryNotFound", headers=headers)
