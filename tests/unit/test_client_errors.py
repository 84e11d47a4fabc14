"""Errors are data: what they inherit, what they know, and what they never show."""

from __future__ import annotations

import pickle

import pytest
import requests

from hubspool import errors
from hubspool.client.http_errors import error_of, public_url
from hubspool.errors import (
    BadRequestError,
    BadResponseError,
    ConflictError,
    FileShrankError,
    ForbiddenError,
    GatedRepoError,
    HfHubHTTPError,
    HubConnectionError,
    HubspoolError,
    HubTimeoutError,
    LocalTokenNotFoundError,
    Outcome,
    ParentCommitMismatchError,
    PayloadTooLargeError,
    RateLimitedError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SpoolFull,
    UnauthorizedError,
    outcome_of_status,
)
from hubspool.settings import Token

SECRET = "hf_neverShownAnywhere"
TOKEN = Token(SECRET, "HF_TOKEN")


def answer(
    status: int,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    *,
    method: str = "POST",
    url: str = "http://hub.test/api/datasets/u/d/commit/main?signature=secret",
) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers or {})
    response._content = body
    response.url = url
    response.request = requests.Request(method, url, headers={"Authorization": f"Bearer {SECRET}"}).prepare()
    return response


def error_for(status: int, *, token: Token | None = TOKEN, **kwargs: object) -> HubspoolError:
    error = error_of(answer(status, **kwargs), token)  # type: ignore[arg-type]
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("status", "kind", "builtin", "outcome", "retryable"),
    [
        (400, BadRequestError, ValueError, Outcome.NOT_APPLIED, False),
        (401, UnauthorizedError, PermissionError, Outcome.NOT_APPLIED, False),
        (403, ForbiddenError, PermissionError, Outcome.NOT_APPLIED, False),
        (404, HfHubHTTPError, OSError, Outcome.NOT_APPLIED, False),
        (408, HfHubHTTPError, OSError, Outcome.UNKNOWN, True),
        (409, ConflictError, OSError, Outcome.NOT_APPLIED, False),
        (412, ParentCommitMismatchError, OSError, Outcome.NOT_APPLIED, False),
        (413, PayloadTooLargeError, ValueError, Outcome.NOT_APPLIED, False),
        (422, BadRequestError, ValueError, Outcome.NOT_APPLIED, False),
        (429, RateLimitedError, OSError, Outcome.NOT_APPLIED, True),
        (500, HfHubHTTPError, OSError, Outcome.UNKNOWN, True),
        (503, HfHubHTTPError, OSError, Outcome.UNKNOWN, True),
        (504, HfHubHTTPError, OSError, Outcome.UNKNOWN, True),
        (307, BadResponseError, ValueError, Outcome.UNKNOWN, False),
    ],
)
def test_a_status_says_what_kind_of_error_it_is_and_what_happened(
    status: int, kind: type[HubspoolError], builtin: type[Exception], outcome: Outcome, retryable: bool
) -> None:
    error = error_for(status)
    assert type(error) is kind
    assert isinstance(error, builtin)
    assert error.outcome is outcome
    assert error.retryable is retryable


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (404, {"X-Error-Code": "RepoNotFound"}, RepositoryNotFoundError),
        (401, {"X-Error-Code": "RepoNotFound"}, RepositoryNotFoundError),
        (404, {"X-Error-Code": "RevisionNotFound"}, RevisionNotFoundError),
        (404, {"X-Error-Code": "EntryNotFound"}, RemoteEntryNotFoundError),
        (403, {"X-Error-Code": "GatedRepo"}, GatedRepoError),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, errors.DisabledRepoError),
    ],
)
def test_the_hubs_error_code_decides_before_the_status(
    status: int, headers: dict[str, str], kind: type[HubspoolError]
) -> None:
    assert type(error_for(status, headers=headers)) is kind


