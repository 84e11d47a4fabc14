"""One push: scan, plan, transfer, commit, acknowledge."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from filelock import Timeout as LockBusy

from hubspool.client.target import Target
from hubspool.push import rules
from hubspool.push.budget import Budget
from hubspool.push.committer import Committer, PushContext, PushHooks
from hubspool.push.encodings import Contents, EncodedContents, Encoding
from hubspool.push.events import State
from hubspool.push.ledger import Ledger
from hubspool.push.planner import Planner, PushPlan
from hubspool.push.remote import Suspects
from hubspool.push.rules import Naming, OnExisting, Rules
from hubspool.spool.owners import remove_segment

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.repo_info import CommitInfo


@dataclass(frozen=True)
class PushResult:
    """What one push did.

    Args:
        commit: the last commit, or None where there was nothing to send.
        writers: hubspool writers that committed to the repo in the last hour, this one included; 0 if nobody looked.
        pending_files, pending_bytes: what is left: files set aside, suspects, unfinished lines.
        skipped: path → why it was not sent.
        in_doubt: a commit of ours has an outcome that is not known.
    """

    commit: CommitInfo | None = None
    writers: int = 0
    pending_files: int = 0
    pending_bytes: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    in_doubt: bool = False


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
        hooks: PushHooks,
        rules: Rules | None = None,
        budget: Budget | None = None,
        encoding: Encoding | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.ledger = ledger
        self.keep_local = keep_local
        self.clock = clock
        self.rules = rules or Rules()
        self.key = ledger.target(target, path_in_repo)
        self.contents = Contents()
        if encoding is not None:
            self.contents = EncodedContents(encoding, ledger.directory / "sealed" / str(self.key))
            commits = encoding.part_commits  # an encoding's own number, however large the part
            self.rules = replace(
                self.rules, part_commits=commits, large_commits=commits, part_bytes=encoding.part_bytes
            )
        suspects = Suspects()
        self.outlet = PushContext(api, target, folder, ledger, self.key, writer, hooks, self.rules, clock, suspects)
        self.outlet.budget = budget or self.outlet.budget
        self.outlet.contents = self.contents
        naming = Naming(f"{path_in_repo}/" if path_in_repo else "", ledger.folder_id)
        self.surveyor = Planner(
            folder=folder,
            chosen=chosen,
            lock=lock,
            naming=naming,
            rules=self.rules,
            on_existing=on_existing,
            rest_seconds=rest_seconds,
            progress=self._scanning,
            suspects=suspects,
            contents=self.contents,
            clock=clock,
        )
        self.result = PushResult()
        self._file_lock = FileLock(ledger.directory / "push.lock", fallback_to_soft=False)

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
        self._scanning()
        self.ledger.touch(self.key, self.clock())
        settled = self.ledger.settled(self.key)
        snapshot = self.surveyor.look(settled)
        known = self.ledger.parts(self.key) if snapshot.segments or snapshot.changed else {}
        survey = self.surveyor.survey(snapshot, settled, known, self.outlet.hub, final=final)
        if survey.parts:
            self.ledger.save(self.key, survey.parts)
        sending = Committer(self.outlet, survey)
        try:
            for batch in rules.batches(survey.uploads, self.rules):
                sending.send(batch)
        finally:  # also a push that failed tells what it left
            self.result = PushResult(
                commit=sending.commit,
                writers=sending.writers,
                pending_files=len(sending.unsent_sources | survey.skipped.keys()),
                pending_bytes=survey.waiting + sum(upload.new_bytes for upload in sending.unsent.values()),
                skipped=survey.skipped,
                in_doubt=any(upload.is_repeat for upload in sending.unsent.values()),
            )
        self._finish(survey, sending)
        return self.result

    def _scanning(self) -> None:
        self.outlet.hooks.enter(State.SCANNING)

    def _finish(self, survey: PushPlan, sending: Committer) -> None:
        left = sending.unsent_sources | survey.skipped.keys()
        done = {source: stat for source, stat in survey.settled.items() if source not in left}
        if done:
            self.ledger.settle(self.key, done.items())
        if not self.keep_local:
            for source, size in survey.removable.items():
                if source in left or not self.ledger.is_everywhere(source, size, self.clock()):
                    continue  # also where only another repo that the folder is pushed to lacks it
                self.contents.release(self.folder / source, size)
                if remove_segment(self.folder / source, size):
                    self.ledger.forget(source)
        self.contents.tidy(self.ledger.parts(self.key), self.folder)
