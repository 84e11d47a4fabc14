"""The pages that people look at: plain HTML, made here, without scripts.

Whatever a visitor uploaded is escaped, and the policy in `_PAGE` lets nothing run even where an escape were forgotten.
"""

from __future__ import annotations

import base64
import hashlib
import math
from html import escape
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from starlette.responses import Response

from hubspool.local_hub.routes.discussions import of as discussions_of
from hubspool.local_hub.routes.request_context import PAGES, REV, Call, Route
from hubspool.local_hub.services import file_access, preview
from hubspool.local_hub.services.api_errors import HubError
from hubspool.local_hub.services.repositories import REPO_TYPES, Repository, iso
from hubspool.local_hub.storage.git_store import BRANCHES, PULLS, TAGS, CommitRecord

_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; "
    f"style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".avif")
_COMMITS, _TIMELINE, _FILES, _DIFF = 50, 60, 2000, 100_000
_ONE = r"/(?:(?P<type>datasets|spaces)/)?(?P<repo>(?!api/)[^/]+/[^/]+)"


def _answer(call: Call, title: str, body: str) -> Response:
    who = escape(call.user.name) if call.user is not None else '<a href="/login">log in</a>'
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f'<header><div><a href="/">Local Hub</a><span class="soft">{who}</span></div></header>'
        f"<main>{body}</main></html>"
    )
    return Response(html, headers=_PAGE, media_type="text/html")


def _link(href: str, text: str) -> str:
    return f'<a href="{escape(quote(href))}">{escape(text)}</a>'


def _rows(head: str, rows: list[str], empty: str, kind: str = "") -> str:
    if not rows:
        return f'<p class="soft">{escape(empty)}</p>'
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="card">{table}</div>'


def _size(count: float) -> str:
    if count < 1000:
        return f"{count:.0f} bytes"
    units = ("kB", "MB", "GB", "TB")
    power = min(int(math.log10(count)) // 3, len(units))
    return f"{count / 1000**power:,.1f} {units[power - 1]}"


def _when(seconds: float) -> str:
    return iso(seconds)[:16].replace("T", " ")


def login(call: Call) -> Response:
    """A browser asks its user for name and token, and sends them with each page from then on."""
    try:
        known = call.user is not None
    except HubError:
        known = False
    if not known:
        ask = {"WWW-Authenticate": 'Basic realm="Local Hub", charset="UTF-8"'}
        raise HubError(401, "Log in with any name, and a token as the password", headers=ask)
    return Response(status_code=303, headers={"Location": "/"})


def index(call: Call) -> Response:
    body = "<h1>Repositories</h1>"
    for kind in REPO_TYPES:
        rows = []
        for repo in call.services.repositories.visible(call.user, kind):
            head = repo.git.commit(repo.revision("main"))
            rows.append(
                f"<tr><td>{_link(f'/{repo.url_path}', repo.id)} {_private(repo)}</td>"
                f'<td class="wide">{escape(file_access.title(head))}</td><td class="n">{_when(head.date)}</td></tr>'
            )
        if rows:
            columns = '<th>Name</th><th class="wide">Newest commit</th><th class="n">Changed (UTC)</th>'
            body += f"<h2>{kind.capitalize()}s</h2>{_rows(columns, rows, '')}"
    if body.endswith("</h1>"):
        how = f"Set <code>HF_ENDPOINT={escape(call.endpoint)}</code> and upload."
        body += f'<p class="soft">Nothing here that you may see. {how}</p>'
    return _answer(call, "Local Hub", body)


def _private(repo: Repository) -> str:
    return '<span class="tag">private</span>' if repo.settings.private else ""


def _heading(repo: Repository, rev: str) -> str:
    base, here = f"/{repo.url_path}", quote(rev, safe="")
    links = [
        f'<a href="{base}{end}">{name}</a>'
        for end, name in (("", "Overview"), (f"/tree/{here}", "Files"), (f"/commits/{here}", "Commits"))
    ]
    found = [name for name in (*repo.git.refs(BRANCHES), *repo.git.refs(TAGS)) if name != "main"]
    links += [f'<a href="{base}/tree/{quote(name, safe="")}">{escape(name)}</a>' for name in found[:20]]
    links += [_link(f"{base}/discussions/{num}", f"Pull request {num}") for num in list(repo.git.refs(PULLS))[:20]]
    at = "" if rev == "main" else f' <span class="tag">{escape(rev)}</span>'
    title = f'{_link(base, repo.id)} <span class="tag">{repo.type}</span> {_private(repo)}{at}'
    return f"<h1>{title}</h1><nav>{''.join(links)}</nav>"


def overview(call: Call) -> Response:
    repo = call.repo()
    commit = call.commit_of(repo)
    records = list(islice(repo.git.history(commit), _TIMELINE))
    body = _heading(repo, "main") + _timeline(call, repo, records[::-1])
    body += "<h2>Files</h2>" + _listing(repo, commit, "main", "")
    body += "<h2>Newest commits</h2>" + _commits(repo, records[:5])
    try:
        card = file_access.open_file(repo, commit, "README.md")
    except HubError:
        return _answer(call, repo.id, body)
    text = preview.head(card, call.services.contents)
    return _answer(call, repo.id, f'{body}<h2>README.md</h2><div class="card"><pre>{escape(text)}</pre></div>')


def _timeline(call: Call, repo: Repository, records: list[CommitRecord]) -> str:
    """Rows and bytes after each commit, oldest first; a title on each point says the figures."""
    left = [64 << 20]
    totals = [call.services.counter.totals(repo, record.root, left) for record in reversed(records)][::-1]
    width, height, edge = 900, 200, 12
    step = (width - 2 * edge) / max(len(records) - 1, 1)

    def points(values: list[int]) -> list[tuple[float, float]]:
        top = max([*values, 1])
        return [(edge + n * step, height - edge - value / top * (height - 3 * edge)) for n, value in enumerate(values)]

    rows, sizes = points([total.rows for total in totals]), points([total.size for total in totals])
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(file_access.title(record))}\n'
        f"{_when(record.date)} UTC\n{total.rows:,} rows, {_size(total.size)}</title></circle>"
        for (x, y), record, total in zip(rows, records, totals, strict=True)
    )
    lines = "".join(
        f'<polyline class="{name}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in line)}"/>'
        for name, line in (("bytes", sizes), ("rows", rows))
    )
    now = totals[-1]
    return (
        f'<div class="card pad"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{now.rows:,} rows and {_size(now.size)} after {len(records)} commits">'
        f'<line class="axis" x1="0" x2="{width}" y1="{height - edge}" y2="{height - edge}"/>{lines}{dots}'
        f'</svg><p class="ends soft"><span>{_when(records[0].date)}</span>'
        f"<span>{_when(records[-1].date)} UTC</span></p>"
        f'<p class="key"><span class="r">{now.rows:,} rows</span><span class="b">{_size(now.size)}</span>'
        f'<span class="soft">the newest {len(records)} commits</span></p></div>'
    )


