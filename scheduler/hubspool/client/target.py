"""One revision of one repository, or a bucket, and the addresses of its pages and API routes."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from hubspool.client.validation import address_of, check_repo_id, check_repo_type, check_revision
from hubspool.errors import HFValidationError


@dataclass(frozen=True)
class Target:
    """A revision of a repository, or a bucket, which has none.

    Attributes:
        endpoint: address of the Hub, without a trailing slash.
        repo_id: ``namespace/name``.
        repo_type: ``model``, ``dataset``, ``space`` or ``bucket``.
        revision: branch, tag or commit.
    """

    endpoint: str
    repo_id: str
    repo_type: str
    revision: str

    @classmethod
    def of(cls, endpoint: str, repo_id: str, repo_type: str | None, revision: str | None = None) -> Target:
        """Check the values, and return the target with defaults filled in (a model, ``main``).

        Raises:
            HFValidationError: a value is wrong, or a bucket is given a revision.
        """
        target = cls(
            endpoint, check_repo_id(repo_id), check_repo_type(repo_type, or_bucket=True), check_revision(revision)
        )
        if target.is_bucket and target.revision != "main":
            raise HFValidationError(f"revision is {revision!r}.", hint="Leave it out: a bucket has no history.")
        return target

    @property
    def is_bucket(self) -> bool:
        """Whether it has neither commits nor a history."""
        return self.repo_type == "bucket"

    @property
    def web_url(self) -> str:
        """Address of the repository's page."""
        folder = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"{self.endpoint}/{folder}{self.repo_id}"

    @property
    def address(self) -> str:
        """What a program gives to reach it: its id, of a bucket its address."""
        return address_of(self.repo_id, self.repo_type)

    @property
    def name_and_revision(self) -> str:
        """Its address for messages, with the revision of a repository."""
        return self.address if self.is_bucket else f"{self.repo_id} at {self.revision}"

    @property
    def api_url(self) -> str:
        """Address of the repository's part of the API."""
        return f"{self.endpoint}/api/{self.repo_type}s/{self.repo_id}"

    @property
    def lfs_batch_url(self) -> str:
        """Address of the LFS batch API."""
        return f"{self.web_url}.git/info/lfs/objects/batch"

    def route(self, name: str, path: str = "") -> str:
        """Return the address of an API route for the revision, or for `path` in it."""
        # A revision such as refs/pr/1 is one segment of the address, so its slashes are escaped as well.
        address = f"{self.api_url}/{name}/{quote(self.revision, safe='')}"
        return f"{address}/{quote(path)}" if path else address

    def file_url(self, path: str) -> str:
        """Return the address of the content of `path`."""
        if self.is_bucket:
            return f"{self.web_url}/resolve/{quote(path)}"
        return f"{self.web_url}/resolve/{quote(self.revision, safe='')}/{quote(path)}"

    def commit_url(self, oid: str) -> str:
        """Return the address of a commit's page; of a bucket its own."""
        if self.is_bucket:
            return self.web_url
        return f"{self.web_url}/commit/{oid}"
