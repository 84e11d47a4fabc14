"""Pushes to a bucket, which has no history: batches of files in place of commits.

Rows go there as one file a push, named by segment and range, that never changes. Files of the user are replaced; a
batch whose answer was lost may land over a newer version, so the file is looked at again an hour later.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import PurePosixPath

from hubspool.client.buckets import add_line, send_batch
from hubspool.client.commit import CommitRequest, commit_info
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.retry import UNLESS_APPLIED
from hubspool.errors import BucketBatchError, HubspoolError, Outcome, RepoReplacedError
from hubspool.files import Stat
from hubspool.push import rules
from hubspool.push.committer import Committer
from hubspool.push.compare import digests
from hubspool.push.context import PushContext
from hubspool.push.events import State
from hubspool.push.part import Closed, Part
from hubspool.push.plan import PushPlan
from hubspool.push.remote import RepoReader
from hubspool.push.remote_bucket import RemoteBucket
from hubspool.push.rules import Upload
from hubspool.push.scan import Snapshot
from hubspool.push.sinks import Known


class BucketSink:
    """One push's way to a bucket. Used by the pushing thread."""

    def __init__(self, context: PushContext) -> None:
        self.context = context
        self._doubts = {} if context.is_spool else context.ledger.doubts(context.key)
        now = context.clock()
        if context.memory.identified_at is None:  # the scheduler has looked before its first push
            context.memory.identified_at = now
        self._due = {source for source, versions in self._doubts.items() if max(versions.values()) <= now}

    def settled(self, settled: Mapping[str, Stat]) -> Mapping[str, Stat]:
        """Return the settled files without those whose second look is due."""
        return {source: stat for source, stat in settled.items() if source not in self._due} if self._due else settled

    def look(
        self,
        snapshot: Snapshot,
        unsent: Collection[str],  # noqa: ARG002
        known: Known,
        *,
        final: bool,  # noqa: ARG002
    ) -> RepoReader | None:
        """Note which files of the user are in doubt, and look again at those that were an hour ago.

        Of segments nothing is read before the plan; `BucketSender` looks for ranges in doubt.
        """
        context = self.context
        if context.is_spool:
            for source, parts in known.items():
                if len(parts) > context.limits.ranges and len(joined := rules.joined_ranges(parts)) < len(parts):
                    context.ledger.replace(context.key, source, joined)
                    known[source] = joined
            return context.repo
        last = [parts[-1] for source, parts in known.items() if source in snapshot.changed]
        if doubtful := [part for part in last if part.in_doubt]:
            seconds = context.limits.second_look_seconds
            new = [(part.source, part.sending_id or "", (part.sent_at or 0.0) + seconds) for part in doubtful]
            context.ledger.doubt(context.key, new)
        due = [part for part in last if part.source in self._due and not part.in_doubt]
        files = context.repo.files([part.path for part in due])
        for part in due:
            found = files[part.path].content_id if part.path in files else None
            if found != part.content_id and found in self._doubts[part.source]:
                known[part.source][-1] = again = self._unsent(part, found)
                context.ledger.save(context.key, [again])
        context.ledger.end_doubts(context.key, self._due.difference(part.source for part in doubtful))
        return context.repo

    def _unsent(self, part: Part, content_id: str | None) -> Part:
        """Return a part over which an older version has landed, so that all of it is sent again in its place."""
        empty = digests(self.context.folder / part.source, part.start, [part.start], part.head)[0]
        return replace(part, end=part.start, rows=0, sha256=empty.sha256, content_id=content_id)

    def sender(self, plan: PushPlan) -> Committer:
        """Return what sends the batches of a plan."""
        return BucketSender(self.context, plan, self._doubts)


