"""Repositories: create, delete, rename, settings, descriptions and listings."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast

from starlette.responses import Response

from hubspool.local_hub.identifiers import REPO_TYPES, AnyType, RepoType, url_path
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes.request_context import RequestContext, ok
from hubspool.local_hub.services import cards
from hubspool.local_hub.services.api_errors import ApiError, member
from hubspool.local_hub.services.file_access import load_file
from hubspool.local_hub.services.repositories import BaseRepository, Repository, iso

# Fields of `?expand=` that the Hub knows and that have no meaning on this machine: they are answered with null.
_UNKNOWN_HERE = re.findall(
    r"[\w-]+",
    "arxivIds baseModels childrenModelCount citation config datasets description downloadsAllTime evalResults gguf "
    "inference inferenceProviderMapping library_name mask_token model-index models paperswithcode_id pipeline_tag "
    "resourceGroup safetensors security spaces subdomain transformersInfo trendingScore usedStorage widgetData",
)


def repo_type(body: object) -> RepoType:
    """Return the repository type that the body of a request names; models are the default.

    Raises:
        ApiError: 400 for an unknown type.
    """
    kind = member(body, "type", str, "") or "model"
    if kind not in REPO_TYPES:
        raise ApiError(400, f"Invalid repository type {kind!r}")
    return kind


def _named(context: RequestContext) -> tuple[RepoType, str, dict[str, Any]]:
    """Return the repository that the body of a request names; without an organization it is the user's."""
    body = context.json()
    kind, name = repo_type(body), member(body, "name", str, "")
    if "/" not in name:
        name = f"{body.get('organization') or context.author}/{name}"
    return kind, name, body


def create(context: RequestContext) -> Response:
    kind, repo_id, body = _named(context)
    url, repo = created(context, kind, repo_id, body)
    return ok({"url": url, "name": repo.id, "id": repo.settings.id})


def created(context: RequestContext, kind: AnyType, repo_id: str, body: dict[str, Any]) -> tuple[str, BaseRepository]:
    """Create a repository or a bucket; return the address of its page, too.

    Raises:
        ApiError: as `BaseRepositories.create`.
    """
    url, private = f"{context.endpoint}/{url_path(kind, repo_id)}", is_private(body, default=False)
    try:
        repo = context.services.kept(kind).create(context.user, kind, repo_id, private=private, sdk=body.get("sdk"))
    except ApiError as error:
        if error.status == 409:
            error.fields["url"] = url  # clients with exist_ok read it from the error
        raise
    return url, repo


def delete(context: RequestContext) -> None:
    kind, repo_id, _ = _named(context)
    context.services.repositories.delete(context.services.repositories.find(context.user, kind, repo_id, "write"))


def is_private(body: dict[str, Any], *, default: bool) -> bool:
    if body.get("visibility") is not None:
        if body["visibility"] not in ("public", "private", "protected"):
            raise ApiError(400, f"Invalid visibility {body['visibility']!r}: use public, private or protected")
        return bool(body["visibility"] != "public")
    return member(body, "private", bool, default)


def move(context: RequestContext) -> Response:
    body = context.json()
    kind: AnyType = "bucket" if body.get("type") == "bucket" else repo_type(body)
    old, new = member(body, "fromRepo", str, ""), member(body, "toRepo", str, "")
    kept = context.services.kept(kind)
    kept.move(context.user, kept.find(context.user, kind, old, "write"), new)
    return ok({"url": f"{context.endpoint}/{url_path(kind, new)}"})


def settings(context: RequestContext) -> Response:
    repo, body = context.repo("write"), context.json()
    gated = body.get("gated", repo.settings.gated)
    if gated not in ("auto", "manual", False):
        raise ApiError(400, f"Invalid gated value {gated!r}: use auto, manual or false")
    private = is_private(body, default=repo.settings.private)
    repo.change_settings(replace(repo.settings, private=private, gated=gated))
    return ok({"private": private, "gated": gated, "visibility": "private" if private else "public"})


def info(context: RequestContext) -> Response:
    described = _describe(context, context.repo(), context.expand)
    return ok(_expanded(described, context.expand) if context.expand else described)