def test_a_bare_401_to_a_reader_means_that_the_repository_is_not_shown() -> None:
    url = "https://hub.test/api/datasets/u/d"
    assert isinstance(error_for(401, method="GET", url=url, token=None), RepositoryNotFoundError)
    assert isinstance(error_for(401, method="GET", url=url), UnauthorizedError)
    assert isinstance(error_for(401, token=None), UnauthorizedError)


def test_a_401_says_how_to_log_in_or_where_the_refused_token_came_from() -> None:
    assert "hubspool login" in str(error_for(401, token=None))
    assert "No token was sent" in str(error_for(401, token=None))
    refused = str(error_for(401))
    assert "The token from HF_TOKEN was refused" in refused
    assert SECRET not in refused


def test_an_error_carries_what_the_hub_said_and_its_request_id() -> None:
    error = error_for(
        400,
        headers={"X-Request-Id": "Root=1-abc", "X-Error-Message": "no"},
        body=b'{"error": ["first", "second"], "errors": [{"message": "third"}]}',
    )
    assert isinstance(error, HfHubHTTPError)
    assert error.server_message == "no first second third"
    assert error.request_id == "Root=1-abc"
    assert "Root=1-abc" in str(error)
    assert error.url == "http://hub.test/api/datasets/u/d/commit/main"


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_token_that_the_server_repeats_is_not_shown(kind: str) -> None:
    body = b'{"error": "bad header: Bearer %s"}' % SECRET.encode()
    error = error_for(400, headers={"Content-Type": kind}, body=body)
    assert SECRET not in str(error)
    assert SECRET not in repr(error)
    assert SECRET.encode() not in pickle.dumps(error)
    assert "bad header" in str(error)


def test_an_html_page_is_not_the_hubs_message() -> None:
    error = error_for(502, headers={"Content-Type": "text/html"}, body=b"<html>Bad gateway</html>")
    assert "<html>" not in str(error)


def test_a_rate_limit_says_how_long_to_wait() -> None:
    error = error_for(429, headers={"RateLimit": '"api";r=0;t=55'})
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 56


def test_a_conflict_is_worth_a_retry_only_while_something_is_in_progress() -> None:
    busy = b'{"error": "Cannot create repo: another conflicting operation is in progress"}'
    assert error_for(409, body=busy).retryable
    exists = error_for(409, body=b'{"error": "You already created this dataset repo", "url": "http://hub.test/x"}')
    assert not exists.retryable
    assert isinstance(exists, ConflictError)
    assert exists.details == {"error": "You already created this dataset repo", "url": "http://hub.test/x"}


def test_every_error_pickles_with_its_fields() -> None:
    examples: list[HubspoolError] = [error_for(status) for status in (307, 400, 401, 403, 404, 409, 412, 413, 429, 500)]
    examples += [
        HubTimeoutError("m", url="u", outcome=Outcome.UNKNOWN),
        HubConnectionError("m", retryable=False, outcome=Outcome.NOT_APPLIED),
        FileShrankError("m", path="p", hint="h"),
        LocalTokenNotFoundError("m"),
        SpoolFull("folder", 10, None),
        RemoteEntryNotFoundError("m", status_code=404),
    ]
    for error in examples:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert copy.__dict__ == error.__dict__
        assert str(copy) == str(error)
        assert (copy.retryable, copy.outcome) == (error.retryable, error.outcome)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = (errors.__doc__ or "").split("::")[1].split("Names that")[0]
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert {name for name in kinds if name not in drawn} == set()
    for kind in kinds - {"HubspoolError"}:
        assert issubclass(vars(errors)[kind], HubspoolError)
        builtin = [base for base in vars(errors)[kind].__mro__ if base.__module__ == "builtins"]
        assert builtin[0] is not Exception, f"{kind} inherits no builtin that a caller would catch"


@pytest.mark.parametrize("status", [201, 302, 418, 499, 520])
def test_an_unusual_status_leaves_open_what_happened(status: int) -> None:
    assert outcome_of_status(status) is Outcome.UNKNOWN


def test_addresses_are_shown_without_secrets() -> None:
    assert public_url("https://user:pw@host:1/a/b?sig=x#f") == "https://host:1/a/b"
