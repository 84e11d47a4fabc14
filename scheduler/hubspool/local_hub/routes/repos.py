"""Accounts and repositories."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast

from starlette.responses import Response

from hubspool.local_hub.routes.request_context import API, REV, Call, Route, ok
from hubspool.local_hub.services import cards
from hubspool.local_hub.services.api_errors import HubError, login_needed, member
from hubspool.local_hub.services.file_access import describe
from hubspool.local_hub.services.repositories import REPO_TYPES, Repository, RepoType, iso, url_prefix
from hubspool.local_hub.storage.git_store import Entry

# Fields of `?expand=` that the real Hub knows and that have no meaning on this machine: answered with null.
_FOREIGN = re.findall(
    r"[\w-]+",
    "arxivIds baseModels childrenModelCount citation config datasets description downloadsAllTime evalResults gguf "
    "inference inferenceProviderMapping library_name mask_token model-index models paperswithcode_id pipeline_tag "
    "resourceGroup safetensors security spaces subdomain transformersInfo trendingScore usedStorage widgetData",
)


def whoami(call: Call) -> Response:
    if call.user is None:
        raise login_needed()
    user = call.user
    token = {
        "displayName": "local",
        "role": "fineGrained" if user.role == "none" else user.role,
        "createdAt": iso(0),
    }
    return ok(
        {
            "type": "user",
            "id": user.name,
            "name": user.name,
            "fullname": user.name,
            "isPro": False,
            "canPay": False,
            "emailVerified": True,
            "orgs": [{**_organization(name), "roleInOrg": "write"} for name in user.organizations],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def _organization(name: str) -> dict[str, object]:
    return {"type": "org", "id": name, "name": name, "fullname": name, "avatarUrl": "", "isEnterprise": False}


def user_overview(call: Call) -> Response:
    name = call.args["name"]
    user = next((user for user in call.services.accounts.users if user.name == name), None)
    if user is None:
        raise HubError(404, f"There is no user {name!r}")
    counts = {f"num{kind.capitalize()}s": _count(call, kind, name) for kind in REPO_TYPES}
    organizations = [_organization(each) for each in user.organizations]
    described = {"_id": name, "user": name, "fullname": name, "avatarUrl": "", "isPro": False, "type": "user"}
    return ok({**described, **counts, "orgs": organizations})


def organization(call: Call) -> Response:
    """What is known of an organization, or who is in it."""
    name = call.args["name"]
    members = call.services.accounts.members(name)
    if not members:
        raise HubError(404, f"There is no organization {name!r}")
    if call.args["what"] == "members":
        return ok([{"user": each, "fullname": each, "avatarUrl": "", "isPro": False} for each in members])
    counts = {f"num{kind.capitalize()}s": _count(call, kind, name) for kind in REPO_TYPES}
    return ok({**_organization(name), **counts, "numUsers": len(members)})


def _count(call: Call, kind: RepoType, namespace: str) -> int:
    return sum(repo.namespace == namespace for repo in call.services.repositories.visible(call.user, kind))


def auth_check(call: Call) -> Response:
    call.repo("write" if "right" in call.args else "read")
    return ok()


def _named(call: Call) -> tuple[RepoType, str, dict[str, Any]]:
    """The repository that a create or delete body names; without an organization it is the caller's."""
    body = call.json()
    kind, name = body.get("type") or "model", body.get("name")
    if kind not in REPO_TYPES or not isinstance(name, str):
        raise HubError(400, f"Invalid repository: type {kind!r}, name {name!r}")
    if "/" not in name:
        name = f"{body.get('organization') or call.author}/{name}"
    return kind, name, body


def create(call: Call) -> Response:
    kind, repo_id, body = _named(call)
    private = _is_private(body, default=False)
    url = f"{call.endpoint}/{url_prefix(kind)}{repo_id}"
    try:
        repo = call.services.repositories.create(call.user, kind, repo_id, private=private, sdk=body.get("sdk"))
    except HubError as error:
        if error.status == 409:
            error.fields["url"] = url  # clients with exist_ok read it from the refusal
        raise
    return ok({"url": url, "name": repo.id, "id": repo.settings.id})


def delete(call: Call) -> Response:
    kind, repo_id, _ = _named(call)
    call.services.repositories.delete(call.services.repositories.find(call.user, kind, repo_id, "write"))
    return ok()


def _is_private(body: dict[str, Any], *, default: bool) -> bool:
    if body.get("visibility") is not None:
        if body["visibility"] not in ("public", "private", "protected"):
            raise HubError(400, f"Invalid visibility {body['visibility']!r}: use public, private or protected")
        return bool(body["visibility"] != "public")
    return member(body, "private", bool, default)


def move(call: Call) -> Response:
    body = call.json()
    kind, old, new = body.get("type") or "model", member(body, "fromRepo", str, ""), member(body, "toRepo", str, "")
    if kind not in REPO_TYPES:
        raise HubError(400, f"Invalid repository type {kind!r}")
    repositories = call.services.repositories
    repositories.move(call.user, repositories.find(call.user, kind, old, "write"), new)
    return ok({"url": f"{call.endpoint}/{url_prefix(kind)}{new}"})


def settings(call: Call) -> Response:
    repo, body = call.repo("write"), call.json()
    gated = body.get("gated", repo.settings.gated)
    if gated not in ("auto", "manual", False):
        raise HubError(400, f"Invalid gated value {gated!r}: use auto, manual or false")
    private = _is_private(body, default=repo.settings.private)
    repo.change_settings(replace(repo.settings, private=private, gated=gated))
    return ok({"private": private, "gated": gated, "visibility": "private" if private else "public"})


