"""Accounts and repositories."""

from __future__ import annotations

import re
from typing import Any

import yaml
from starlette.responses import Response

from hubspool.local_hub.routes.call import API, Call, Route, ok
from hubspool.local_hub.services.errors import HubError, login_needed, member
from hubspool.local_hub.services.files import describe
from hubspool.local_hub.services.repositories import REPO_TYPES, Repository, RepoType, iso, url_prefix
from hubspool.local_hub.storage.git_store import Entry

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
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
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def auth_check(call: Call) -> Response:
    call.repo(write=call.args.get("right") == "write")
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
    private = body.get("visibility") == "private" or body.get("private") is True
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
    call.services.repositories.delete(call.services.repositories.find(call.user, kind, repo_id, write=True))
    return ok()


def settings(call: Call) -> Response:
    repo, body = call.repo(write=True), call.json()
    private = body.get("private", repo.settings.private)
    if "visibility" in body:
        private = body["visibility"] == "private"
    changed = {**vars(repo.settings), "private": bool(private)}
    repo.change_settings(type(repo.settings)(**changed))
    return ok({"private": repo.settings.private})


def info(call: Call) -> Response:
    repo, query = call.repo(), call.request.query_params
    expand = query.getlist("expand") + query.getlist("expand[]")
    described = _describe(call, repo, expand)
    if expand:
        known = {**dict.fromkeys(_FOREIGN), **described}
        if unknown := [name for name in expand if name not in known]:
            raise HubError(400, f"Invalid expand value: {', '.join(unknown)}. Known: {', '.join(sorted(known))}")
        described = {name: known[name] for name in known if name in ("_id", "id", *expand)}
    return ok(described)


def _describe(call: Call, repo: Repository, expand: list[str]) -> dict[str, object]:
    commit = repo.git.commit(call.commit_of(repo))
    described = {**_summary(repo), "sha": commit.oid, "lastModified": iso(commit.date)}
    described.update(cardData=_card(repo, commit.root), xetEnabled=call.services.xet, siblings=[])
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
        "gated": False,
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


def _card(repo: Repository, root: str) -> object:
    entry = repo.git.entry(root, "README.md")
    if entry is None or entry.is_folder:
        return None
    match = _FRONT_MATTER.match(repo.git.blob(entry.oid).decode("utf-8", "replace"))
    try:
        card = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return None
    return yaml_as_json(card) if isinstance(card, dict) else None


def yaml_as_json(value: object) -> object:
    """The value with what JSON cannot say (dates, above all) as text."""
    if isinstance(value, dict):
        return {str(key): yaml_as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [yaml_as_json(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def listing(call: Call) -> Response:
    query = call.request.query_params
    repos = call.services.repositories.visible(call.user, call.repo_type)
    if author := query.get("author"):
        repos = [repo for repo in repos if repo.namespace == author]
    if search := query.get("search"):
        repos = [repo for repo in repos if search.lower() in repo.id.lower()]
    limit = call.limit(1000)
    start = int(query.get("cursor", "0")) if query.get("cursor", "0").isdecimal() else 0
    shown = []
    for repo in repos[start : start + limit]:
        commit = repo.git.commit(repo.revision("main"))
        shown.append({**_summary(repo), "sha": commit.oid, "lastModified": iso(commit.date)})
    following = str(start + limit) if start + limit < len(repos) else None
    return ok(shown, headers=call.next_link(following))


def validate_yaml(call: Call) -> Response:
    content = member(call.json(), "content", str, "")
    match = _FRONT_MATTER.match(content)
    try:
        card = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        return ok({"errors": [{"message": f"Invalid YAML in the card: {error}"}], "warnings": []}, status=400)
    if card is not None and not isinstance(card, dict):
        message = "The metadata between the two lines '---' must be a mapping"
        return ok({"errors": [{"message": message}], "warnings": []}, status=400)
    empty = not card
    return ok(
        {
            "errors": [],
            "warnings": [{"message": "empty or missing yaml metadata in repo card"}] if empty else [],
        }
    )


ROUTES = [
    Route("whoami", "GET", r"/api/whoami-v2", whoami),
    Route("validate-yaml", "POST", r"/api/validate-yaml", validate_yaml),
    Route("repo-create", "POST", r"/api/repos/create", create),
    Route("repo-delete", "DELETE", r"/api/repos/delete", delete),
    Route("repo-list", "GET", r"/api/(?P<type>models|datasets|spaces)", listing),
    Route("repo-info", "GET", rf"{API}(?:/revision/(?P<rev>[^/]+))?", info),
    Route("auth-check", "GET", rf"{API}/auth-check(?:/(?P<right>write))?", auth_check),
    Route("repo-settings", "PUT", rf"{API}/settings", settings),
]
