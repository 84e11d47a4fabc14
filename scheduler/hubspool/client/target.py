"""Which repository, at which revision of which Hub, and the addresses that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from hubspool.client.validation import check_repo_id, check_repo_type, check_revision


@dataclass(frozen=True)
class Target:
    """A revision of a repository; values are checked when it is made.

    Attributes:
        endpoint: Address of the Hub, without a trailing slash.
        repo_id: ``namespace/name``.
        repo_type: ``model``, ``dataset`` or ``space``.
        revision: Branch, tag or commit.
    """

    endpoint: str
    repo_id: str
    repo_type: str
    revision: str

    @classmethod
    def of(cls, endpoint: str, repo_id: str, repo_type: str | None, revision: str | None = None) -> Target:
        """Return the target with defaults filled in (a model, ``main``)."""
        return cls(endpoint, check_repo_id(repo_id), check_repo_type(repo_type), check_revision(revision))

    @property
    def web_url(self) -> str:
        """The repository's page."""
        folder = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"{self.endpoint}/{folder}{self.repo_id}"

    @property
    def api_url(self) -> str:
        """Base of the repository's part of the API."""
        return f"{self.endpoint}/api/{self.repo_type}s/{self.repo_id}"

    @property
    def lfs_batch_url(self) -> str:
        """Where LFS asks what to send."""
        return f"{self.web_url}.git/info/lfs/objects/batch"

    def route(self, name: str, path: str = "") -> str:
        """Return the address of an API route that works on the revision, or on `path` at it."""
        # A revision such as refs/pr/1 is one segment of the address, so its slashes are escaped as well.
        address = f"{self.api_url}/{name}/{quote(self.revision, safe='')}"
        return f"{address}/{quote(path)}" if path else address

    def file_url(self, path: str) -> str:
        """Return where the content of `path` is read."""
        return f"{self.web_url}/resolve/{quote(self.revision, safe='')}/{quote(path)}"

    def commit_url(self, oid: str) -> str:
        """Return the page of a commit."""
        return f"{self.web_url}/commit/{oid}"