def _commits(repo: Repository, records: list[CommitRecord]) -> str:
    rows = [
        f"<tr><td>{_link(f'/{repo.url_path}/commit/{record.oid}', file_access.title(record) or '(no message)')}</td>"
        f'<td class="wide">{escape(record.author)}</td><td class="n">{_when(record.date)}</td></tr>'
        for record in records
    ]
    return _rows('<th>Commit</th><th class="wide">Author</th><th class="n">UTC</th>', rows, "No commits")


def _listing(repo: Repository, commit: str, rev: str, path: str) -> str:
    page = file_access.list_folder(repo, commit, path, None, recursive=False, expand=False, limit=_FILES, cursor=None)
    base, rows = f"/{repo.url_path}", []
    at = quote(rev, safe="")
    for entry in sorted(page.entries, key=lambda entry: (entry["type"] == "file", str(entry["path"]))):
        full, name = str(entry["path"]), str(entry["path"]).rpartition("/")[2]
        if entry["type"] == "file":
            shown = f'<a href="{base}/blob/{at}/{quote(full)}">{escape(name)}</a>'
            get = f'<a href="{base}/resolve/{at}/{quote(full)}?download=true">download</a>'
            rows.append(
                f'<tr><td>{shown}</td><td class="n">{_size(int(str(entry["size"])))}</td><td class="n">{get}</td></tr>'
            )
        else:
            rows.append(
                f'<tr><td><a href="{base}/tree/{at}/{quote(full)}">{escape(name)}/</a></td><td></td><td></td></tr>'
            )
    more = '<p class="soft">More files are not shown.</p>' if page.cursor else ""
    return _rows('<th>Name</th><th class="n">Size</th><th></th>', rows, "No files") + more


def folder(call: Call) -> Response:
    repo, rev, path = call.repo(), call.args["rev"], call.args.get("path", "").strip("/")
    commit = call.commit_of(repo)
    title = f"<h2>{_trail(repo, rev, path)}</h2>" if path else ""
    return _answer(call, f"{path or repo.id}", _heading(repo, rev) + title + _listing(repo, commit, rev, path))


def _trail(repo: Repository, rev: str, path: str) -> str:
    parts = path.split("/")
    base = f"/{repo.url_path}/tree/{quote(rev, safe='')}"
    steps = [f'<a href="{base}">{escape(repo.id.rpartition("/")[2])}</a>']
    steps += [
        f'<a href="{base}/{quote("/".join(parts[: n + 1]))}">{escape(part)}</a>' for n, part in enumerate(parts[:-1])
    ]
    return " / ".join([*steps, escape(parts[-1])])


