"""The routes of the local Hub: which request reaches which handler.

The names are those of `Fault.route` and `RequestRecord.route`. Routes are tried from top to bottom.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import unquote

from starlette.responses import Response

from hubspool.local_hub.identifiers import BRANCHES, CONTENT_HASH, TAGS
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes import accounts, buckets, commits, contents, git, lfs, page, refs, repos, xet
from hubspool.local_hub.routes.request_context import RequestContext, ok


@dataclass(frozen=True)
class Route:
    """A kind of request.

    Attributes:
        name: its name in faults and request records.
        methods: separated by spaces.
        pattern: matched against the raw path, since a revision may hold an encoded slash; the handler gets the groups
            decoded, as `RequestContext.args`.
        handler: runs in a worker thread, so it may block; None is an empty JSON object.
        body: where the body is before the handler runs: in `RequestContext.body`, or in the temporary file
            `RequestContext.upload`, which the handler may move away.
        limit: bytes of the body; a larger one is answered with 413. Without a token it is
            `HubLimits.anonymous_body` at most, unless there is `admit`.
        admit: checks the rights for a request with a body, in a worker thread, before the body is read.
    """

    name: str
    methods: str
    pattern: str
    handler: Callable[[RequestContext], Response | None]
    body: Literal["memory", "disk"] = "memory"
    limit: int = LIMITS.body
    admit: Callable[[RequestContext], object] | None = None

    def match(self, raw_path: str) -> dict[str, str] | None:
        """Return the decoded groups of a path, or None if it is not this route's."""
        found = re.fullmatch(self.pattern, raw_path)
        if found is None:
            return None
        return {name: unquote(text) for name, text in found.groupdict().items() if text is not None}

    def answer(self, context: RequestContext) -> Response:
        """Return the handler's answer; call it in a worker thread."""
        return self.handler(context) or ok()


REPOS = r"/api/(?P<type>models|datasets|spaces)"
# An id without a namespace matches too, and then names a repository that does not exist: clients ask for `gpt2`.
API = rf"{REPOS}/(?P<repo>[^/]+(?:/[^/]+)?)"
BUCKET = r"/api/buckets/(?P<repo>[^/]+/[^/]+)"
BUCKET_PAGE = r"/buckets/(?P<repo>[^/]+/[^/]+)"
PAGES = r"/(?!buckets/)(?:(?P<type>datasets|spaces)/)?(?P<repo>[^/]+?(?:/[^/]+?)?)"
OVERVIEW = r"/(?:(?P<type>datasets|spaces)/)?(?P<repo>(?!api/)[^/]+/[^/]+)"
GIT = rf"{PAGES}(?:\.git)?"
LFS = rf"{GIT}/info/lfs"
REV = r"(?P<rev>refs/(?:pr/\d+|convert/[^/]+)|[^/]+)"  # the JavaScript client does not encode the slashes of these
PULL = r"discussions/(?P<num>\d{1,9})"
OBJECT = rf"(?P<oid>{CONTENT_HASH})"
UPLOADER = r"(?P<repo>(?:(?:datasets|spaces)/)?[^/]+/[^/]+)/(?P<who>[^/]+)"  # in addresses that the batch API signed
STORE = r"/xet/(?P<store>[0-9a-f]+)"
CAS = rf"{STORE}(?:/v\d)?"  # the version, and the plural of the next word, depend on the client's version
HASH = rf"(?P<hash>{CONTENT_HASH})"
LFS_PART = rf"/lfs/parts/{OBJECT}/{UPLOADER}/(?P<number>[1-9]\d{{0,4}})"
ORGANIZATION = r"/api/organizations/(?P<name>[^/]+)/(?P<what>overview|members)"
RECEIVE_PACK = rf"{GIT}/git-receive-pack"

#: Who may send a body: every user, and those who may commit to the revision of the path, push to the repository,
#: write to the bucket, or write to the repository or bucket of a Xet token.
_USERS, _COMMITTERS = RequestContext.logged_in, RequestContext.repo_to_commit
_PUSHERS = partial(RequestContext.repo_for_git, right="write")
_BUCKET_WRITERS = partial(RequestContext.bucket, right="write")
_XET_WRITERS = partial(xet.repo_of_token, needed="write")

