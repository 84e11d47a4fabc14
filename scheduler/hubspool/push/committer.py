"""The sending half of a push: transfer, intents, one commit after the other, acknowledgements."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from hubspool.client.operations import CommitOperationAdd
from hubspool.client.target import Target
from hubspool.client.transfer.options import TransferOptions
from hubspool.errors import (
    BadRequestError,
    ChangedMeanwhileError,
    HFValidationError,
    HubspoolError,
    LocalFileError,
    Outcome,
    RepoReplacedError,
)
from hubspool.push import rules
from hubspool.push.budget import Budget
from hubspool.push.compare import Digest, digests
from hubspool.push.encodings import Contents
from hubspool.push.events import CommitEvent, CommitPlan, State
from hubspool.push.ledger import Ledger
from hubspool.push.lines import Kind
from hubspool.push.part import Part
from hubspool.push.planner import PushPlan
from hubspool.push.remote import Head, HubFile, RemoteRepo, Suspects, description
from hubspool.push.rules import Rules, Upload
from hubspool.spool.segment_name import SegmentName, part_rule

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.repo_info import CommitInfo

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushHooks:
    """What a scheduler adds to a push; all called in the pushing thread, without the writers' lock.

    Args:
        enter: told of each state.
        is_turn: asked once a push, with the number of the repo's writers: whether to commit now.
        message: makes the commit's message.
        before_commit: called with the content sent and nothing committed yet; what it raises stops the commit.
        additional_operations: files to go into the same commit.
        committed: told of each commit that landed.
    """

    enter: Callable[[State], None]
    is_turn: Callable[[int], bool]
    message: Callable[[CommitPlan], str]
    before_commit: Callable[[CommitPlan], None]
    additional_operations: Callable[[CommitPlan], Iterable[CommitOperationAdd]]
    committed: Callable[[CommitEvent, CommitInfo], None]


@dataclass
class PushContext:
    """Where a folder's content goes, and what was learned about it; lives as long as its scheduler.

    Args:
        key: the target's number in the ledger.
        writer: the id that our commits carry.
        clock: seconds since the epoch.
        suspects: paths of ours with foreign content.
        has_rule: the repo is known to have the LFS rule for parts.
        budget: what all writers of the repo share.
        contents: says what stands on the Hub for a part.
    """

    api: HfApi
    target: Target
    folder: Path
    ledger: Ledger
    key: int
    writer: str
    hooks: PushHooks
    rules: Rules
    clock: Callable[[], float] = time.time
    suspects: Suspects = field(default_factory=Suspects)
    has_rule: bool = False
    budget: Budget = field(default_factory=Budget)
    contents: Contents = field(default_factory=Contents)

    @property
    def hub(self) -> RemoteRepo:
        """Reads the target."""
        return RemoteRepo(self.api, self.target)

    def check_identity(self, head: Head) -> None:
        """Make sure that this is the repo we know, where our last commit is not among its newest.

        Raises:
            RepoReplacedError: it was deleted and made again; everything counts as unsent, and a person decides.
        """
        known, last_oid = self.ledger.identity(self.key)
        if known is not None and (last_oid is None or last_oid in head.oids):
            return
        found = self.hub.identity()
        if known is None:
            self.ledger.identify(self.key, found, last_oid)
        elif found != known:
            raise RepoReplacedError(self.target.repo_id, self.folder)

    def attributes(self, uploads: Sequence[Upload]) -> CommitOperationAdd | None:
        """Return a new ``.gitattributes`` when these uploads open parts and the repo has no LFS rule for them yet."""
        opens = any(upload.part.commits == 0 and _is_segment(upload.part.source) for upload in uploads)
        if self.has_rule or not opens:
            return None
        text, rule = self.hub.text(".gitattributes") or "", part_rule(self.contents.form)
        self.has_rule = rule in text.splitlines()
        return None if self.has_rule else CommitOperationAdd(".gitattributes", _with_rule(text, rule).encode())


class Committer:
    """One push's commits, from a survey.

    Args:
        commit: the last commit that was made.
        writers: hubspool writers that committed to the repo in the last hour, this one included; 0 if nobody looked.
        unsent: (source, part number) → what is not known to be on the Hub.
    """

    def __init__(self, outlet: PushContext, survey: PushPlan) -> None:
        self.outlet = outlet
        self.survey = survey
        self.commit: CommitInfo | None = None
        self.writers = 0
        self.unsent = {(upload.part.source, upload.part.number): upload for upload in survey.uploads}
        self._adds_extra = True
        self._is_turn: bool | None = None  # not asked yet

    @property
    def unsent_sources(self) -> set[str]:
        """Local files of which something is unsent."""
        return {source for source, _ in self.unsent}

    def send(self, uploads: Sequence[Upload]) -> None:
        """Transfer and commit these uploads; where the Hub refuses one, halve them until it stands alone."""
        try:
            self._send(uploads)
        except (BadRequestError, HFValidationError, LocalFileError) as error:
            if self._adds_extra and not isinstance(error, LocalFileError):
                # Data must not wait for a card that somebody broke: the first thing to leave out is what we added.
                self._adds_extra = False
                self.send(uploads)
            elif len(uploads) == 1:
                self._skip(uploads[0], str(error))
            else:
                middle = len(uploads) // 2
                self.send(uploads[:middle])
                self.send(uploads[middle:])

    def _send(self, uploads: Sequence[Upload]) -> None:
        outlet = self.outlet
        head = outlet.hub.head()
        outlet.check_identity(head)
        since = datetime.fromtimestamp(outlet.clock() - outlet.budget.hour, timezone.utc)
        self.writers = len(head.writers_since(since) | {outlet.writer})
        if self._is_turn is None:
            self._is_turn = outlet.hooks.is_turn(self.writers)
        if not self._is_turn:
            return
        operations = self._operations(uploads)
        uploads = [upload for upload in uploads if upload.part.path in operations]
        if not uploads:
            return
        summary = self._summary(uploads, head.oid)
        attributes = outlet.attributes(uploads)
        extra = [] if attributes is None else [attributes]
        if self._adds_extra:
            extra.extend(outlet.hooks.additional_operations(summary))
        # What the folder itself holds at a path wins over what we would add there (a local README.md over our card).
        extra = [operation for operation in extra if operation.path_in_repo not in operations]
        outlet.hooks.enter(State.UPLOADING)
        outlet.api.preupload_lfs_files(
            outlet.target.repo_id,
            [*extra, *operations.values()],
            repo_type=outlet.target.repo_type,
            revision=outlet.target.revision,
            free_memory=False,
            options=TransferOptions(
                # The user's own files grow under one path for as long as the app runs; parts of ours are closed soon.
                small_appends=any(upload.guarded and upload.part.end for upload in uploads),
                on_progress=lambda _: outlet.hooks.enter(State.UPLOADING),
            ),
        )
        wanted = self._wanted(uploads, operations)
        if wanted:
            guarded = bool(extra) or any(upload.guarded for upload in wanted)
            self._commit(wanted, operations, extra, head.oid if guarded else None, self._summary(wanted, head.oid))
            outlet.has_rule = outlet.has_rule or attributes is not None

    def _operations(self, uploads: Sequence[Upload]) -> dict[str, CommitOperationAdd]:
        operations = {}
        for upload in uploads:
            path = self.outlet.folder / upload.part.source
            try:
                content = self.outlet.contents.content(path, upload.part, upload.end, self._digest(upload))
                operation = CommitOperationAdd(upload.part.path, content.range)
            except (OSError, HFValidationError) as error:  # vanished, unreadable, or no name for the Hub: others go on
                self._skip(upload, str(error))
                continue
            operation.set_sha256(content.sha256)
            operations[upload.part.path] = operation
        return operations

    def _wanted(self, uploads: Sequence[Upload], operations: dict[str, CommitOperationAdd]) -> list[Upload]:
        """Drop what is ignored, what stands there already, and what somebody else changed."""
        outlet = self.outlet
        found = {path: operation.remote_oid for path, operation in operations.items()}
        doubted = [
            upload.part.path
            for upload in uploads
            if found[upload.part.path] not in {operations[upload.part.path].content_id, *_ours(upload)}
        ]
        # preupload tells nothing where the file is stored in the other form: ask before believing in a change.
        files = outlet.hub.files(doubted) if doubted else {}
        found.update({path: files[path].content_id if path in files else None for path in doubted})
        wanted = []
        for upload in uploads:
            path = upload.part.path
            if operations[path].should_ignore:
                self._skip(upload, "the repo's .gitignore leaves it out; it is not stored on the Hub")
            elif found[path] == operations[path].content_id:
                self._acknowledge([(upload, self._intent(upload, operations[path], ""))])
            elif found[path] in _ours(upload) or self.survey.kinds.get(upload.part.source) is Kind.WHOLE:
                # A file that is versioned whole may go on top of whatever stands there; parentCommit keeps it in order.
                outlet.suspects.clear(path)
                wanted.append(upload)
            else:
                self._meet_foreign(upload, files.get(path))
        return wanted

    def _meet_foreign(self, upload: Upload, file: HubFile | None) -> None:
        """Neither what we committed nor what is in doubt stands where ours should; decide when it stays.

        Raises:
            ChangedMeanwhileError: it is ours after all (a commit given up for lost landed late, or the ledger is older
                than the Hub) and is acknowledged now, or the path was never ours: plan anew.
        """
        outlet, part = self.outlet, upload.part
        local = outlet.folder / part.source
        end = outlet.contents.reach(local, part, upload.end, file, outlet.hub) if file else None
        if file and end is not None:
            digest = digests(local, part.start, [end], part.head)[0]
            adopted = rules.adopted(part, end, digest.rows, digest.sha256, file.content_id)
            outlet.ledger.save(outlet.key, [adopted if upload.guarded else rules.closed_unknown(adopted)])
            raise ChangedMeanwhileError(part.path)
        if upload.guarded and part.content_id is None:
            raise ChangedMeanwhileError(part.path)
        if outlet.suspects.is_certain(part.path, outlet.clock()):
            logger.warning("%s was changed or removed on the Hub by somebody else: not sent again", part.path)
            kind = self.survey.kinds.get(part.source)
            outlet.ledger.save(outlet.key, [rules.after_foreign_change(part, kind)])
        self._skip(upload, f"{part.path} was changed or removed on the Hub by somebody else")

    def _commit(
        self,
        uploads: list[Upload],
        operations: dict[str, CommitOperationAdd],
        extra: list[CommitOperationAdd],
        parent: str | None,
        summary: CommitPlan,
    ) -> None:
        outlet = self.outlet
        outlet.hooks.before_commit(summary)
        message = outlet.hooks.message(summary)
        push_id = uuid.uuid4().hex
        intents = [(upload, self._intent(upload, operations[upload.part.path], push_id)) for upload in uploads]
        outlet.ledger.save(outlet.key, [part for _, part in intents])
        outlet.hooks.enter(State.COMMITTING)
        try:
            commit = outlet.api.create_commit(
                outlet.target.repo_id,
                [*extra, *(operations[upload.part.path] for upload in uploads)],
                commit_message=message,
                commit_description=description(push_id, outlet.writer),
                repo_type=outlet.target.repo_type,
                revision=outlet.target.revision,
                parent_commit=parent,
            )
        except HubspoolError as error:
            if error.outcome is Outcome.NOT_APPLIED:
                outlet.ledger.save(outlet.key, [upload.part for upload in uploads])
            raise
        self.commit = commit
        self._acknowledge(intents)
        known, _ = outlet.ledger.identity(outlet.key)
        outlet.ledger.identify(outlet.key, known, commit.oid)
        event = CommitEvent(commit.oid, tuple(sorted(summary.paths)), summary.bytes_new, summary.rows_new)
        outlet.hooks.committed(event, commit)

    def _intent(self, upload: Upload, operation: CommitOperationAdd, push_id: str) -> Part:
        sha256 = self._digest(upload).sha256
        content_id = operation.content_id or sha256  # None only before preupload, which is over
        return upload.part.sending(upload.end, sha256, content_id, push_id, self.outlet.clock())

    def _acknowledge(self, intents: Iterable[tuple[Upload, Part]]) -> None:
        outlet = self.outlet
        parts = []
        for upload, sent in intents:
            rows = self._digest(upload).rows
            if upload.guarded:
                parts.append(sent.acknowledged(rows))
            else:
                parts.append(rules.landed(sent, rows, outlet.clock(), outlet.rules, was_in_doubt=upload.is_repeat))
            self.unsent.pop((upload.part.source, upload.part.number), None)
        outlet.ledger.save(outlet.key, parts)

    def _skip(self, upload: Upload, reason: str) -> None:
        logger.warning("%s is set aside: %s", upload.part.source, reason)
        self.survey.skipped[upload.part.source] = reason

    def _digest(self, upload: Upload) -> Digest:
        return self.survey.digests[upload.part.source, upload.part.number]

    def _summary(self, uploads: Sequence[Upload], parent: str) -> CommitPlan:
        return CommitPlan(
            paths=tuple(upload.part.path for upload in uploads),
            bytes_total=sum(upload.size for upload in uploads),
            bytes_new=sum(upload.new_bytes for upload in uploads),
            rows_new=sum(self._digest(upload).rows - upload.part.rows for upload in uploads),
            new=tuple((upload.part.source, upload.part.end, upload.end) for upload in uploads),
            parent=parent,
        )


def _ours(upload: Upload) -> set[str | None]:
    """Content ids that may stand at an upload's path by our own doing, or that it is meant to replace."""
    part = upload.part
    own = {part.content_id, part.sending_id} if part.in_doubt else {part.content_id}
    return own if upload.replaces is None else {*own, upload.replaces}


def _is_segment(source: str) -> bool:
    return SegmentName.parse(source.rsplit("/", 1)[-1]) is not None


def _with_rule(text: str, rule: str) -> str:
    return f"{text.rstrip()}\n{rule}\n".lstrip()
