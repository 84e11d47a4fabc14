"""Turns an answer of the Hub, its status, headers and body, into errors and logged warnings.

The signs of an error are read in the order of huggingface_hub 2.4.0, whose users know these errors by name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from hubspool import errors
from hubspool.client.defaults import DEFAULTS
from hubspool.client.retry import retry_after
from hubspool.client.validation import address_of
from hubspool.settings import Token

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

_BY_CODE: dict[str, type[errors.HfHubHTTPError]] = {
    "RevisionNotFound": errors.RevisionNotFoundError,
    "EntryNotFound": errors.RemoteEntryNotFoundError,
    "GatedRepo": errors.GatedRepoError,
    "RepoNotFound": errors.RepositoryNotFoundError,
}
_BY_STATUS: dict[int, type[errors.HfHubHTTPError]] = {
    400: errors.BadRequestError,
    401: errors.UnauthorizedError,
    403: errors.ForbiddenError,
    409: errors.ConflictError,
    412: errors.ParentCommitMismatchError,
    413: errors.PayloadTooLargeError,
    422: errors.BadRequestError,
    429: errors.RateLimitedError,
}
_DISABLED = "Access to this resource is disabled."
_OF_A_REPOSITORY = re.compile(r"/api/(models|datasets|spaces|buckets)/|/resolve/")

#: The address of a bucket's page or of its part of the API, with its id.
_BUCKET = re.compile(r"^[^/]*//[^/]*(?:/api)?/buckets/([^/]+/[^/]+)(?:/|$)")

_warned: set[str] = set()


def public_url(url: str) -> str:
    """Return `url` without its query and credentials: signed addresses must not reach a log."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def error_of(response: requests.Response, token: Token | None) -> errors.RequestError | None:
    """Return the error that `response` means; None for a success.

    Args:
        response: the answer; its body is read only if it is an error.
        token: the token that was sent; only its source gets into the message.
    """
    status = response.status_code
    if 200 <= status < 300:
        return None
    server_message = _server_message(response, token)
    fields: dict[str, Any] = {
        "method": response.request.method,
        "url": public_url(response.url),
        "status_code": status,
        "request_id": _request_id(response.headers),
        "server_message": server_message or None,
        "retry_after": retry_after(response.headers) if status in (429, 503) else None,
        "response": _answer(response, token),
    }
    what = f"{fields['method']} {fields['url']} answered {status}"
    if status < 400:
        return errors.BadResponseError(
            f"{what}, which redirects to {public_url(response.headers.get('Location', 'no address'))}.",
            **{**fields, "retryable": False},
        )
    kind = _kind(response, token)
    sentence = kind.sentence
    if kind is errors.RepositoryNotFoundError and (bucket := _BUCKET.search(fields["url"])):
        sentence = f"There is no bucket {address_of(bucket[1], 'bucket')}, or the token may not see it"
        fields["hint"] = "Check the address and the token; a scheduler, or create_bucket, creates a new one."
    if status == 409:
        fields["details"] = _json_object(response)
    if status == 401:
        fields["hint"] = _token_hint(token)
        sentence = sentence if token is not None else "The Hub wants a token"
    if kind is errors.ConflictError and "in progress" in server_message:
        fields["retryable"] = True
    elif kind is errors.HfHubHTTPError:
        sentence, fields["hint"] = _unnamed(status)
    elif fields["retry_after"] is not None:
        fields["hint"] = f"Wait {fields['retry_after']:.0f} s, and push less often."
    return kind(failure_text(sentence, server_message, what), **fields)


def _unnamed(status: int) -> tuple[str, str]:
    """Return what a status means that has no class, and what to do."""
    if status == 404:
        return "The Hub has nothing at this address", "Check HF_ENDPOINT, repo_id, repo_type and revision."
    return ("The Hub has a problem", "Try again later.") if status >= 500 else ("The Hub refused the request", "")


def failure_text(sentence: str, reason: str, request: str) -> str:
    """Return a message: what a failure means, its reason if one is known, and the request."""
    return f"{': '.join(filter(None, [sentence, reason.rstrip('.')]))} ({request})."


def log_warnings(response: requests.Response) -> None:
    """Log each ``X-HF-Warning: topic; message`` once per topic and process."""
    raw = getattr(response.raw, "headers", None)
    values = raw.getlist("X-HF-Warning") if raw is not None and hasattr(raw, "getlist") else []
    for value in values:
        topic, _, text = value.partition(";")
        topic, text = (topic.strip(), text.strip()) if text else ("", value.strip())
        if topic not in _warned:
            _warned.add(topic)
            logger.warning("The Hub says: %s", text)


def _kind(response: requests.Response, token: Token | None) -> type[errors.HfHubHTTPError]:
    status, headers = response.status_code, response.headers
    if (kind := _BY_CODE.get(headers.get("X-Error-Code", ""))) is not None:
        return kind
    if headers.get("X-Error-Message") == _DISABLED:
        return errors.DisabledRepoError
    reading = response.request.method in ("GET", "HEAD")
    if status == 401 and reading and token is None and _OF_A_REPOSITORY.search(response.url):
        # The Hub does not tell a caller without an account whether a repository exists.
        return errors.RepositoryNotFoundError
    return _BY_STATUS.get(status, errors.HfHubHTTPError)


def _token_hint(token: Token | None) -> str:
    if token is None:
        return f"No token was sent. {errors.LocalTokenNotFoundError.default_hint}"
    return (
        f"The token from {token.source} was refused: it may be revoked, expired or of another Hub."
        " Make a new one at https://huggingface.co/settings/tokens, or run `hubspool login`."
    )


def _answer(response: requests.Response, token: Token | None) -> errors.ErrorResponse:
    headers = response.headers.copy()
    for name in ("Location", "Link", "Set-Cookie"):
        headers.pop(name, None)
    try:
        text = response.text[: DEFAULTS.body_characters]
    except (OSError, ValueError):  # an incomplete body: the status decides
        text = ""
    return errors.ErrorResponse(response.status_code, headers, _without_token(text, token))


def _without_token(text: str, token: Token | None) -> str:
    """Return a text of the server, which may repeat the request's headers, and so the token."""
    return text.replace(token.value, "hf_***") if token is not None else text


def _request_id(headers: Mapping[str, str]) -> str | None:
    for name in ("X-Request-Id", "X-Amzn-Trace-Id", "X-Amz-Cf-Id"):
        if value := headers.get(name):
            return value
    return None


def _server_message(response: requests.Response, token: Token | None) -> str:
    parts: list[str] = [response.headers.get("X-Error-Message", "").strip()]
    body = _json_object(response)
    if body is None:
        parts.append(_text(response))
    else:
        error = body.get("error")
        parts += [str(each) for each in error] if isinstance(error, list) else [str(error or "")]
        parts.append(str(body.get("error_description") or ""))
        for entry in body.get("errors") or []:
            parts.append(str(entry.get("message", "")) if isinstance(entry, dict) else str(entry))
    unique = dict.fromkeys(part.strip() for part in parts if part.strip())
    return _without_token(" ".join(" ".join(unique).split())[: DEFAULTS.message_characters], token)


def _json_object(response: requests.Response) -> Mapping[str, Any] | None:
    try:
        body: Any = response.json()
    except (ValueError, OSError):  # not JSON, or an incomplete body: the status decides
        return None
    return body if isinstance(body, dict) else None


def _text(response: requests.Response) -> str:
    kind = response.headers.get("Content-Type", "")
    if "html" in kind or not kind.startswith("text/"):
        return ""
    try:
        return response.text
    except OSError:
        return ""