def _expanded(described: dict[str, object], fields: list[str]) -> dict[str, object]:
    known = {**dict.fromkeys(_UNKNOWN_HERE), **described}
    if unknown := [name for name in fields if name not in known]:
        raise ApiError(400, f"Invalid expand value: {', '.join(unknown)}. Known: {', '.join(sorted(known))}")
    return {name: known[name] for name in known if name in ("_id", "id", *fields)}


def _describe(context: RequestContext, repo: Repository, expand: list[str]) -> dict[str, object]:
    commit = repo.git.commit(context.commit_of(repo))
    described = {**_summary(repo), "sha": commit.oid, "lastModified": iso(commit.date)}
    card = cards.of(repo, commit.root)
    described.update(cardData=card, tags=cards.tags(card), xetEnabled=context.services.contents.uses_xet, siblings=[])
    if not expand or "siblings" in expand:
        described["siblings"] = _siblings(repo, commit.root, blobs=context.flag("blobs"))
    if "usedStorage" in expand:
        described["usedStorage"] = sum(load_file(repo, entry).size for entry in repo.git.files(commit.root))
    return described


def _siblings(repo: Repository, root: str, *, blobs: bool) -> list[dict[str, object]]:
    siblings = []
    for entry in repo.git.files(root):
        sibling: dict[str, object] = {"rfilename": entry.path}
        if blobs:
            file = load_file(repo, entry)
            sibling.update(size=file.size, blobId=file.oid)
            if (pointer := file.pointer) is not None:
                sibling["lfs"] = {"sha256": pointer.sha256, "size": pointer.size, "pointerSize": file.size_in_git}
        siblings.append(sibling)
    return siblings


def _summary(repo: Repository) -> dict[str, object]:
    summary: dict[str, object] = {
        "_id": repo.settings.id,
        "id": repo.id,
        "author": repo.namespace,
        "createdAt": repo.settings.created_at,
        "private": repo.settings.private,
        "disabled": False,
        "gated": repo.settings.gated,
        "downloads": 0,
        "likes": 0,
        "tags": [],
    }
    if repo.type == "model":
        summary["modelId"] = repo.id
    if repo.type == "space":
        summary["sdk"] = repo.settings.sdk
        summary["runtime"] = {"stage": "NO_APP_FILE", "hardware": None, "storage": None, "gcTimeout": None}
    return summary


def listing(context: RequestContext) -> Response:
    query = context.request.query_params
    fields = context.expand or ["cardData"]
    shown = context.services.repositories.whole(_searched(context), lambda repo: _describe(context, repo, fields))
    for tag in query.getlist("filter"):
        shown = [described for described in shown if tag in cast("list[str]", described["tags"])]
    if (order := query.get("sort")) in ("createdAt", "lastModified"):
        shown.sort(key=lambda described: str(described[order]), reverse=query.get("direction", "-1") == "-1")
    page, link = context.page(shown, LIMITS.repos_page)
    return ok([_chosen(context, described) for described in page], headers=link)


def _searched(context: RequestContext) -> list[Repository]:
    query = context.request.query_params
    repos = context.services.repositories.visible(context.user, context.repo_type)
    if author := query.get("author"):
        repos = [repo for repo in repos if repo.namespace.lower() == author.lower()]
    for search in query.getlist("search"):
        repos = [repo for repo in repos if search.lower() in repo.id.lower()]
    return repos


def _chosen(context: RequestContext, described: dict[str, object]) -> dict[str, object]:
    """Return the fields that the query asks for."""
    if context.expand:
        return _expanded(described, context.expand)
    if not context.flag("full") and not context.flag("cardData"):
        del described["cardData"]
    return described


def auth_check(context: RequestContext) -> None:
    context.repo("write" if "write" in context.args else "read")


def validate_yaml(context: RequestContext) -> Response:
    try:
        card = cards.parse(member(context.json(), "content", str, ""))
    except ValueError as error:
        return ok({"errors": [{"message": str(error)}], "warnings": []}, status=400)
    warnings = [] if card else [{"message": "empty or missing yaml metadata in repo card"}]
    return ok({"errors": [], "warnings": warnings})
