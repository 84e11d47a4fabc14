"""One push: scan, plan, transfer, commit, acknowledge."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hubspool.client.folder import full_folders
from hubspool.errors import HubspoolError, PushLockBusyError
from hubspool.push import rules
from hubspool.push.bucket import BucketSink
from hubspool.push.committer import Committer
from hubspool.push.context import PushContext, PushMemory
from hubspool.push.defaults import PushLimits
from hubspool.push.events import PushResult, State
from hubspool.push.ledger import Ledger
from hubspool.push.plan import PushPlan
from hubspool.push.planner import Planner
from hubspool.push.remote import ForeignChanges
from hubspool.push.scan import scan
from hubspool.push.sinks import RepositorySink, Sink
from hubspool.spool.defaults import DEFAULTS
from hubspool.spool.owners import remove_segment
from hubspool.spool.rescue import rescue_of


class Pusher:
    """Pushes the new content of one folder.

    Not thread-safe: one thread at a time calls `push`. The push lock in the state folder keeps the pushes of several
    processes apart; writers never take it.

    Args:
        folder: a spool, or the user's folder.
        ledger: of the folder.
        limits: the numbers of a push.
    """

    def __init__(self, folder: Path, ledger: Ledger, limits: PushLimits) -> None:
        self.folder = folder
        self.ledger = ledger
        self.memory = PushMemory(ForeignChanges(limits.foreign_seconds), was_used=ledger.paths.folder_id.exists())
        self._lock = FileLock(ledger.paths.push_lock, fallback_to_soft=False)
        self.rescue = rescue_of(folder)
        self.rescue.states.add(ledger)
        #: Monotonic time since when another process holds the lock at each push; None while none does.
        self.busy_since: float | None = None
        #: Of the last push, also if it failed.
        self.result = PushResult()

    def push(self, context: PushContext, *, final: bool = False, lock_timeout: float = 0) -> PushResult | None:
        """Send everything that is new, once. Only single requests are repeated, never the push.

        Args:
            context: the target and the options; its memory is that of this object.
            final: send an unfinished last line of a line file if it is a complete row.
            lock_timeout: seconds to wait for another process that pushes this folder.

        Returns:
            The result; None if another process held the push lock all the time, or files were removed all the time.

        Raises:
            HubspoolError: a request failed. What landed before is acknowledged; the rest is unchanged.
            FilesMissingError: the folder was moved.
        """
        began = time.monotonic()
        for _ in range(DEFAULTS.restores):
            try:
                self.rescue.check()
                with self._lock.acquire(timeout=lock_timeout, poll_interval=context.limits.lock_poll_seconds):
                    # The file that was locked may have been removed since: other processes would lock a new one.
                    if not self.rescue.check():
                        continue
                    self.busy_since = None
                    with suppress(OSError):  # a full disk: the push itself may need no space
                        holder = f"process {os.getpid()} on {socket.gethostname()}"
                        self.ledger.paths.push_holder.write_text(holder, encoding="utf-8")
                    context.read_ledger()
                    result = self._push(context, final)
                if not final or self.rescue.check():
                    return result
            except (Timeout, PushLockBusyError):
                break
            except FileNotFoundError as error:  # of the folder itself: it was moved, which `check` raises, or removed
                if isinstance(error, HubspoolError) or self.rescue.check():
                    raise
        self.busy_since = self.busy_since or began
        self.result = self._result_without_a_push(context)
        return None

    def holder(self) -> str:
        """Return the process that held the push lock last, or an empty text if it is not known."""
        with suppress(OSError):
            return self.ledger.paths.push_holder.read_text(encoding="utf-8", errors="replace").strip()
        return ""

    def _result_without_a_push(self, context: PushContext) -> PushResult:
        """Count what is unsent as the ledger tells it, while another process pushes the folder."""
        key = context.find_target()
        settled = context.ledger.settled(key)
        snapshot = scan(context.folder, settled, context.is_chosen, is_spool=context.is_spool)
        known = context.ledger.parts(key)
        plan = PushPlan()
        for source, stat in {**snapshot.segments, **snapshot.changed}.items():
            parts = known.get(source)
            plan.postpone(
                source,
                parts[-1].end if parts else 0,
                stat.size,
                f"{self.holder() or 'another process'} pushes this folder",
            )
        return PushResult(
            pending_files=len(plan.postponed),
            pending_bytes=plan.postponed_bytes,
            postponed=plan.postponed,
            stuck=plan.postponed_from,
            is_busy=True,
        )

    def _push(self, context: PushContext, final: bool) -> PushResult:
        ledger, key, planner = context.ledger, context.key, Planner(context)
        sink: Sink = BucketSink(context) if context.target.is_bucket else RepositorySink(context)
        context.hooks.enter(State.SCANNING)
        settled = sink.settled(ledger.settled(key))
        snapshot = planner.scan(rules.unless_compared(settled, context.limits) if final else settled)
        known = ledger.parts(key) if snapshot.segments or snapshot.changed else {}
        doubtful = {source for source, parts in known.items() if any(part.in_doubt for part in parts)}
        doubtful |= ledger.recovering(key).keys()
        unsent = {s: stat for s, stat in snapshot.segments.items() if stat != settled.get(s) or s in doubtful}
        self.rescue.keep(snapshot.segments, unsent)
        reader = sink.look(snapshot, unsent, known, final=final)
        if reader is None:
            return self._push(context, final)
        plan = planner.plan(snapshot, settled, known, reader, final=final)
        if plan.waits_until:
            self.rescue.leave({*ledger.recovering(key), *self.memory.held_back})
        if plan.parts:
            ledger.save(key, plan.parts)
        if not context.is_spool and not context.target.is_bucket:
            # A file that was sent in the moment of its last change is in the ledger, but not settled.
            names = [f"{context.path_in_repo}/{source}".lstrip("/") for source in {**settled, **known}]
            self.memory.full_folders = full_folders([*names, *(upload.part.path for upload in plan.uploads)])
        committer = sink.sender(plan)
        self.result = self._result(plan, committer)
        try:
            if plan.uploads:
                context.hooks.planned(self.result)  # a push may hang for long
            for batch in rules.batches(list(plan.uploads), context.limits):
                committer.send(batch)
        finally:  # also a push that failed reports what it left
            self.result = self._result(plan, committer)
        self._finish(context, plan, committer)
        return self.result

    def _result(self, plan: PushPlan, committer: Committer) -> PushResult:
        unsent = committer.unsent_sources
        return PushResult(
            commit=committer.commit,
            writers=committer.writers,
            pending_files=len(unsent | plan.skipped.keys() | plan.postponed.keys()),
            pending_bytes=plan.postponed_bytes + sum(upload.new_bytes for upload in committer.unsent),
            skipped={**plan.skipped, **self.rescue.missing},
            notices={**self.memory.foreign_changes.closed, **self.memory.expired, **plan.notices},
            unfit={segment: dict(lines) for segment, lines in self.memory.unfit.items()},
            waits_until=plan.waits_until,
            postponed={**dict.fromkeys(unsent, "it is not sent yet"), **plan.postponed},
            stuck={**plan.postponed_from, **dict.fromkeys(plan.skipped, -1)},
            full_folders=self.memory.full_folders,
            in_doubt=any(upload.is_repeat for upload in committer.unsent),
        )

    def _finish(self, context: PushContext, plan: PushPlan, committer: Committer) -> None:
        """Record the files whose whole content is on the Hub, and remove what is no longer needed on the disk."""
        left = committer.unsent_sources | plan.skipped.keys()
        settled = {source: stat for source, stat in plan.settled.items() if source not in left}
        if settled:
            context.ledger.settle(context.key, settled.items())
        if not context.keep_local and plan.removable:
            parts = context.ledger.parts(context.key)
            # What this push only found on the Hub is kept until a second look.
            left |= {source for source, known in parts.items() if any(part.sent_at is not None for part in known)}
            gone = []
            for source, size in plan.removable.items():
                path = context.folder / source
                if source not in left:
                    context.payloads.release(path, size)
                    self.rescue.release(source)
                    if remove_segment(path, size):
                        gone.append(source)
            self.rescue.note_sent(gone)
            context.ledger.forget(gone)
        context.payloads.clean_up(context.ledger.parts(context.key), context.folder)
