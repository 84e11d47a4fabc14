"""The pages for people: HTML from the templates in `pages`, without scripts.

The templates escape every value, and the policy in `_HEADERS` stops uploaded content from running even if an escape
were missing.
"""

from __future__ import annotations

import base64
import hashlib
import time
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import jinja2
from markupsafe import Markup
from starlette.responses import Response

from hubspool.local_hub.identifiers import BRANCHES, PULLS, REPO_TYPES, TAGS, plural
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes.request_context import RequestContext
from hubspool.local_hub.services import file_access, markdown, preview
from hubspool.local_hub.services.api_errors import ApiError
from hubspool.local_hub.services.buckets import BucketState
from hubspool.local_hub.services.pull_requests import PullRequests
from hubspool.local_hub.services.repositories import BaseRepository, Repository, iso
from hubspool.local_hub.storage.accounts import User
from hubspool.local_hub.storage.git_store import TreeEntry

_FOLDER = Path(__file__).parent.parent / "pages"
_STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; "
    f"style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with `no-referrer` a browser sends forms with the origin `null`
    "Cache-Control": "no-store",
}


def _minute(seconds: float) -> str:
    return iso(seconds)[:16].replace("T", " ")


_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["style"] = Markup(_STYLE)  # noqa: S704 - our own file
_templates.filters.update(minute=_minute, quote_path=quote, quote_segment=partial(quote, safe=""))


def _render(
    context: RequestContext,
    template: str,
    title: str,
    values: dict[str, Any],
    repo: BaseRepository | None = None,
    rev: str = "main",
) -> Response:
    """Return a page; with `repo` it has that repository's heading and links."""
    shown = {**values, "title": title, "user": _user(context), "repo": repo, "rev": rev}
    shown |= {"at": "", "revisions": [], "pulls": []}  # as for a bucket
    if isinstance(repo, Repository):
        shown["at"] = f"/{quote(rev, safe='')}"
        names = [name for name in (*repo.git.refs(BRANCHES), *repo.git.refs(TAGS)) if name != "main"]
        shown["revisions"] = names[: LIMITS.linked_refs]
        shown["pulls"] = list(repo.git.refs(PULLS))[: LIMITS.linked_refs]
    html = _templates.get_template(template).render(shown)
    return Response(html, headers=_HEADERS, media_type="text/html")


def _user(context: RequestContext) -> User | None:
    try:
        return context.user
    except ApiError:  # a wrong token
        return None


def log_in_form(context: RequestContext) -> Response:
    return _render(context, "login.html", "Log in", {"wanted": "/", "problem": ""})


def log_in(context: RequestContext) -> Response:
    """Take the form: set a cookie, and return to the page that needed the log-in."""
    form = parse_qs(context.body.decode("utf-8", "replace"))
    token, wanted = (form.get(name, [""])[0] for name in ("token", "next"))
    client = context.request.client
    try:
        _check_own_form(context)
        session = context.services.log_ins.begin(token, client.host if client else "", context.port)
    except ApiError as refusal:
        shown = {"wanted": wanted, "problem": refusal.message}
        return _with_error(_render(context, "login.html", "Log in", shown), refusal, refusal.headers)
    is_own = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return _leave(context, quote(wanted, safe="/?&=%+") if is_own else "/", session, LIMITS.session_seconds)


def log_out(context: RequestContext) -> Response:
    _check_own_form(context)
    context.services.log_ins.end(context.session, context.port)
    return _leave(context, "/", "", 0)


def _check_own_form(context: RequestContext) -> None:
    if context.is_from_another_page():
        raise ApiError(403, "This form was sent by another page: open this Hub's own page")


def _leave(context: RequestContext, path: str, session: str, seconds: int) -> Response:
    answer = Response(status_code=303, headers={"Location": path, "Cache-Control": "no-store"})
    answer.set_cookie(context.session_cookie, session, seconds, httponly=True, samesite="strict")
    return answer


def error(context: RequestContext, refusal: ApiError, headers: dict[str, str]) -> Response:
    """Return an error as a page, for a person's browser."""
    shown = {"refusal": refusal, "wanted": context.address, "phrase": HTTPStatus(refusal.status).phrase}
    return _with_error(_render(context, "error.html", f"{refusal.status} {shown['phrase']}", shown), refusal, headers)


def _with_error(answer: Response, refusal: ApiError, headers: dict[str, str]) -> Response:
    answer.status_code = refusal.status
    answer.headers.update(headers)
    return answer


def index(context: RequestContext) -> Response:
    groups: list[tuple[str, str, list[Any]]] = []
    for kind in REPO_TYPES:
        repositories = context.services.repositories
        repos = repositories.visible(context.user, kind)
        shown = repositories.whole(repos, lambda repo: (repo, repo.git.commit(context.commit_of(repo, "main"))))
        if shown:
            groups.append((plural(kind).capitalize(), "Newest commit", shown))
    kept = context.services.buckets.visible(context.user, "bucket")
    if kept:
        groups.append(("Buckets", "Files", [(bucket, _summary(bucket.state)) for bucket in kept]))
    return _render(context, "index.html", "Local Hub", {"groups": groups, "endpoint": context.endpoint})