def duplicate_lfs(call: Call) -> Response:
    """Let another repository use content of this one: it is kept once for all, so there is nothing to copy."""
    repo, body = call.repo(), call.json()
    target = member(body, "target", dict, {})
    kind, name = target.get("type") or "model", member(target, "name", str, "")
    if kind not in REPO_TYPES:
        raise HubError(400, f"Invalid repository type {kind!r}")
    call.services.repositories.find(call.user, kind, name, "contribute")
    held = call.services.reachable.of_repository(repo)
    failed = [
        {"sha256": sha256, "error": f"{repo.id} has no such file"}
        for file in member(body, "files", list, [])
        if (sha256 := member(file, "sha256", str, "")) not in held
    ]
    return ok({"failed": failed})


def info(call: Call) -> Response:
    repo, query = call.repo(), call.request.query_params
    expand = query.getlist("expand") + query.getlist("expand[]")
    described = _describe(call, repo, expand)
    return ok(_expanded(described, expand) if expand else described)


def _expanded(described: dict[str, object], fields: list[str]) -> dict[str, object]:
    known = {**dict.fromkeys(_FOREIGN), **described}
    if unknown := [name for name in fields if name not in known]:
        raise HubError(400, f"Invalid expand value: {', '.join(unknown)}. Known: {', '.join(sorted(known))}")
    return {name: known[name] for name in known if name in ("_id", "id", *fields)}


def _describe(call: Call, repo: Repository, expand: list[str]) -> dict[str, object]:
    commit = repo.git.commit(call.commit_of(repo))
    described = {**_summary(repo), "sha": commit.oid, "lastModified": iso(commit.date)}
    card = cards.of(repo, commit.root)
    described.update(cardData=card, tags=cards.tags(card), xetEnabled=call.services.xet, siblings=[])
    if not expand or "siblings" in expand:
        described["siblings"] = _siblings(repo, commit.root, blobs=call.flag("blobs"))
    if "usedStorage" in expand:
        files = _siblings(repo, commit.root, blobs=True)
        described["usedStorage"] = sum(int(str(file["size"])) for file in files)
    return described


def _siblings(repo: Repository, root: str, *, blobs: bool) -> list[dict[str, object]]:
    siblings = []
    for entry in repo.git.walk(Entry("", root, is_folder=True), recursive=True):
        if entry.is_folder:
            continue
        sibling: dict[str, object] = {"rfilename": entry.path}
        if blobs:
            file = describe(repo, entry)
            sibling.update(size=file["size"], blobId=file["oid"])
            if isinstance(lfs := file.get("lfs"), dict):  # the same facts as in a tree, under another name
                sibling["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
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


def listing(call: Call) -> Response:
    query = call.request.query_params
    repos = call.services.repositories.visible(call.user, call.repo_type)
    if author := query.get("author"):
        repos = [repo for repo in repos if repo.namespace == author]
    for search in query.getlist("search"):
        repos = [repo for repo in repos if search.lower() in repo.id.lower()]
    fields = query.getlist("expand") + query.getlist("expand[]")
    full = call.flag("full") or call.flag("cardData")
    shown = [_describe(call, repo, fields or ["cardData"]) for repo in repos]
    for tag in query.getlist("filter"):
        shown = [described for described in shown if tag in cast("list[str]", described["tags"])]
    if (order := query.get("sort")) in ("createdAt", "lastModified"):
        shown.sort(key=lambda described: str(described[order]), reverse=query.get("direction", "-1") == "-1")
    limit, cursor = call.limit(1000), query.get("cursor", "0")
    start = int(cursor) if cursor.isdecimal() and len(cursor) < 10 else 0
    following = str(start + limit) if start + limit < len(shown) else None
    page = [_chosen(described, fields, full=full) for described in shown[start : start + limit]]
    return ok(page, headers=call.next_link(following))


def _chosen(described: dict[str, object], fields: list[str], *, full: bool) -> dict[str, object]:
    if fields:
        return _expanded(described, fields)
    return described if full else {name: value for name, value in described.items() if name != "cardData"}


def validate_yaml(call: Call) -> Response:
    try:
        card = cards.parse(member(call.json(), "content", str, ""))
    except ValueError as error:
        return ok({"errors": [{"message": str(error)}], "warnings": []}, status=400)
    warnings = [] if card else [{"message": "empty or missing yaml metadata in repo card"}]
    return ok({"errors": [], "warnings": warnings})


ROUTES = [
    Route("whoami", "GET", r"/api/whoami-v2", whoami),
    Route("user-overview", "GET", r"/api/users/(?P<name>[^/]+)/overview", user_overview),
    Route("organization", "GET", r"/api/organizations/(?P<name>[^/]+)/(?P<what>overview|members)", organization),
    Route("validate-yaml", "POST", r"/api/validate-yaml", validate_yaml),
    Route("repo-create", "POST", r"/api/repos/create", create),
    Route("repo-delete", "DELETE", r"/api/repos/delete", delete),
    Route("repo-list", "GET", r"/api/(?P<type>models|datasets|spaces)", listing),
    Route("repo-info", "GET", rf"{API}(?:/revision/{REV})?", info),
    Route("auth-check", "GET", rf"{API}/auth-check(?:/(?P<right>write))?", auth_check),
    Route("repo-move", "POST", r"/api/repos/move", move),
    Route("lfs-duplicate", "POST", rf"{API}/lfs-files/duplicate", duplicate_lfs),
    Route("repo-settings", "PUT", rf"{API}/settings", settings),
]