ROUTES = (
    Route("whoami", "GET", r"/api/whoami-v2", accounts.whoami),
    Route("user-overview", "GET", r"/api/users/(?P<name>[^/]+)/overview", accounts.user_overview),
    Route("organization", "GET", ORGANIZATION, accounts.organization),
    Route("validate-yaml", "POST", r"/api/validate-yaml", repos.validate_yaml),
    Route("repo-create", "POST", r"/api/repos/create", repos.create, admit=_USERS),
    Route("repo-delete", "DELETE", r"/api/repos/delete", repos.delete, admit=_USERS),
    Route("repo-move", "POST", r"/api/repos/move", repos.move, admit=_USERS),
    Route("repo-list", "GET", REPOS, repos.listing),
    Route("repo-info", "GET", rf"{API}(?:/revision/{REV})?", repos.info),
    Route("repo-settings", "PUT", rf"{API}/settings", repos.settings, admit=_USERS),
    Route("auth-check", "GET", rf"{API}/auth-check(?P<write>/write)?", repos.auth_check),
    Route("preupload", "POST", rf"{API}/preupload/{REV}", commits.preupload, admit=_COMMITTERS),
    Route("commit", "POST", rf"{API}/commit/{REV}", commits.commit, "disk", LIMITS.commit_body, _COMMITTERS),
    Route("commits", "GET", rf"{API}/commits/{REV}", commits.history),
    Route("compare", "GET", rf"{API}/compare/(?P<revs>[^/]+)", commits.compare),
    Route("refs", "GET", rf"{API}/refs", refs.listing),
    Route("branch-create", "POST", rf"{API}/branch/(?P<branch>[^/]+)", refs.create_branch),
    Route("branch-delete", "DELETE", rf"{API}/branch/(?P<name>[^/]+)", partial(refs.delete, prefix=BRANCHES)),
    Route("tag-create", "POST", rf"{API}/tag/{REV}", refs.create_tag),
    Route("tag-delete", "DELETE", rf"{API}/tag/(?P<name>[^/]+)", partial(refs.delete, prefix=TAGS)),
    Route("super-squash", "POST", rf"{API}/super-squash/{REV}", refs.super_squash),
    Route("discussion-create", "POST", rf"{API}/discussions", refs.create_pull_request),
    Route("discussion-info", "GET", rf"{API}/{PULL}", refs.pull_request),
    Route("discussion-merge", "POST", rf"{API}/{PULL}/merge", refs.merge_pull_request),
    Route("tree", "GET", rf"{API}/tree/{REV}(?:/(?P<path>.*))?", contents.tree),
    Route("paths-info", "POST", rf"{API}/paths-info/{REV}", contents.paths_info),
    Route("resolve", "GET", rf"{PAGES}/resolve/{REV}/(?P<path>.+)", contents.resolve),
    Route("raw", "GET", rf"{PAGES}/raw/{REV}/(?P<path>.+)", contents.raw),
    Route("lfs-list", "GET", rf"{API}/lfs-files", lfs.listing),
    Route("lfs-delete", "POST", rf"{API}/lfs-files/batch", lfs.delete),
    Route("lfs-duplicate", "POST", rf"{API}/lfs-files/duplicate", lfs.duplicate),
    Route("lfs-batch", "POST", rf"{LFS}/objects/batch", lfs.batch),
    Route("lfs-verify", "POST", rf"{LFS}/verify", lfs.verify),
    Route("lfs-locks", "GET POST", rf"{LFS}/locks(?P<verify>/verify)?", lfs.locks),
    Route("lfs-put", "PUT", rf"/lfs/objects/{OBJECT}/{UPLOADER}", lfs.put, "disk", LIMITS.lfs_object, lfs.uploaded_to),
    Route("lfs-part", "PUT", LFS_PART, lfs.put_part, "disk", LIMITS.lfs_object, lfs.uploaded_to),
    Route("lfs-complete", "POST", rf"/lfs/complete/{OBJECT}/{UPLOADER}", lfs.complete, admit=lfs.uploaded_to),
    Route("lfs-get", "GET", rf"/lfs/objects/{OBJECT}", lfs.get),
    Route("xet-token", "GET", rf"{API}/xet-(?P<scope>read|write)-token/{REV}", xet.token),
    Route("bucket-list", "GET", r"/api/buckets/(?P<namespace>[^/]+)", buckets.listing),
    Route("bucket-create", "POST", BUCKET, buckets.create, admit=_USERS),
    Route("bucket-delete", "DELETE", r"/api/buckets/(?P<repo>[^/]+(?:/[^/]+)?)", buckets.delete),
    Route("bucket-info", "GET", BUCKET, buckets.info),
    Route("bucket-settings", "PUT", rf"{BUCKET}/settings", buckets.settings, admit=_USERS),
    Route("bucket-tree", "GET", rf"{BUCKET}/tree(?:/(?P<path>.*))?", buckets.tree),
    Route("bucket-paths-info", "POST", rf"{BUCKET}/paths-info", buckets.paths_info),
    Route("bucket-batch", "POST", rf"{BUCKET}/batch", buckets.batch, admit=_BUCKET_WRITERS),
    Route("bucket-events", "GET", rf"{BUCKET}/events", buckets.events),
    Route("bucket-token", "GET", rf"{BUCKET}/xet-(?P<scope>read|write)-token", xet.token),
    Route("bucket-resolve", "GET", rf"{BUCKET_PAGE}/resolve/(?P<path>.+)", buckets.resolve),
    Route("xet-chunk", "GET", rf"{CAS}/chunks?/[^/]+/{HASH}", xet.chunk),
    # Newer clients ask for /v1/xorb-grants first, and come here after a 404.
    Route("xet-xorb", "POST", rf"{CAS}/xorbs?/[^/]+/{HASH}", xet.put_xorb, "disk", LIMITS.xorb, _XET_WRITERS),
    Route("xet-shard", "POST", rf"{CAS}/shards?(?:/[^/]+/{HASH})?", xet.put_shard, "disk", LIMITS.shard, _XET_WRITERS),
    Route("xet-reconstruction", "GET", rf"{CAS}/reconstructions?/{HASH}", xet.reconstruction),
    Route("xet-telemetry", "POST", rf"{CAS}/telemetry", xet.telemetry),
    Route("xet-data", "GET", rf"{STORE}/data/{HASH}/(?P<first>\d{{1,10}})-(?P<last>\d{{1,10}})", xet.xorb_data),
    Route("git-refs", "GET", rf"{GIT}/info/refs", git.advertise),
    Route("git-upload-pack", "POST", rf"{GIT}/git-upload-pack", git.upload_pack),
    Route("git-receive-pack", "POST", RECEIVE_PACK, git.receive_pack, "disk", LIMITS.git_push, _PUSHERS),
    Route("page", "GET", "/", page.index),
    Route("page", "GET", "/login", page.log_in_form),
    Route("login", "POST", "/login", page.log_in, limit=LIMITS.form),
    Route("login", "POST", "/logout", page.log_out, limit=LIMITS.form),
    Route("page", "GET", rf"{BUCKET_PAGE}(?:/tree(?:/(?P<path>.*))?)?", page.bucket),
    Route("page", "GET", rf"{BUCKET_PAGE}/blob/(?P<path>.+)", page.bucket_file),
    Route("page", "GET", rf"{PAGES}/tree/{REV}(?:/(?P<path>.*))?", page.folder),
    Route("page", "GET", rf"{PAGES}/blob/{REV}/(?P<path>.+)", page.file),
    Route("page", "GET", rf"{PAGES}/commits/{REV}", page.commits),
    Route("page", "GET", rf"{PAGES}/commit/(?P<rev>[0-9a-f]+)", page.commit),
    Route("page", "GET", rf"{PAGES}/{PULL}", page.pull_request),
    Route("page", "GET", OVERVIEW, page.overview),
)