def _summary(state: BucketState) -> dict[str, object]:
    """Return what the list of repositories shows of a bucket in place of its newest commit."""
    size = _templates.filters["filesizeformat"](state.size)
    return {"title": f"{len(state.files):,}, {size}", "date": state.updated_at / 1000}


def bucket(context: RequestContext) -> Response:
    found, path = context.bucket(), context.args.get("path", "").strip("/")
    files, prefix = found.state, f"{path}/" if path else ""
    listing = files.listing(prefix, recursive=False, limit=LIMITS.folder_entries)
    shown = {"path": path, "listing": listing, "card": None if path else _card(files, found, "")}
    return _render(context, "folder.html", path or found.id, shown, found)


def bucket_file(context: RequestContext) -> Response:
    found = context.bucket()
    opened = found.state.open(context.args["path"])
    return _render(context, "file.html", opened.path, _preview(opened, None), found)


def overview(context: RequestContext) -> Response:
    files = context.files()
    repo, listing = files.repo, files.folder("", limit=LIMITS.folder_entries)
    records, _ = repo.git.history_page(files.commit, LIMITS.newest_commits)
    shown = {"listing": listing, "records": records, "card": _card(files, repo, "main")}
    return _render(context, "overview.html", repo.id, shown, repo)


def _card(files: file_access.CommitFiles | BucketState, repo: BaseRepository, rev: str) -> markdown.RenderedCard | None:
    try:
        opened = files.open("README.md")
    except ApiError:
        return None
    return markdown.render(preview.head(opened), f"/{repo.url_path}", rev)


def folder(context: RequestContext) -> Response:
    files, path = context.files(), context.args.get("path", "").strip("/")
    shown = {"path": path, "card": None, "listing": files.folder(path, limit=LIMITS.folder_entries)}
    return _render(context, "folder.html", path or files.repo.id, shown, files.repo, context.args["rev"])


def file(context: RequestContext) -> Response:
    files, rev = context.files(), context.args["rev"]
    opened = files.open(context.args["path"])
    card = _card(files, files.repo, rev) if opened.path == "README.md" else None
    return _render(context, "file.html", opened.path, _preview(opened, card), files.repo, rev)


def _preview(opened: preview.AnyFile, card: markdown.RenderedCard | None) -> dict[str, Any]:
    table = preview.table(opened)
    charts = preview.charts(opened)
    is_image = preview.is_image(opened.path)
    text = None if table or charts or is_image or card else preview.head(opened)
    is_cut = text is not None and len(text.encode()) < opened.size
    if text is not None and "\0" in text:
        text = None
    shown: dict[str, Any] = {"file": opened, "table": table, "charts": charts, "is_image": is_image, "card": card}
    return {**shown, "text": text, "is_cut": is_cut}


def commits(context: RequestContext) -> Response:
    repo, rev = context.repo(), context.args["rev"]
    start = context.request.query_params.get("cursor") or context.commit_of(repo)
    records, older = repo.git.history_page(repo.revision(start), LIMITS.commits_page)
    shown = {"records": records, "older": older}
    return _render(context, "commits.html", f"Commits of {repo.id}", shown, repo, rev)


def commit(context: RequestContext) -> Response:
    repo = context.repo()
    record = repo.git.commit(context.commit_of(repo))
    diff = ""
    tables: dict[str, preview.TablePreview] = {}
    if record.parents:
        old = repo.git.commit(record.parents[0]).root
        until = time.monotonic() + LIMITS.preview_seconds
        for path, blob in repo.git.changes(old, record.root).items():
            if blob is not None and len(tables) < LIMITS.linked_refs and time.monotonic() < until:
                new = file_access.load_file(repo, TreeEntry(path, blob, is_folder=False))
                before = repo.git.entry(old, path)
                start = file_access.load_file(repo, before).size if before is not None else 0
                if table := preview.table(new, start=min(start, new.size)):
                    tables[path] = table
        diff = repo.git.diff(old, record.root, without=tables)[: LIMITS.diff_characters]
    shown = {"record": record, "diff": diff, "tables": tables}
    return _render(context, "commit.html", record.title, shown, repo)


def pull_request(context: RequestContext) -> Response:
    repo = context.repo()
    kept = PullRequests(repo)
    pull = kept.get(int(context.args["num"]))
    shown = {"pull": pull, "events": kept.events(pull), "diff": kept.diff(pull)[: LIMITS.diff_characters]}
    return _render(context, "pull_request.html", pull.title, shown, repo)
