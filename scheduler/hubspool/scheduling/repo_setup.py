"""A scheduler's repository: found or created as soon as the Hub allows, and the client that reaches it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hubspool import fork
from hubspool.client.hf_api import HfApi
from hubspool.client.retry import RetryPolicy
from hubspool.client.target import Target
from hubspool.client.validation import check_repo_id, check_repo_type, check_revision
from hubspool.errors import (
    ForbiddenError,
    HFValidationError,
    HubspoolError,
    OtherAccountError,
    RepoReplacedError,
    RepositoryNotFoundError,
    StateFileError,
)
from hubspool.files import StatePaths, state_folder
from hubspool.push import rules
from hubspool.push.backlog import spool_target
from hubspool.push.ledger import Ledger
from hubspool.push.lines import count_lines
from hubspool.push.moves import adopt, finish_moves
from hubspool.push.remote_bucket import remote_of
from hubspool.scheduling.defaults import DEFAULTS
from hubspool.settings import Settings, is_loopback
from hubspool.spool.destination import Destination, SpoolFolder, spool_folders, spool_for
from hubspool.spool.rescue import rescue_of
from hubspool.spool.segment_name import segments_in

logger = logging.getLogger(__name__)

#: A segment is only appended to, so the lines in a range of it stay.
_lines_in = lru_cache(maxsize=1024)(count_lines)


class RepoSetup:
    """Knows a scheduler's repository, creates it if needed, and opens the ledger.

    `open()` may be called again after a failure; it resumes where it stopped.

    Args:
        repo_id: ``user/name``; a name alone belongs to the token's user.
        repo_type, revision, path_in_repo: as in `CommitScheduler`.
        private: visibility of a repository that is created.
        api: an `HfApi` of ours, one of huggingface_hub (its endpoint, token and headers are used), or None.
        token: for a new client.
        folder: the scheduler's folder.
        state_dir: has a folder for the ledger; None: the spool, or `state_folder`.
        rows: split and form of the rows that the scheduler writes to a spool; None sends the folder's files.
        allow_own_space: accept the Space that this process runs in.

    Attributes:
        spool: the spool of the rows; None for a folder's files.
        rescue: of the spool or the folder.
        hub_id: the Hub's `_id` of the repository; known once open.
        same_repo: other spools of the folder whose rows go to the same files; known once open.

    Thread-safety: `open` may be called by several threads at once, which then make the same requests; the attributes
    may be read from any. The first `open` decides on the spool, unless the first `remember` came before its answer.
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
        state_dir: Path | None,
        rows: tuple[str, str] | None = None,
        allow_own_space: bool = False,
    ) -> None:
        self.repo_id = self._given = check_repo_id(repo_id)
        self.repo_type = check_repo_type(repo_type, or_bucket=True)
        self.revision = check_revision(revision)
        self.path_in_repo = path_in_repo
        self.private = private
        self.api = _our_client(api, token)
        self.folder = folder
        self._rows = rows or ("", "files")
        self.spool = None if rows is None else spool_for(folder, self.destination, repo_id, state_dir)
        self.rescue = rescue_of(self.push_folder)
        self.same_repo: list[SpoolFolder] = []
        self.hub_id: str | None = None
        self._state_dir = state_dir
        self._is_in_use = False  # rows may be in the spool
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
    def has_budget(self) -> bool:
        """Whether the Hub limits commits: not of a bucket, nor on this machine unless a test sets a limit."""
        return not self.target.is_bucket and not is_loopback(self.api.endpoint)

    @property
    def is_open(self) -> bool:
        """Whether the repository is known to exist."""
        return self.repo_url is not None

    @property
    def destination(self) -> Destination:
        """Where the scheduler sends to; a name alone lacks its user until the account is known."""
        return Destination.of(
            self.api.endpoint, self.repo_id, self.repo_type, self.revision, self.path_in_repo, *self._rows
        )

    @property
    def state_dir(self) -> Path:
        """The folder of the ledger and the push lock."""
        if self.spool is not None:
            return self.spool.state
        return state_folder(self.folder, self._state_dir)

    @property
    def push_folder(self) -> Path:
        """The folder whose content is sent: the spool, or the scheduler's own."""
        return self.folder if self.spool is None else self.spool.path

    @property
    def target(self) -> Target:
        """The repository and branch; complete only once open, because a name alone lacks its user."""
        return Target.of(self.api.endpoint, self.repo_id, self.repo_type, self.revision)

    @property
    def address(self) -> str:
        """What a program gives to reach the repository: its id, of a bucket its address."""
        return self.target.address

    @property
    def ledger(self) -> Ledger:
        """The folder's ledger, opened at its first use."""
        with self._lock:
            if self._ledger is None:
                if self.spool is not None:
                    self.spool.save()
                self._ledger = Ledger(self.state_dir, self.spool.path if self.spool is not None else None)
                self.rescue.states.add(self._ledger)
            return self._ledger

    def is_same(self, other: RepoSetup) -> bool:
        """Return True if both send from one spool, or one folder's files to one destination."""
        if self.spool is not None and self.push_folder == other.push_folder:
            return True
        there = other.destination
        return self.folder == other.folder and self.destination in (there, replace(there, repo_id=other._given.lower()))

    def shares_account(self, other: RepoSetup) -> bool:
        """Return True if the repository of an equal setup is known to be this one's: two tokens may be two accounts."""
        return "/" in self._given or self.is_open or self.api.token == other.api.token

    def remember(self, recipe: dict[str, Any]) -> None:
        """Store the options of the scheduler, for ``hubspool flush``; call it before the first row is written."""
        with self._lock:
            self._is_in_use = True
            if self.spool is not None:
                self.spool = replace(self.spool, recipe=recipe, moved_to=None)
                self.spool.save()
        if self.spool is None:
            self.ledger.remember(recipe)
        else:
            self.ledger  # noqa: B018  opened now: rows that are there before the ledger wait for a second look

    def open(self, *, patient: bool) -> None:
        """Find the repository or create it; does nothing once that has succeeded.

        It asks for an existing repository first: a token that may write to one dataset only must be enough.

        Args:
            patient: False makes each request once, all within 10 s, while an app waits for the constructor.

        Raises:
            HubspoolError: the Hub cannot be reached, or refuses.
            OtherAccountError: the name is bound to another account than the token's.
            RepoReplacedError: the repository is not the one that the rows were appended for.
        """
        if self.is_open:
            return
        api = self.api if patient else self._impatient()
        self._read_spool()
        if "/" not in self._given:  # each time: what an earlier token named may have failed
            self.repo_id = f"{self._account(api)}/{self._given}"
        hub_id = self._find_or_create(api)
        with self._lock:
            self._bind(hub_id)
        self.repo_url = self.target.web_url

    def _read_spool(self) -> None:
        """Take over the account and the repository that another process, or a person, has given the rows since."""
        with self._lock:
            if self.spool is not None and (found := SpoolFolder.read(self.spool.path)) is not None:
                self.spool = replace(self.spool, account=found.account, hub_id=found.hub_id)

    def _account(self, api: HfApi) -> str:
        """Return the account that a name without a namespace belongs to."""
        account: str = api.whoami()["name"]
        bound = self.spool.account if self.spool is not None else None
        if bound not in (None, account):
            assert self.spool is not None
            raise OtherAccountError(self._given, bound, account, self.spool.path)
        return account

    def _bind(self, hub_id: str | None) -> None:
        """Note which repository this is; use the spool that its rows have under an earlier id or address."""
        if self.spool is not None:
            spool = self.spool
            known = [each for each in spool_folders(self.folder) if each.path != spool.path]
            same_repo = [each for each in known if hub_id is not None and each.is_same_on_hub(hub_id, self.destination)]
            if same_repo and not self._is_in_use and not spool.path.exists():
                spool = replace(same_repo[0], state_dir=spool.state_dir or same_repo[0].state_dir)
                listeners, self.rescue = self.rescue.listeners, rescue_of(spool.path)
                self.rescue.listeners |= listeners
            hub_id = hub_id or spool.hub_id
            if spool.hub_id not in (None, hub_id):
                raise RepoReplacedError(self.address, self.folder)
            account = None if "/" in self._given else self.repo_id.partition("/")[0]
            self.spool = replace(spool, destination=self.destination, given=self._given, account=account, hub_id=hub_id)
            self.spool.save()
            self.same_repo = [each for each in same_repo if each.path != spool.path]
        self.hub_id = hub_id

    def _find_or_create(self, api: HfApi) -> str | None:
        """Return the Hub's `_id` of the repository; of a bucket when it was created."""
        repo = remote_of(api, self.target)
        try:
            return repo.identity()
        except RepositoryNotFoundError:
            if self.repo_type == "space":
                raise HubspoolError(
                    f"The Space {self.repo_id} does not exist.",
                    hint="Create it first; a Space needs an app and an SDK.",
                ) from None
            try:
                if self.target.is_bucket:
                    api.create_bucket(self.repo_id, private=self.private, exist_ok=True)
                else:
                    api.create_repo(self.repo_id, repo_type=self.repo_type, private=self.private, exist_ok=True)
            except ForbiddenError as error:
                error.hint = (
                    f"The token does not see {self.repo_id} and may not create it: create it first, and give the token"
                    " write access to its contents (https://huggingface.co/settings/tokens)."
                )
                raise
            kind = "bucket" if self.target.is_bucket else "repository"
            logger.info("created the %s %s %s", "private" if self.private else "public", kind, self.repo_id)
        return repo.identity()

    def collect_rows(self) -> None:
        """Take the rows that another spool has for the same files on the Hub, and end what a killed move left."""
        if self.spool is None:
            return
        if self.spool.path.exists() and not StatePaths(self.spool.path).destination.exists():
            self.spool.save()  # somebody removed the spool, and its rows are written again
        finish_moves(self.ledger, self.spool.path)
        if self.same_repo:
            key = self.ledger.target(self.target, self.path_in_repo, self.hub_id)
            self.same_repo = [each for each in self.same_repo if not adopt(each, self.spool.path, self.ledger, key)]

    def rows_on_hub(self, sources: Iterable[str]) -> int:
        """Return how many lines of these files the ledger knows to be on the Hub."""
        if not self.is_open:
            return 0
        with self._query() as ledger:
            known = ledger.parts(ledger.target(self.target, self.path_in_repo, self.hub_id))
        return sum(part.rows for source in sources for part in known.get(source, ()))

    def waiting_rows(self, known: Container[str]) -> int:
        """Return the lines of the spool's segments, but for those in `known`, that are not known to be on the Hub.

        What cannot be read now (a segment that a push removes, no descriptor left) is not counted: `status()` must not
        fail.
        """
        rows = 0
        with suppress(OSError, StateFileError):
            for path, start, end in self._gaps(known):
                with suppress(FileNotFoundError):
                    rows += _lines_in(path, start, end)
        return rows

    def pending(self) -> tuple[int, int] | None:
        """Return the segments of the spool with bytes not known to be on the Hub, and these bytes; None: unreadable."""
        try:
            found = self._gaps(())
        except (OSError, StateFileError):
            return None
        return len({path for path, *_ in found}), sum(end - start for _, start, end in found)

    def _gaps(self, known: Container[str]) -> list[tuple[Path, int, int]]:
        """Return path, start and end of what is not known to be on the Hub of the segments that are not in `known`."""
        if self.spool is None or not (others := [name for name in segments_in(self.spool.path) if name not in known]):
            return []
        with self._query() as ledger:
            target = spool_target(ledger, self.spool)
            parts = {} if target is None else ledger.parts(target)
            looks = {} if target is None else ledger.recovering(target)
        found = []
        for path in map(self.spool.path.joinpath, others):
            with suppress(FileNotFoundError):
                known_parts = [part.withdrawn() for part in parts.get(path.name, ())]  # what is in doubt waits too
                seen = looks.get(path.name, (None, 0))[1]  # bytes that a look has found, whose ledger was lost
                gaps = rules.missing(known_parts, path.stat().st_size)
                found += [(path, max(start, seen), end) for start, end in gaps if end > seen]
        return found

    @contextmanager
    def _query(self) -> Iterator[Ledger]:
        """Give the ledger; after `close` it is open for this query only."""
        ledger = self._ledger or Ledger(self.state_dir)
        try:
            yield ledger
        finally:
            if ledger is not self._ledger:
                ledger.close()

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
