"""A scheduler's repository: found or created as soon as the Hub allows, and the client that reaches it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from copy import copy
from pathlib import Path
from typing import Any

from hubspool import fork
from hubspool.client.hf_api import HfApi
from hubspool.client.retry import RetryPolicy
from hubspool.client.target import Target
from hubspool.client.validation import check_repo_id, check_repo_type, check_revision
from hubspool.errors import ForbiddenError, HFValidationError, HubspoolError, RepositoryNotFoundError
from hubspool.push.ledger import Ledger
from hubspool.scheduling.defaults import DEFAULTS
from hubspool.settings import Settings, is_loopback
from hubspool.spool.rescue import Rescue

logger = logging.getLogger(__name__)


class RepoSetup:
    """Knows a scheduler's repository, creates it if needed, and opens the ledger.

    `open()` may be called again after a failure; it resumes where it stopped.

    Args:
        repo_id: ``user/name``; a name alone belongs to the token's user.
        repo_type, revision, path_in_repo: as in `CommitScheduler`.
        private: visibility of a repository that is created.
        api: an `HfApi` of ours, one of huggingface_hub (its endpoint, token and headers are used), or None.
        token: for a new client.
        folder: of the rows and files.
        state_dir: folder of the ledger.
        rescue: of the folder.
        allow_own_space: accept the Space that this process runs in.

    Thread-safety: `open` may be called by several threads at once, which then make the same requests; the attributes
    may be read from any.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        repo_type: str | None,
        revision: str | None,
        path_in_repo: str,
        private: bool,
        api: Any | None,
        token: str | None,
        folder: Path,
        state_dir: Path,
        rescue: Rescue,
        allow_own_space: bool = False,
    ) -> None:
        self.repo_id = check_repo_id(repo_id)
        self.repo_type = check_repo_type(repo_type)
        self.revision = check_revision(revision)
        self.path_in_repo = path_in_repo
        self.private = private
        self.api = _our_client(api, token)
        self.folder = folder
        self.state_dir = state_dir
        self.rescue = rescue
        self.repo_url: str | None = None
        self._ledger: Ledger | None = None
        self._lock = threading.Lock()  # held while the ledger is opened
        fork.renew(self, "_lock", threading.Lock)
        own_space = None if allow_own_space else Settings.from_env().space_id
        if self.repo_type == "space" and own_space is not None and repo_id in (own_space, own_space.split("/")[-1]):
            raise HFValidationError(
                f"repo_id {repo_id!r} is the Space that this runs in: every commit would restart it.",
                hint="Write to a dataset or to another Space, or pass allow_own_space=True.",
            )

    @property
    def is_local(self) -> bool:
        """Whether the Hub is on this machine."""
        return is_loopback(self.api.endpoint)

    @property
    def is_open(self) -> bool:
        """Whether the repository is known to exist."""
        return self.repo_url is not None

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies the repository and path among the schedulers of this process."""
        return self.api.endpoint, self.repo_type, self.repo_id, self.revision, self.path_in_repo

    @property
    def target(self) -> Target:
        """The repository and branch; complete only once open, because a name alone lacks its user."""
        return Target.of(self.api.endpoint, self.repo_id, self.repo_type, self.revision)

    @property
    def ledger(self) -> Ledger:
        """The folder's ledger, opened at its first use."""
        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger(self.state_dir, self.folder)
                self.rescue.states.add(self._ledger)
            return self._ledger

    def open(self, *, patient: bool) -> None:
        """Find the repository or create it; does nothing once that has succeeded.

        It asks for an existing repository first: a token that may write to one dataset only must be enough.

        Args:
            patient: False makes each request once, all within 10 s, while an app waits for the constructor.

        Raises:
            HubspoolError: the Hub cannot be reached, or refuses.
        """
        if self.is_open:
            return
        api = self.api if patient else self._impatient()
        if "/" not in self.repo_id:
            self.repo_id = f"{api.whoami()['name']}/{self.repo_id}"
        try:
            api.repo_info(self.repo_id, repo_type=self.repo_type)
        except RepositoryNotFoundError:
            if self.repo_type == "space":
                raise HubspoolError(
                    f"The Space {self.repo_id} does not exist.",
                    hint="Create it first; a Space needs an app and an SDK.",
                ) from None
            try:
                api.create_repo(self.repo_id, repo_type=self.repo_type, private=self.private, exist_ok=True)
            except ForbiddenError as error:
                error.hint = (
                    f"The token does not see {self.repo_id} and may not create it: create it first, and give the token"
                    " write access to its contents (https://huggingface.co/settings/tokens)."
                )
                raise
            logger.info("created the %s repository %s", "private" if self.private else "public", self.repo_id)
        self.repo_url = self.target.web_url

    def rows_on_hub(self, sources: Iterable[str]) -> int:
        """Return how many lines of these files the ledger knows to be on the Hub."""
        if not self.is_open:
            return 0
        ledger = self._ledger or Ledger(self.state_dir)  # after `close()` it is opened for this one query
        try:
            known = ledger.parts(ledger.target(self.target, self.path_in_repo))
        finally:
            if ledger is not self._ledger:
                ledger.close()
        return sum(part.rows for source in sources for part in known.get(source, ()))

    def close(self) -> None:
        """Close the ledger; a later use opens it again."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            self.rescue.states.discard(ledger)
            self.rescue.release()
            ledger.close()

    def _impatient(self) -> HfApi:
        api = copy(self.api)
        api.session = self.api.session.within(DEFAULTS.setup_seconds, RetryPolicy(attempts=1))
        return api


def _our_client(api: Any | None, token: str | None) -> HfApi:
    if isinstance(api, HfApi):
        return api
    if api is None:
        return HfApi(token=token)
    return HfApi(endpoint=api.endpoint, token=api.token, headers=getattr(api, "headers", None))
