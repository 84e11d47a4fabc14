"""Users and organizations."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from hubspool.local_hub.identifiers import REPO_TYPES, plural
from hubspool.local_hub.routes.request_context import RequestContext, ok
from hubspool.local_hub.services.api_errors import ApiError
from hubspool.local_hub.services.repositories import iso


def whoami(context: RequestContext) -> Response:
    user = context.logged_in()
    role = "fineGrained" if user.role == "none" else user.role
    token = {"displayName": "local", "role": role, "createdAt": iso(0)}
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


def user_overview(context: RequestContext) -> Response:
    name = context.args["name"]
    user = next((user for user in context.services.accounts.users if user.name == name), None)
    if user is None:
        raise ApiError(404, f"There is no user {name!r}")
    organizations = [_organization(each) for each in user.organizations]
    described = {"_id": name, "user": name, "fullname": name, "avatarUrl": "", "isPro": False, "type": "user"}
    return ok({**described, **_repo_counts(context, name), "orgs": organizations})


def organization(context: RequestContext) -> Response:
    """Answer with an organization, or with its members."""
    name = context.args["name"]
    members = context.services.accounts.members(name)
    if not members:
        raise ApiError(404, f"There is no organization {name!r}")
    if context.args["what"] == "members":
        return ok([{"user": each, "fullname": each, "avatarUrl": "", "isPro": False} for each in members])
    return ok({**_organization(name), **_repo_counts(context, name), "numUsers": len(members)})


def _repo_counts(context: RequestContext, namespace: str) -> dict[str, int]:
    """Return `numModels`, `numDatasets` and `numSpaces` of a namespace."""
    visible = partial(context.services.repositories.visible, context.user)
    return {f"num{plural(t).capitalize()}": sum(repo.namespace == namespace for repo in visible(t)) for t in REPO_TYPES}