class BucketSender(Committer):
    """Sends one push to a bucket.

    Not guaranteed: that a file of the user which another program writes to the same path at the same time stays.

    Args:
        context: the folder, the bucket and the options.
        plan: what to send.
        doubts: file of the user → ids of its older versions that may land late.
    """

    def __init__(self, context: PushContext, plan: PushPlan, doubts: Mapping[str, Collection[str]]) -> None:
        super().__init__(context, plan)
        self._doubts = doubts
        self._adds_extra = False  # a bucket has no card and no LFS rules

    def send(self, uploads: Sequence[Upload]) -> None:
        """Send what is in doubt first, and of the same segment nothing new before its outcome is known."""
        doubtful = [upload for upload in uploads if upload.is_repeat]
        if doubtful:
            self._look_up(doubtful)
        if left := [upload for upload in doubtful if upload in self.unsent]:
            super().send(left)
        unknown = {upload.part.source for upload in self.unsent if upload.is_repeat}
        if new := [each for each in uploads if not each.is_repeat and each.part.source not in unknown]:
            super().send(new)

    def _look_up(self, uploads: Sequence[Upload]) -> None:
        """Acknowledge the ranges in doubt that the bucket has, or that a marker names."""
        context = self.context
        files = context.repo.files([upload.part.path for upload in uploads])
        assert isinstance(context.repo, RemoteBucket)
        published = {} if all(upload.part.path in files for upload in uploads) else context.repo.published()
        for push_id, group in groupby(uploads, lambda upload: upload.part.push_id):
            landed = []
            for upload in group:
                part, rows = upload.part, self.plan.uploads[upload].rows
                remote = files[part.path].content_id if part.path in files else None
                after = rules.looked_up(part, rows, remote, published.get(PurePosixPath(part.source).name, ()))
                if after.in_doubt:
                    continue
                if after.closed is Closed.FOREIGN:
                    context.memory.foreign_changes.closed[part.path] = "somebody else changed it on the Hub"
                landed.append(upload)
                self.unsent.discard(upload)
                context.ledger.save(context.key, [after])
            if landed:
                self._note(landed, push_id or "", "A push whose answer was lost", is_late=True)

    def _send(self, uploads: Sequence[Upload]) -> None:
        memory = self.context.memory
        if abs(self.context.clock() - (memory.identified_at or 0.0)) > self.context.limits.identity_seconds:
            self._identify()
        operations = self._operations(uploads)
        uploads = [upload for upload in uploads if upload.part.path in operations]
        try:
            if uploads:
                self._transfer(uploads, [*operations.values()])
            if wanted := self._wanted(uploads, operations):
                self._put(wanted, operations)
        except HubspoolError:
            memory.identified_at = 0.0
            raise

    def _identify(self) -> None:
        """Check that the bucket is the known one, after an error and before the first push of a minute.

        Not noticed: that it was deleted and created again between two pushes of one minute.

        Raises:
            RepoReplacedError: it was deleted and created again; everything counts as unsent, and a person decides.
        """
        context = self.context
        known, last = context.ledger.identity(context.key)
        found = context.repo.identity()
        if known not in (None, found):
            raise RepoReplacedError(
                context.target.address, context.folder.parent if context.is_spool else context.folder
            )
        context.ledger.identify(context.key, found, last)
        context.memory.identified_at = context.clock()

    def _transfer(self, uploads: Sequence[Upload], operations: list[CommitOperationAdd]) -> None:
        api, target = self.context.api, self.context.target
        self.context.hooks.enter(State.UPLOADING)
        url = f"{target.api_url}/xet-write-token"
        api._uploader.upload_to_bucket(api.client(), url, operations, self._transfer_options(uploads))
        for operation in operations:
            operation.set_upload_mode("xet")

    def _wanted(self, uploads: Sequence[Upload], operations: Mapping[str, CommitOperationAdd]) -> list[Upload]:
        """Return the uploads to send: of the user's files those at whose path is nothing, or what was sent before."""
        files = self.context.repo.files([upload.part.path for upload in uploads if upload.guarded])

        def is_wanted(upload: Upload) -> bool:
            path = upload.part.path
            file = files.get(path)
            found = file.content_id if file else None
            if found in self._doubts.get(upload.part.source, ()):  # an older version, which has landed late
                found = upload.part.content_id
            return self._is_wanted(upload, operations[path], found, file)

        return [upload for upload in uploads if not upload.guarded or is_wanted(upload)]

    def _put(self, uploads: Sequence[Upload], operations: Mapping[str, CommitOperationAdd]) -> None:
        """Send one batch; what the Hub has not applied of it is sent once more."""
        context, push_id = self.context, uuid.uuid4().hex
        summary = self._summary(uploads, "")
        context.hooks.before_commit(summary)
        message = context.hooks.message(summary)
        left = {upload.part.path: upload for upload in uploads}
        intents = {path: self._intent(upload, operations[path], push_id) for path, upload in left.items()}
        context.ledger.save(context.key, intents.values())
        context.hooks.enter(State.COMMITTING)
        reasons: dict[str, str] = {}
        for is_first in (True, False):
            try:
                batch = [add_line(operations[path]) for path in left]
                send_batch(context.api.client(), context.target.api_url, batch, UNLESS_APPLIED)
                reasons = {}
            except BucketBatchError as error:
                reasons = {each["path"]: each["error"] for each in error.failures}
            except HubspoolError as error:
                if is_first and error.outcome is Outcome.NOT_APPLIED:
                    context.ledger.save(context.key, [upload.part for upload in uploads])
                raise
            landed = [upload for path, upload in left.items() if path not in reasons]
            self._acknowledge([(upload, intents[upload.part.path]) for upload in landed])
            if landed:
                self._note(landed, push_id, message)
            left = {path: upload for path, upload in left.items() if path in reasons}
            if not left:
                return
        for path, upload in left.items():
            self._skip(upload, f"the Hub did not take {path}: {reasons[path]}")

    def _note(self, uploads: Sequence[Upload], push_id: str, message: str, *, is_late: bool = False) -> None:
        batch = commit_info(self.context.target, CommitRequest(message, ""), push_id)
        self._note_commit(batch, self._summary(uploads, ""), is_late=is_late)
