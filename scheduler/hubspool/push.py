"""One push: scan, plan, transfer, commit, acknowledge."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from filelock import Timeout as LockBusy

from hubspool import plan
from hubspool.errors import BadRequestError, HFValidationError, HubspoolError, Outcome
from hubspool.file_range import FileRange
from hubspool.hub_view import HubView, description
from hubspool.ledger import Ledger
from hubspool.operations import CommitOperationAdd
from hubspool.part import Part
from hubspool.plan import Naming, OnExisting, Rules, Upload
from hubspool.segment import PART_RULE, SegmentName
from hubspool.status import CommitEvent, State
from hubspool.survey import Survey, Surveyor
from hubspool.target import Target

if TYPE_CHECKING:
    from hubspool.hf_api import HfApi
    from hubspool.repo_info import CommitInfo

logger = logging.getLogger(__name__)

#: Reads of the Hub may be stale: a change at a path of ours counts as somebody else's when it still stands after this.
FOREIGN_SECONDS = 60.0


@dataclass(frozen=True)
class CommitPlan:
    """What the next commit will hold; handed to `commit_message`, `on_before_commit` and `additional_operations`.

    Args:
        paths: paths in the repo.
        bytes_total: content at those paths.
        bytes_new: of it, what no earlier commit holds.
        rows_new: lines among the new bytes.
    """

    paths: tuple[str, ...]
    bytes_total: int
    bytes_new: int
    rows_new: int


@dataclass(frozen=True)
class PushResult:
    """What one push did.

    Args:
        commit: the last commit, or None where there was nothing to send.
        pending_files, pending_bytes: what is left: files set aside, suspects, unfinished lines.
        set_aside: path → why it was not sent.
    """

    commit: CommitInfo | None = None
    pending_files: int = 0
    pending_bytes: int = 0
    set_aside: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hooks:
    """What a scheduler adds to a push; all called in the pushing thread, without the writers' lock.

    Args:
        enter: told of each state.
        message: makes the commit's message.
        before_commit: called with the content sent and nothing committed yet; what it raises stops the commit.
        additional_operations: files to go into the same commit.
        committed: told of each commit that landed.
    """

    enter: Callable[[State], None]
    message: Callable[[CommitPlan], str]
    before_commit: Callable[[CommitPlan], None]
    additional_operations: Callable[[CommitPlan], Iterable[CommitOperationAdd]]
    committed: Callable[[CommitEvent, CommitInfo], None]


class Pusher:
    """Brings what is new in one folder to one target.

    Not thread-safe: one thread at a time calls `push`. Over processes the push lock in the state folder keeps pushes
    apart; writers never take it.
    """

    def __init__(
        self,
        *,
        api: HfApi,
        target: Target,
        path_in_repo: str,
        folder: Path,
        ledger: Ledger,
        chosen: Callable[[str], bool],
        lock: AbstractContextManager[object],
        writer: str,
        on_existing: OnExisting,
        rest_seconds: float,
        keep_local: bool,
        hooks: Hooks,
        rules: Rules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.api = api
        self.target = target
        self.folder = folder
        self.ledger = ledger
        self.writer = writer
        self.keep_local = keep_local
        self.hooks = hooks
        self.rules = rules or Rules()
        self.clock = clock
        self.hub = HubView(api, target)
        self.key = ledger.target(target, path_in_repo)
        prefix = path_in_repo.strip("/")
        naming = Naming(f"{prefix}/" if prefix else "", ledger.folder_id)
        self.surveyor = Surveyor(folder, chosen, lock, naming, self.rules, on_existing, rest_seconds, clock)
        self._file_lock = FileLock(ledger.directory / "push.lock", fallback_to_soft=False)
        self._suspects: dict[str, float] = {}
        self._has_rule = False

    def push(self, *, final: bool = False, lock_timeout: float = 0) -> PushResult | None:
        """Send everything that is new, once; nothing is retried here beyond single requests.

        Args:
            final: what follows the last newline of a line file goes along where it is a complete row.
            lock_timeout: seconds to wait for another process that is pushing this folder.

        Returns:
            What was done; None when another process held the push lock all the time.

        Raises:
            HubspoolError: a request failed. What landed before is acknowledged; the rest is as it was.
        """
        try:
            with self._file_lock.acquire(timeout=lock_timeout, poll_interval=0.1):
                return self._push(final)
        except LockBusy:
            return None

    def _push(self, final: bool) -> PushResult:
        self.hooks.enter(State.SCANNING)
        settled = self.ledger.settled(self.key)
        snapshot = self.surveyor.look(settled)
        known = self.ledger.parts(self.key) if snapshot.segments or snapshot.changed else {}
        survey = self.surveyor.survey(snapshot, settled, known, self.hub, final=final)
        if survey.parts:
            self.ledger.save(self.key, survey.parts)
        run = _Run(self, survey)
        for batch in plan.batches(survey.uploads, self.rules):
            run.send(batch)
        self._finish(survey, run)
        return PushResult(
            commit=run.commit,
            pending_files=len(run.unsent_sources | survey.set_aside.keys()),
            pending_bytes=survey.waiting + sum(upload.new_bytes for upload in run.unsent.values()),
            set_aside=survey.set_aside,
        )

    def _finish(self, survey: Survey, run: _Run) -> None:
        left = run.unsent_sources | survey.set_aside.keys()
        done = {source: stat for source, stat in survey.settled.items() if source not in left}
        if done:
            self.ledger.settle(self.key, done.items())
        if not self.keep_local:
            for source in sorted(set(survey.removable) - left):
                # All of it is on the Hub and its writer has ended, so nobody will look for it again.
                (self.folder / source).unlink(missing_ok=True)
                self.ledger.forget(self.key, source)

    def attributes(self, uploads: Sequence[Upload]) -> str | None:
        """Return a new ``.gitattributes`` when these uploads open parts and the repo has no LFS rule for them yet."""
        is_new = any(
            upload.part.commits == 0 and SegmentName.parse(Path(upload.part.source).name) for upload in uploads
        )
        if self._has_rule or not is_new:
            return None
        text = self.hub.text(".gitattributes") or ""
        if PART_RULE in text.splitlines():
            self._has_rule = True
            return None
        return f"{text.rstrip()}\n{PART_RULE}\n".lstrip()

    def is_foreign(self, upload: Upload, found: str | None) -> bool:
        """Whether `found`, the content id at the upload's path, is neither ours nor in doubt.

        Raises nothing and decides late: the first sighting only starts the clock.
        """
        part = upload.part
        ours = {part.content_id, part.sending_id} if part.in_doubt else {part.content_id}
        if found in ours:
            self._suspects.pop(part.path, None)
            return False
        return True

    def is_certain(self, path: str) -> bool:
        """Whether a foreign content at `path` was seen for long enough to be no stale read."""
        return self.clock() - self._suspects.setdefault(path, self.clock()) >= FOREIGN_SECONDS


class _Run:
    """The sending half of one push."""

    def __init__(self, pusher: Pusher, survey: Survey) -> None:
        self.pusher = pusher
        self.survey = survey
        self.commit: CommitInfo | None = None
        self.unsent = {(upload.part.source, upload.part.number): upload for upload in survey.uploads}

    @property
    def unsent_sources(self) -> set[str]:
        return {source for source, _ in self.unsent}

    def send(self, uploads: Sequence[Upload]) -> None:
        """Transfer and commit these uploads; halve them where the Hub refuses one, until it stands alone."""
        try:
            self._send(uploads)
        except BadRequestError as error:
            if len(uploads) == 1:
                self._set_aside(uploads[0], str(error))
                return
            middle = len(uploads) // 2
            self.send(uploads[:middle])
            self.send(uploads[middle:])

    def _send(self, uploads: Sequence[Upload]) -> None:
        pusher = self.pusher
        head = pusher.hub.head()
        operations: dict[str, CommitOperationAdd] = {}
        for upload in uploads:
            try:
                operations[upload.part.path] = self._operation(upload)
            except (
                OSError,
                HFValidationError,
            ) as error:  # vanished or unreadable since the scan: the others go on
                self._set_aside(upload, str(error))
        sent = [upload for upload in uploads if upload.part.path in operations]
        if not sent:
            return
        summary = self._summary(sent)
        extra = {op.path_in_repo: op for op in pusher.hooks.additional_operations(summary)}
        attributes = pusher.attributes(sent)
        if attributes is not None:
            extra[".gitattributes"] = CommitOperationAdd(".gitattributes", attributes.encode())
        pusher.hooks.enter(State.UPLOADING)
        # What the folder itself holds at a path wins over what we would add there (a local README.md over our card).
        additions = [op for path, op in extra.items() if path not in operations] + list(operations.values())
        pusher.api.preupload_lfs_files(
            pusher.target.repo_id,
            additions,
            repo_type=pusher.target.repo_type,
            revision=pusher.target.revision,
            free_memory=False,
            gitattributes_content=attributes,
        )
        wanted = self._wanted(sent, operations)
        guarded = bool(extra) or any(upload.guarded for upload in wanted)
        if wanted:
            self._commit(wanted, operations, additions, head.oid if guarded else None, summary)
            pusher._has_rule = pusher._has_rule or attributes is not None

    def _operation(self, upload: Upload) -> CommitOperationAdd:
        path = self.pusher.folder / upload.part.source
        stat = path.stat()
        content = FileRange(path, upload.part.start, upload.end, (stat.st_dev, stat.st_ino))
        operation = CommitOperationAdd(upload.part.path, content)
        operation.set_sha256(self.survey.digests[upload.part.source, upload.part.number].sha256)
        return operation

    def _wanted(self, uploads: Sequence[Upload], operations: dict[str, CommitOperationAdd]) -> list[Upload]:
        """Drop what is ignored, what stands there already, and what somebody else changed."""
        doubtful = [
            upload
            for upload in uploads
            if self.pusher.is_foreign(upload, operations[upload.part.path].remote_oid)
            and operations[upload.part.path].remote_oid != operations[upload.part.path].content_id
        ]
        # preupload tells nothing where the file is stored in the other form, so ask before believing in a change.
        files = self.pusher.hub.files([upload.part.path for upload in doubtful]) if doubtful else {}
        wanted = []
        for upload in uploads:
            operation = operations[upload.part.path]
            if operation.should_ignore:
                self._set_aside(upload, "the repo's .gitignore leaves it out; it is not stored on the Hub")
                continue
            found = operation.remote_oid
            if upload in doubtful:
                file = files.get(upload.part.path)
                found = file.content_id if file else None
            if found == operation.content_id:
                self._acknowledge([self._intent(upload, operation, "")])
            elif self.pusher.is_foreign(upload, found):
                self._meet_foreign(upload)
            else:
                wanted.append(upload)
        return wanted

    def _meet_foreign(self, upload: Upload) -> None:
        """Somebody else's content, or nothing, stands where ours should: leave it, and decide when it stays.

        At a path that we never wrote the guard of the next push decides.
        """
        part = upload.part
        if (part.content_id or not upload.guarded) and self.pusher.is_certain(part.path):
            logger.warning("%s was changed or removed on the Hub by somebody else: not sent again", part.path)
            kind = self.survey.kinds.get(part.source)
            self.pusher.ledger.save(self.pusher.key, [plan.after_foreign_change(part, kind)])
        self._set_aside(upload, f"{part.path} was changed or removed on the Hub by somebody else")

    def _intent(self, upload: Upload, operation: CommitOperationAdd, push_id: str) -> tuple[Upload, Part]:
        digest = self.survey.digests[upload.part.source, upload.part.number]
        now = self.pusher.clock()
        content_id = operation.content_id or digest.sha256  # None only before preupload, which is over
        return upload, upload.part.sending(upload.end, digest.sha256, content_id, push_id, now)

    def _commit(
        self,
        uploads: list[Upload],
        operations: dict[str, CommitOperationAdd],
        additions: list[CommitOperationAdd],
        parent: str | None,
        summary: CommitPlan,
    ) -> None:
        pusher = self.pusher
        paths = {upload.part.path for upload in uploads}
        dropped = {upload_path for upload_path in operations if upload_path not in paths}
        pusher.hooks.before_commit(summary)
        push_id = uuid.uuid4().hex
        intents = [self._intent(upload, operations[upload.part.path], push_id) for upload in uploads]
        pusher.ledger.save(pusher.key, [part for _, part in intents])
        pusher.hooks.enter(State.COMMITTING)
        try:
            commit = pusher.api.create_commit(
                pusher.target.repo_id,
                [op for op in additions if op.path_in_repo not in dropped],
                commit_message=pusher.hooks.message(summary),
                commit_description=description(push_id, pusher.writer),
                repo_type=pusher.target.repo_type,
                revision=pusher.target.revision,
                parent_commit=parent,
            )
        except HubspoolError as error:
            if error.outcome is Outcome.NOT_APPLIED:
                pusher.ledger.save(pusher.key, [upload.part for upload in uploads])
            raise
        self.commit = commit
        self._acknowledge(intents)
        event = CommitEvent(commit.oid, tuple(sorted(paths)), summary.bytes_new, summary.rows_new)
        pusher.hooks.committed(event, commit)

    def _acknowledge(self, intents: Iterable[tuple[Upload, Part]]) -> None:
        pusher = self.pusher
        parts = []
        for upload, sent in intents:
            rows = self.survey.digests[upload.part.source, upload.part.number].rows
            closes = upload.is_repeat and not upload.guarded
            if upload.guarded:
                parts.append(sent.acknowledged(rows))
            else:
                parts.append(plan.landed(sent, rows, pusher.clock(), pusher.rules, was_in_doubt=closes))
            self.unsent.pop((upload.part.source, upload.part.number), None)
        pusher.ledger.save(pusher.key, parts)

    def _set_aside(self, upload: Upload, reason: str) -> None:
        logger.warning("%s is set aside: %s", upload.part.source, reason)
        self.survey.set_aside[upload.part.source] = reason

    def _summary(self, uploads: Sequence[Upload]) -> CommitPlan:
        rows = [self.survey.digests[upload.part.source, upload.part.number].rows for upload in uploads]
        return CommitPlan(
            paths=tuple(upload.part.path for upload in uploads),
            bytes_total=sum(upload.size for upload in uploads),
            bytes_new=sum(upload.new_bytes for upload in uploads),
            rows_new=sum(rows) - sum(upload.part.rows for upload in uploads),
        )
