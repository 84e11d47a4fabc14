"""Buckets: create, list, describe, change, read, follow.

Source of the protocol: huggingface_hub 2.4 and its tests; https://huggingface.co/docs/hub/storage-buckets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hubspool.local_hub.identifiers import ALL_TYPES, EMPTY_FILE, is_content_hash
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes.contents import asked_paths, file_answer
from hubspool.local_hub.routes.repos import created, is_private
from hubspool.local_hub.routes.request_context import RequestContext, ok
from hubspool.local_hub.services.api_errors import ApiError, member, repo_not_found
from hubspool.local_hub.services.buckets import Bucket, BucketState
from hubspool.local_hub.services.repositories import BaseRepository, iso


def _describe(bucket: Bucket) -> dict[str, object]:
    state = bucket.state
    return {
        "id": bucket.id,
        "private": bucket.settings.private,
        "createdAt": bucket.settings.created_at,
        "updatedAt": iso(state.updated_at / 1000),
        "size": state.size,
        "totalFiles": len(state.files),
    }


def listing(context: RequestContext) -> Response:
    namespace = context.logged_in().name if context.args["namespace"] == "me" else context.args["namespace"]
    known = {name.lower() for user in context.services.accounts.users for name in user.namespaces}
    if namespace.lower() not in known:  # also what clients get that ask for a bucket without its namespace
        raise repo_not_found()
    search = context.request.query_params.get("search", "").lower()
    buckets = context.services.buckets.visible(context.user, "bucket")
    found = [each for each in buckets if each.namespace.lower() == namespace.lower() and search in each.id.lower()]
    page, link = context.page(found, LIMITS.repos_page)
    return ok([_describe(each) for each in page], headers=link)


def create(context: RequestContext) -> Response:
    body, (namespace, name) = context.json(), context.args["repo"].split("/")
    bucket_id = f"{context.author if namespace == 'me' else namespace}/{name}"
    if body.get("region") not in (None, "us", "eu"):
        raise ApiError(400, f"Invalid region {body['region']!r}: use us or eu")
    url, bucket = created(context, "bucket", bucket_id, body)
    return ok({"url": url, "name": bucket.id, "id": bucket.id})


def info(context: RequestContext) -> Response:
    return ok(_describe(context.bucket()))


def delete(context: RequestContext) -> None:
    context.services.buckets.delete(context.bucket("write"))


def settings(context: RequestContext) -> Response:
    bucket = context.bucket("write")
    private = is_private(context.json(), default=bucket.settings.private)
    bucket.change_settings(replace(bucket.settings, private=private))
    return ok({"private": private})


def _listed(context: RequestContext) -> BucketState:
    """Return the files that a list is made of: those of now, or older ones for a stale answer."""
    bucket = context.bucket()
    if not context.commits_back:
        return bucket.state
    context.is_stale = bucket.state.number > 0
    return bucket.state_before(context.commits_back)


def tree(context: RequestContext) -> Response:
    query = context.request.query_params
    page = _listed(context).listing(
        context.args.get("path", ""),
        recursive=context.flag("recursive") or "recursive" not in query,
        limit=context.limit(LIMITS.tree_page),
        cursor=query.get("cursor", ""),
    )
    return ok(page.entries, headers=context.next_link(page.cursor))


def paths_info(context: RequestContext) -> Response:
    files, (paths, _) = _listed(context).files, asked_paths(context, LIMITS.bucket_paths)
    return ok([files[path].describe() for path in paths if path in files])


def batch(context: RequestContext) -> Response:
    bucket, lines = context.bucket("write"), [line for line in context.body.split(b"\n") if line.strip()]
    if len(lines) > LIMITS.bucket_operations:
        raise ApiError(413, f"A batch takes at most {LIMITS.bucket_operations} operations")
    try:
        operations = [orjson.loads(line) for line in lines]
    except ValueError:
        raise ApiError(400, "The body is not lines of JSON") from None
    failed = bucket.batch(operations, partial(_size, context, bucket))
    count = len(operations)
    answer = {"success": not failed, "processed": count, "succeeded": count - len(failed), "failed": failed}
    return ok(answer, status=422 if failed and len(failed) == count else 200)


def _size(context: RequestContext, bucket: Bucket, operation: dict[str, Any]) -> int:
    """Return the size of the content that an operation adds or copies.

    Raises:
        ApiError: the bucket, or what it copies from, does not hold this content, or the user may not read it.
    """
    xet_hash = member(operation, "xetHash", str, "")
    if not is_content_hash(xet_hash):
        raise ApiError(400, f"Invalid xetHash {xet_hash[:100]!r}")
    source: BaseRepository = bucket
    is_copy = operation["type"] == "copyFile"
    if is_copy:
        kind, repo_id = (member(operation, name, str, "") for name in ("sourceRepoType", "sourceRepoId"))
        if kind not in ALL_TYPES:
            raise ApiError(400, f"Invalid sourceRepoType {kind!r}")
        source = context.services.kept(kind).find(context.user, kind, repo_id)
    size = source.size_of_xet(xet_hash)
    if size is None or (is_copy and xet_hash == EMPTY_FILE and xet_hash not in source.held):
        raise ApiError(404, f"The content {xet_hash} was not uploaded to {source.url_path}")
    return size


def resolve(context: RequestContext) -> Response:
    bucket = context.bucket()
    file = bucket.state.open(context.args["path"])
    headers = {"ETag": f'"{file.xet_hash}"', "X-Linked-Size": str(file.size)}
    token = f"{bucket.url_path}/xet-read-token"
    return file_answer(context, file, headers, token, file.xet_hash, file.content_type or "")


def events(context: RequestContext) -> Response:
    """Answer with the changes since a moment, and then with those that come, until the client goes away."""
    bucket, query = context.bucket(), context.request.query_params
    if "text/event-stream" not in context.request.headers.get("accept", ""):
        raise ApiError(400, "Events are sent as text/event-stream: say so in the header Accept")
    state = bucket.state
    known = state.number - len(state.recent)  # the last change that cannot be told any more
    after: int | None = state.number
    if "cursor" in query:
        found = re.fullmatch(r"([0-9a-f]+)-(\d{1,18})", query["cursor"])
        if found is None:
            raise ApiError(400, f"Invalid cursor {query['cursor'][:100]!r}")
        is_kept = found[1] == bucket.settings.id and known <= int(found[2]) <= state.number
        after = int(found[2]) if is_kept else None
    elif "since" in query:
        since = _milliseconds(query["since"])
        found_at = (change.number - 1 for change in state.recent if change.at >= since)
        after = next(found_at, state.number) if since >= state.forgotten_at else None
    stream = _stream(context, bucket, after)
    return StreamingResponse(stream, headers={"Cache-Control": "no-store"}, media_type="text/event-stream")


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
        return round((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ApiError(400, f"Invalid since {text[:100]!r}: write 2026-01-31T12:00:00.000Z") from None


async def _stream(context: RequestContext, bucket: Bucket, after: int | None) -> AsyncIterator[bytes]:
    """Yield the events after a change; None: it is no longer known."""
    if after is None:
        yield _event("reset", reason="cursor_too_old")
        return
    clock = asyncio.get_running_loop().time
    until, heard, is_ready = clock() + LIMITS.bucket_stream_seconds, clock(), False
    while clock() < until and not context.services.stopping.is_set():
        state = bucket.state
        new = state.recent[after - state.number :] if after < state.number else ()
        if new or clock() - heard > LIMITS.bucket_ping_seconds:
            heard = clock()
            try:
                if await run_in_threadpool(context.bucket) is not bucket:
                    return
            except ApiError:  # it was deleted or renamed, or has become private
                return
            after = state.number
            changes = [change.describe() for change in new]
            yield _event("changes", **_cursor(bucket, after), changes=changes) if new else b": ping\n\n"
        if not is_ready:
            is_ready = True
            yield _event("ready", **_cursor(bucket, after))
        await asyncio.sleep(LIMITS.bucket_poll_seconds)
    yield _event("reconnect", **_cursor(bucket, after))


def _cursor(bucket: Bucket, number: int) -> dict[str, str]:
    return {"cursor": f"{bucket.settings.id}-{number}"} if number else {}


def _event(name: str, **data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))
