"""Sends a plan: transfer, intents, one commit after the other, acknowledgements."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hubspool.client.commit import CommitRequest, commit_info
from hubspool.client.operations import CommitOperation, CommitOperationAdd, CommitOperationDelete
from hubspool.client.repo_info import CommitInfo, GitCommitInfo
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
from hubspool.push.compare import digests
from hubspool.push.context import PushContext
from hubspool.push.events import CommitEvent, CommitPlan, State
from hubspool.push.ghosts import removable_ghosts
from hubspool.push.lines import Kind
from hubspool.push.part import Part
from hubspool.push.plan import PushPlan
from hubspool.push.remote import Head, NamedPart, RemoteFile, description
from hubspool.push.rules import Read, Upload
from hubspool.spool.segment_name import SegmentName

logger = logging.getLogger(__name__)

#: Path in the repository → operation, one for each upload.
_Operations = dict[str, CommitOperationAdd]


class Committer:
    """Makes the commits of one push.

    Args:
        context: the folder, the target and the options.
        plan: what to send.
        head: of the branch, if the push has read it.

    Attributes:
        commit: the last commit that landed.
        writers: number of hubspool writers that committed to the repository in the last hour, this one included; 0 if
            the push did not ask.
        unsent: uploads that are not known to be on the Hub.
    """

    def __init__(self, context: PushContext, plan: PushPlan, head: Head | None = None) -> None:
        self.context = context
        self.plan = plan
        self._head = head
        self.commit: CommitInfo | None = None
        self.writers = 0
        self.unsent = set(plan.uploads)
        self._pushes: dict[str, GitCommitInfo] = {}
        self._was_reset = False  # our last commit is not among the newest: a reset branch, or a stale read
        self._adds_extra = True
        self._is_turn: bool | None = None  # the hook has not been called

    @property
    def unsent_sources(self) -> set[str]:
        """Local files that are not sent completely."""
        return {upload.part.source for upload in self.unsent}

    def send(self, uploads: Sequence[Upload]) -> None:
        """Transfer and commit uploads; if the Hub refuses them, halve them until the refused file is alone."""
        try:
            self._send(uploads)
        except (BadRequestError, HFValidationError, LocalFileError) as error:
            if self._adds_extra and not isinstance(error, LocalFileError):
                # Data must not wait for a card that somebody broke: first leave out what the scheduler has added.
                self._adds_extra = False
                self.send(uploads)
            elif len(uploads) == 1:
                self._skip(uploads[0], str(error))
            else:
                middle = len(uploads) // 2
                self.send(uploads[:middle])
                self.send(uploads[middle:])

    def _send(self, uploads: Sequence[Upload]) -> None:
        context = self.context
        head, self._head = self._head or context.repo.head(), None
        self._check_identity(head)
        self._pushes = head.pushes
        last = context.ledger.identity(context.key)[1]
        self._was_reset = last is not None and last not in head.oids
        if not self._is_our_turn(head):
            return
        operations = self._operations(uploads)
        uploads = [upload for upload in uploads if upload.part.path in operations]
        if not uploads:
            return
        extra = attributes = self._attributes(uploads)
        if self._adds_extra:
            extra = [*extra, *context.hooks.additional_operations(self._summary(uploads, head.oid))]
        # A file of the folder wins: a local README.md over the scheduler's card.
        extra = [operation for operation in extra if operation.path_in_repo not in operations]
        self._transfer(uploads, [*extra, *operations.values()])
        wanted = self._wanted(uploads, operations)
        if wanted:
            self._commit(wanted, operations, extra, head)
            context.memory.has_lfs_rule = context.memory.has_lfs_rule or bool(attributes)

    def _check_identity(self, head: Head) -> None:
        """Check that this is the known repository, if our last commit is not among its newest.

        Raises:
            RepoReplacedError: it was deleted and created again; everything counts as unsent, and a person decides.
        """
        context = self.context
        known, last_oid = context.ledger.identity(context.key)
        if known is not None and (last_oid is None or last_oid in head.oids):
            return
        found = context.repo.identity()
        if known is None:
            context.ledger.identify(context.key, found, last_oid)
        elif found != known:
            folder = context.folder.parent if context.is_spool else context.folder
            raise RepoReplacedError(context.target.repo_id, folder)

    def _is_our_turn(self, head: Head) -> bool:
        self.writers = len(head.writers_within(self.context.budget.hour) | {self.context.writer})
        if self._is_turn is None:
            self._is_turn = self.context.hooks.is_turn(self.writers)
        return self._is_turn

    def _operations(self, uploads: Sequence[Upload]) -> _Operations:
        """Return the operations of the uploads; those whose file cannot be read are skipped."""
        operations = {}
        for upload in uploads:
            path = self.context.folder / upload.part.source
            try:
                payload = self.context.payloads.payload(path, upload.part, upload.end, self.plan.uploads[upload])
                operation = CommitOperationAdd(upload.part.path, payload.range)
            except (OSError, HFValidationError) as error:  # gone, unreadable, or a path that the Hub refuses
                self._skip(upload, str(error))
                continue
            operation.set_sha256(payload.sha256)
            operations[upload.part.path] = operation
        return operations

    def _attributes(self, uploads: Sequence[Upload]) -> list[CommitOperationAdd]:
        """Return a new ``.gitattributes`` if the uploads begin parts and the repository has no LFS rule for them."""
        context = self.context
        if context.memory.has_lfs_rule or not any(upload.begins_part for upload in uploads):
            return []
        attributes = context.repo.attributes(context.payloads.suffix)
        context.memory.has_lfs_rule = not attributes
        return attributes

    def _transfer(self, uploads: Sequence[Upload], operations: list[CommitOperationAdd]) -> None:
        self.context.hooks.enter(State.UPLOADING)
        self.context.repo.preupload(operations, options=self._transfer_options(uploads), free_memory=False)

    def _transfer_options(self, uploads: Sequence[Upload]) -> TransferOptions:
        return TransferOptions(
            # The user's files grow under one path as long as the app runs; parts are closed soon.
            small_appends=any(upload.guarded and upload.part.end for upload in uploads),
            on_progress=lambda _: self.context.hooks.enter(State.UPLOADING),
        )

    def _wanted(self, uploads: Sequence[Upload], operations: _Operations) -> list[Upload]:
        """Return the uploads to commit: without ignored files, content that the Hub has, and foreign changes."""
        ids = {path: operation.remote_oid for path, operation in operations.items()}
        unexpected = [
            upload.part.path
            for upload in uploads
            if ids[upload.part.path] not in {operations[upload.part.path].content_id, *_expected_ids(upload)}
        ]
        # preupload returns no id for a file that is stored in the other form (regular or LFS): ask for it.
        files = self._files(unexpected, uploads)
        ids.update({path: files[path].content_id if path in files else None for path in unexpected})
        doubtful = [upload for upload in uploads if upload.part.in_doubt and upload in self.unsent]
        wanted = [
            upload
            for upload in uploads
            if self._is_wanted(upload, operations[path := upload.part.path], ids[path], files.get(path))
        ]
        self._note_late_commits([upload for upload in doubtful if upload not in self.unsent])
        return wanted

    def _note_late_commits(self, uploads: Sequence[Upload]) -> None:
        """Report the commits of uploads in doubt that a look has found on the Hub: their answers were lost."""
        target = self.context.target
        for push_id in dict.fromkeys(upload.part.push_id for upload in uploads):
            if push_id is not None and (found := self._pushes.get(push_id)) is not None:
                of_push = [upload for upload in uploads if upload.part.push_id == push_id]
                request = CommitRequest(found.title, found.message)
                late = commit_info(target, request, found.commit_id)
                self._note_commit(late, self._summary(of_push, ""), is_late=True)

    def _note_commit(self, commit: CommitInfo, summary: CommitPlan, *, is_late: bool = False) -> None:
        context = self.context
        known, last = context.ledger.identity(context.key)
        if self.commit is None or not is_late:  # else a newer one of this push was noted before
            self.commit = commit
        context.ledger.identify(context.key, known, last if is_late and last else commit.oid)
        paths = tuple(sorted(summary.paths))
        event = CommitEvent(commit.oid, paths, summary.bytes_new, summary.rows_new, summary.parts_new)
        context.hooks.committed(event, commit)

    def _files(self, paths: list[str], uploads: Sequence[Upload]) -> dict[str, RemoteFile]:
        """Return path → file at paths of uploads with unexpected content.

        Raises:
            ChangedMeanwhileError: a part was joined since the push began, which must plan again.
        """
        context = self.context
        if not paths or not context.is_spool:
            return context.repo.files(paths)
        head = context.repo.head()
        if joined := context.after_joins(head, [upload.part for upload in uploads]):
            raise ChangedMeanwhileError(next(iter(joined.values())).path)
        return context.repo.at(head.oid).files(paths)

    def _ghosts(self, head: Head, sending: Iterable[Part] = ()) -> list[CommitOperationDelete]:
        """Return operations that delete parts which landed after they were joined: their rows are in other files.

        Args:
            head: of the branch; the commit must be made on top of it.
            sending: parts that the same commit writes.
        """
        memory = self.context.memory
        late = {(path, head.named[path].commit) for path in head.late_parts if memory.manifests.held(path)}
        memory.absent &= late
        paths = sorted(path for path, _ in late - memory.absent)
        at = self.context.repo.at(head.oid)
        files = at.files(paths)
        memory.absent |= {each for each in late if each[0] not in files and each[0] in paths}
        named = {**head.named, **{part.path: NamedPart("", part.start, part.sent_end, "") for part in sending}}
        return [CommitOperationDelete(path) for path in removable_ghosts(at, files.values(), memory.manifests, named)]

    def _is_wanted(
        self, upload: Upload, operation: CommitOperationAdd, remote_id: str | None, file: RemoteFile | None
    ) -> bool:
        """Return True if an upload is to be committed; otherwise acknowledge it or skip it."""
        if operation.should_ignore:
            self._skip(upload, "the repository's .gitignore excludes it; it is not stored on the Hub")
        elif remote_id == operation.content_id:
            self._acknowledge([(upload, self._intent(upload, operation, ""))], looked=True)
        elif remote_id in _expected_ids(upload) or self.plan.kinds.get(upload.part.source) is Kind.WHOLE:
            # A new version of a whole file may replace any content; parentCommit keeps the versions in order.
            self.context.memory.foreign_changes.clear(upload.part.path)
            return True
        else:
            return self._is_repeated(upload, file)
        return False

    def _is_repeated(self, upload: Upload, file: RemoteFile | None) -> bool:
        """Return True if an upload with unexpected content at its path is to be committed; otherwise skip it.

        Raises:
            ChangedMeanwhileError: the push must plan again. Either the content is ours (a commit that counted as lost
                landed late, or the ledger is older than the Hub) and is acknowledged now, or the path was never ours.
        """
        context, part = self.context, upload.part
        local = context.folder / part.source
        end = context.payloads.verified_end(local, part, file, context.repo) if file else None
        read = None if end is None else rules.judged(part, end)
        if read is Read.STALE and self._was_reset:  # nobody took the later rows out on purpose
            if upload.guarded:
                read = Read.REPEAT
            elif context.memory.foreign_changes.is_certain(part.path, context.clock()):
                read = Read.OURS
        if file and end is not None and read in (Read.OURS, Read.NEWER):
            digest = digests(local, part.start, [end], part.head)[0]
            adopted = rules.adopted(part, end, digest.rows, digest.sha256, file.content_id)
            context.ledger.save(context.key, [adopted if upload.guarded else rules.closed_unknown(adopted)])
            if read is Read.NEWER and not upload.guarded:
                context.ledger.recover([part.source])
            raise ChangedMeanwhileError(part.path)
        if read is not Read.REPEAT:
            self._handle_foreign(upload, file)
        return read is Read.REPEAT

    def _handle_foreign(self, upload: Upload, file: RemoteFile | None) -> None:
        """Skip an upload whose path has other content, or less than was acknowledged; the read may be stale.

        Its part is closed once that has stayed long enough. A final push does not wait: closing a part harms nothing.

        Raises:
            ChangedMeanwhileError: as in `_is_repeated`.
        """
        context, part = self.context, upload.part
        if upload.guarded and part.content_id is None:
            raise ChangedMeanwhileError(part.path)
        is_certain = context.memory.foreign_changes.is_certain(part.path, context.clock()) or self.plan.final
        if part.push_id in self._pushes:
            part = part.acknowledged(self.plan.uploads[upload].rows)  # it landed, and was changed since
        elif part.in_doubt:  # what is sent elsewhere must not land here
            is_certain = is_certain and rules.is_second_look(part.sent_at, context.clock(), context.limits)
        if is_certain:
            logger.warning("%s was changed or removed on the Hub by somebody else: not sent again", part.path)
            context.memory.foreign_changes.closed[part.path] = (
                "somebody else changed or removed it on the Hub: not sent again, and later rows go to another path"
            )
            local, kind = context.folder / part.source, self.plan.kinds.get(part.source)
            closed = context.payloads.closed_by_others(local, part, kind, file, context.repo)
            context.ledger.save(context.key, [closed])
            if self.plan.final:
                raise ChangedMeanwhileError(part.path)
        self._skip(upload, f"{part.path} was changed or removed on the Hub by somebody else")

    def _commit(
        self, uploads: list[Upload], operations: _Operations, extra: list[CommitOperationAdd], head: Head
    ) -> None:
        """Commit uploads together with `extra`, the operations that the push adds.

        Raises:
            ChangedMeanwhileError: the commit landed, but parts of it had been joined before; the push must plan again.
        """
        context = self.context
        summary = self._summary(uploads, head.oid)
        context.hooks.before_commit(summary)
        message = context.hooks.message(summary)
        push_id = uuid.uuid4().hex
        # Paths that belong to this spool alone need no parentCommit.
        intents = [(upload, self._intent(upload, operations[upload.part.path], push_id)) for upload in uploads]
        ghosts = self._ghosts(head, [part for _, part in intents])
        parent = head.oid if extra or ghosts or any(upload.guarded for upload in uploads) else None
        context.ledger.save(context.key, [part for _, part in intents])
        context.hooks.enter(State.COMMITTING)
        try:
            changes: list[CommitOperation] = [*extra, *ghosts, *(operations[upload.part.path] for upload in uploads)]
            text = description(push_id, context.writer, (part for _, part in intents))
            commit = context.repo.commit(changes, message, text, parent)
        except HubspoolError as error:
            if error.outcome is Outcome.NOT_APPLIED:
                context.ledger.save(context.key, [upload.part for upload in uploads])
            raise
        joined = self._joined_before(commit.oid, intents, head)
        self._acknowledge([(upload, part) for upload, part in intents if (part.source, part.number) not in joined])
        self._note_commit(commit, summary)
        if joined:
            raise ChangedMeanwhileError(next(iter(joined.values())).path)

    def _joined_before(
        self, oid: str, intents: Sequence[tuple[Upload, Part]], head: Head
    ) -> dict[tuple[str, int], Part]:
        """Return the parts of a commit that landed which another commit had joined before, as the manifests have them.

        A part that was never sent before cannot have been joined, and needs no look; nor one of a segment of today,
        unless `hubspool forget` is at work. If it began since the push did, the next push looks.
        """
        context, today = self.context, head.latest_day()
        is_removing = not all(removal.is_checked for removal in context.memory.manifests.removals.values())
        sent = [part for upload, part in intents if not upload.guarded and (part.commits or upload.is_repeat)]
        again = [part for part in sent if is_removing or SegmentName.of(part.source).day < today]
        return context.after_joins(context.repo.at(oid).head(), again) if again else {}

    def _intent(self, upload: Upload, operation: CommitOperationAdd, push_id: str) -> Part:
        sha256 = self.plan.uploads[upload].sha256
        content_id = operation.content_id or sha256  # None only before the transfer
        return upload.part.sending(upload.end, sha256, content_id, push_id, self.context.clock())

    def _acknowledge(self, intents: Iterable[tuple[Upload, Part]], *, looked: bool = False) -> None:
        """Record that uploads are on the Hub: by the answer to their commit, or because a look found them."""
        context = self.context
        parts = []
        for upload, sent in intents:
            rows = self.plan.uploads[upload].rows
            if upload.guarded:
                parts.append(sent.acknowledged(rows))
            else:
                part = rules.landed(sent, rows, context.clock(), context.limits, was_in_doubt=upload.is_repeat)
                parts.append(replace(part, sent_at=context.clock()) if looked else part)
            self.unsent.discard(upload)
        context.ledger.save(context.key, parts)

    def _skip(self, upload: Upload, reason: str) -> None:
        logger.warning("%s is skipped: %s", upload.part.source, reason)
        self.plan.skipped[upload.part.source] = reason

    def _summary(self, uploads: Sequence[Upload], parent: str) -> CommitPlan:
        return CommitPlan(
            paths=tuple(upload.part.path for upload in uploads),
            bytes_total=sum(upload.size for upload in uploads),
            bytes_new=sum(upload.new_bytes for upload in uploads),
            rows_new=sum(
                self.plan.uploads[upload].rows - upload.part.rows
                for upload in uploads
                if self.plan.kinds.get(upload.part.source, Kind.JSON_LINES).has_rows
            ),
            parts_new=sum(upload.begins_part for upload in uploads),
            new=tuple((upload.part.source, upload.part.end, upload.end) for upload in uploads),
            parent=parent,
        )


def _expected_ids(upload: Upload) -> set[str | None]:
    """Return the ids of content at an upload's path that is ours, or that the upload is to replace."""
    part = upload.part
    own = {part.content_id, part.sending_id} if part.in_doubt else {part.content_id}
    return own if upload.replaces is None else {*own, upload.replaces}