def file_page(call: Call) -> Response:
    repo, rev = call.repo(), call.args["rev"]
    commit, contents = call.commit_of(repo), call.services.contents
    file = file_access.open_file(repo, commit, call.args["path"])
    source = f"/{repo.url_path}/resolve/{quote(rev, safe='')}/{quote(file.path)}"
    body = _heading(repo, rev) + f"<h2>{_trail(repo, rev, file.path)}</h2>"
    body += f'<p class="soft">{_size(file.size)} · <a href="{source}?download=true">download</a></p>'
    table = preview.table(file, contents)
    if table is not None:
        cells = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows]
        names = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
        body += f'<p class="soft">The first {len(cells)} rows</p>' + _rows(names, cells, "", "data")
    elif file.path.lower().endswith(_IMAGES):
        body += f'<div class="card pad"><img src="{source}" alt="{escape(file.path)}"></div>'
    elif "\0" not in (text := preview.head(file, contents)):
        cut = '<p class="soft">Only its beginning is shown.</p>' if len(text.encode()) < file.size else ""
        body += f'<div class="card"><pre>{escape(text)}</pre></div>{cut}'
    else:
        body += '<p class="soft">Binary content is not shown.</p>'
    return _answer(call, file.path, body)


def commits_page(call: Call) -> Response:
    repo, rev = call.repo(), call.args["rev"]
    start = call.request.query_params.get("cursor") or call.commit_of(repo)
    records = list(islice(repo.git.history(repo.revision(start)), _COMMITS + 1))
    more = ""
    if len(records) > _COMMITS:
        address = f"/{repo.url_path}/commits/{quote(rev, safe='')}?cursor={records[_COMMITS].oid}"
        more = f'<p><a href="{address}">Older</a></p>'
    shown = records[:_COMMITS]
    body = _heading(repo, rev) + _timeline(call, repo, shown[::-1]) + "<h2>Commits</h2>" + _commits(repo, shown) + more
    return _answer(call, f"Commits of {repo.id}", body)


def commit_page(call: Call) -> Response:
    repo = call.repo()
    record = repo.git.commit(call.commit_of(repo))
    before = repo.git.commit(record.parents[0]).root if record.parents else None
    tree = _link(f"/{repo.url_path}/tree/{record.oid}", record.oid)
    about = f"{escape(record.author)} · {_when(record.date)} UTC · {tree}"
    body = f'{_heading(repo, "main")}<h2>{escape(file_access.title(record))}</h2><p class="soft">{about}</p>'
    rest = record.message.partition("\n")[2].strip()
    body += f'<div class="card"><pre>{escape(rest)}</pre></div>' if rest else ""
    diff = repo.git.diff(before, record.root) if before else "The first commit of its branch."
    return _answer(
        call,
        file_access.title(record),
        body + f'<h2>Changes</h2><div class="card"><pre>{escape(diff[:_DIFF])}</pre></div>',
    )


def discussion_page(call: Call) -> Response:
    repo, kept = call.repo(), discussions_of(call, call.repo())
    item = kept.get(int(call.args["num"]))
    body = f'{_heading(repo, "main")}<h2>{escape(item.title)} <span class="tag">{item.status}</span></h2>'
    for event in kept.events(item):
        data = event["data"]
        text = data["latest"]["raw"] if "latest" in data else ", ".join(str(value) for value in data.values())
        about = f"{escape(event['author']['name'])} · {escape(event['type'])} · {escape(event['createdAt'][:16])}"
        body += f'<p class="soft">{about}</p><div class="card"><pre>{escape(text)}</pre></div>'
    if item.target is not None:
        body += f'<h2>Changes</h2><div class="card"><pre>{escape(kept.diff(item)[:_DIFF])}</pre></div>'
    return _answer(call, item.title, body)


ROUTES = [
    Route("page", "GET", "/", index),
    Route("page", "GET", "/login", login),
    Route("page", "GET", rf"{PAGES}/tree/{REV}(?:/(?P<path>.*))?", folder),
    Route("page", "GET", rf"{PAGES}/blob/{REV}/(?P<path>.+)", file_page),
    Route("page", "GET", rf"{PAGES}/commits/{REV}", commits_page),
    Route("page", "GET", rf"{PAGES}/commit/(?P<rev>[0-9a-f]+)", commit_page),
    Route("page", "GET", rf"{PAGES}/discussions/(?P<num>\d{{1,9}})", discussion_page),
    Route("page", "GET", _ONE, overview),
]
