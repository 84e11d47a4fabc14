"""Decides what each worker of a large upload does next; it does no I/O.

A file goes from stage to stage; a task moves some files of one stage to the next. Only the worker that has a task
changes its files, and then returns them: ``next`` → work → ``finished`` or ``failed``.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import count

from hubspool.client.defaults import DEFAULTS, TaskLimits
from hubspool.client.retry import LARGE_UPLOAD, Wait, decide_retry
from hubspool.errors import (
    BadRequestError,
    HubspoolError,
    HubTimeoutError,
    Outcome,
    PayloadTooLargeError,
    RequestError,
)
from hubspool.files import Stat


class Stage(Enum):
    """The stage of a file."""

    FOUND = "found"
    HASHED = "hashed"
    """The Hub is to be asked for its upload mode, and whether it has the file already."""
    LARGE = "large"
    """To be sent before its commit."""
    READY = "ready"
    """To be committed."""
    COMMITTED = "committed"
    IGNORED = "ignored"
    """A ``.gitignore`` leaves it out."""
    SKIPPED = "skipped"
    """It cannot be stored; `LargeQueue.reasons` says why."""


class Job(Enum):
    """A kind of task; the values are the names in the report."""

    HASH = "hashing"
    ASK = "get upload mode"
    SEND = "pre-uploading"
    COMMIT = "committing"


_STAGE_OF = {Job.HASH: Stage.FOUND, Job.ASK: Stage.HASHED, Job.SEND: Stage.LARGE, Job.COMMIT: Stage.READY}


@dataclass(eq=False, slots=True)
class LargeFile:
    """A file of the folder.

    Attributes:
        path: path in the folder and in the repository.
        stat: its state when it was hashed, or found.
        sha256, blob_id: digests of its first ``stat.size`` bytes, once it is hashed.
        is_large: the Hub wants it sent before its commit.
        is_sent: it was sent before its commit.
        is_remembered: an earlier run recorded it, so the Hub may have deleted meanwhile what that run sent.
        changes: how often it had changed since it was hashed.
    """

    path: str
    stat: Stat
    stage: Stage = Stage.FOUND
    sha256: str | None = None
    blob_id: str | None = None
    is_large: bool = False
    is_sent: bool = False
    is_remembered: bool = False
    changes: int = 0

    @property
    def inline_bytes(self) -> int:
        """Bytes that it adds to the body of a commit."""
        return 0 if self.is_large else self.stat.size


@dataclass(frozen=True)
class Task:
    """Work for one worker; `attempts` counts how often it failed."""

    job: Job
    files: list[LargeFile]
    attempts: int = 0


@dataclass
class LargeQueue:
    """The files of a large upload and its remaining tasks; the caller holds one lock around every use.

    Attributes:
        workers: number of workers.
        limits: how much one task takes on; after a commit that was too large, smaller ones.
        reasons: path → why the file is skipped.
        running: number of tasks that workers have, by job.
        error: the error that ended the upload.
        committed, refused: number of files that the Hub has, and of those that it refused.
    """

    workers: int
    limits: TaskLimits = DEFAULTS.tasks
    reasons: dict[str, str] = field(default_factory=dict)
    running: Counter[Job] = field(default_factory=Counter)
    error: BaseException | None = None
    committed: int = 0
    refused: int = 0
    _waiting: dict[Stage, deque[LargeFile]] = field(
        default_factory=lambda: {stage: deque() for stage in _STAGE_OF.values()}
    )
    _delayed: list[tuple[float, int, Task]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)
    _ready_bytes: int = 0
    _ready_since: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether no task is left, or an error ended the upload."""
        left = any(self._waiting.values()) or self._delayed or self.running.total()
        return self.error is not None or not left

    def put(self, file: LargeFile, now: float) -> None:
        """Queue a file for the task of its stage."""
        waiting = self._waiting.get(file.stage)
        if waiting is None:
            self.committed += file.stage is Stage.COMMITTED
            return
        if file.stage is Stage.READY:
            if not waiting:
                self._ready_since = now
            self._ready_bytes += file.inline_bytes
        waiting.append(file)

    def next(self, now: float) -> Task | None:
        """Return the next task for a free worker; None if there is none at the moment."""
        if self.error is not None:
            return None
        entry = self._startable()
        if entry is not None and entry[0] <= now:
            self._delayed.remove(entry)
            task = entry[2]
        else:
            job = self._job(now)
            if job is None:
                return None
            task = Task(job, self._take(job, now))
        self.running[task.job] += 1
        return task

    def seconds_until_next(self, now: float) -> float | None:
        """Return the seconds after which `next` may have a task although no other ended; None: it will not."""
        entry = self._startable()
        times = [] if entry is None else [entry[0]]
        if self._waiting[Stage.READY] and not self._is_committing:
            times.append(self._ready_since + self.limits.commit_seconds)
        return max(min(times) - now, 0.0) if times else None

    def finished(self, task: Task, now: float) -> None:
        """Take the files of a task back, each in its new stage."""
        self.running[task.job] -= 1
        for file in task.files:
            self.put(file, now)

    def failed(self, task: Task, error: BaseException, now: float, chance: float) -> None:
        """Decide what follows a failed task: a repetition after a pause, two halves of it, or the end of the upload.

        Args:
            task: the failed task; files that it had moved to another stage stay there.
            error: why it failed.
            now: monotonic seconds.
            chance: a random number in [0, 1).
        """
        self.running[task.job] -= 1
        stage = _STAGE_OF[task.job]
        for file in task.files:
            if file.stage is not stage:
                self.put(file, now)
        task = Task(task.job, [file for file in task.files if file.stage is stage], task.attempts)
        if isinstance(error, (BadRequestError, PayloadTooLargeError)):
            if isinstance(error, PayloadTooLargeError):
                self._shrink_commits()
            self._refused(task, error, now)
            return
        decision = decide_retry(LARGE_UPLOAD, error, attempt=task.attempts + 1, elapsed=0.0, chance=chance)
        if isinstance(decision, Wait):
            self._again(task, error, now + decision.seconds)
        else:
            self.error = error

    def skip(self, file: LargeFile, reason: str) -> None:
        """Leave a file out of the upload."""
        file.stage = Stage.SKIPPED
        self.reasons[file.path] = reason

    def _again(self, task: Task, error: BaseException, when: float) -> None:
        known = isinstance(error, RequestError) and error.outcome is Outcome.NOT_APPLIED
        if task.job is not Job.COMMIT or known:
            self._delay(Task(task.job, task.files, task.attempts + 1), when)
            return
        # The commit may have been applied. Asking for the upload modes again shows which files the Hub has.
        if isinstance(error, HubTimeoutError) or getattr(error, "status_code", None) == 504:
            self._shrink_commits()
        for file in task.files:
            file.stage = Stage.HASHED
        size = self.limits.ask_files
        for first in range(0, len(task.files), size):
            self._delay(Task(Job.ASK, task.files[first : first + size], task.attempts + 1), when)

    def _refused(self, task: Task, error: HubspoolError, now: float) -> None:
        stale = [file for file in task.files if task.job is Job.COMMIT and file.is_sent and file.is_remembered]
        if stale:
            # The Hub may have deleted what an earlier run sent: it does not keep contents that no commit names forever.
            for file in stale:
                file.stage, file.is_sent, file.is_remembered = Stage.LARGE, False, False
                self.put(file, now)
            self._delay(Task(task.job, [file for file in task.files if file.stage is Stage.READY]), 0.0)
            return
        if len(task.files) != 1:
            middle = len(task.files) // 2
            # Before all other tasks, and halves of one half before the other half, to find the refused file soon.
            for half in (task.files[middle:], task.files[:middle]):
                self._delay(Task(task.job, half), 0.0)
            return
        (file,) = task.files
        self.skip(file, error.message)
        self.refused += 1
        if self.refused >= DEFAULTS.refused_files and not self.committed:
            self.error = error

    def _delay(self, task: Task, when: float) -> None:
        if task.files:
            insort(self._delayed, (when, -next(self._numbers), task))

    def _startable(self) -> tuple[float, int, Task] | None:
        """Return the delayed task to start first; not a commit while a commit runs."""
        commits = not self.running[Job.COMMIT]
        return next((entry for entry in self._delayed if commits or entry[2].job is not Job.COMMIT), None)

    def _shrink_commits(self) -> None:
        files, size = self.limits.commit_files, self.limits.commit_bytes
        self.limits = replace(self.limits, commit_files=max(files // 2, 1), commit_bytes=max(size // 2, 1))

    def _job(self, now: float) -> Job | None:
        waiting, running = self._waiting, self.running
        found, hashed, large = (len(waiting[stage]) for stage in (Stage.FOUND, Stage.HASHED, Stage.LARGE))
        # One commit at a time: of two commits to one branch the Hub refuses one.
        if self._commit_is_due(now) and not self._is_committing:
            return Job.COMMIT
        if hashed and not running[Job.ASK] and (hashed >= self.limits.ask_files or not large or not found):
            return Job.ASK
        if large and (not found or running[Job.SEND] < max(self.workers - 1, 1)):
            return Job.SEND
        return Job.HASH if found else None

    def _commit_is_due(self, now: float) -> bool:
        ready = len(self._waiting[Stage.READY])
        full = ready >= self.limits.commit_files or self._ready_bytes >= self.limits.commit_bytes
        old = now - self._ready_since >= self.limits.commit_seconds
        earlier = any(files for stage, files in self._waiting.items() if stage is not Stage.READY)
        busy = earlier or self._delayed or self.running.total()
        return ready > 0 and (full or old or not busy)

    @property
    def _is_committing(self) -> bool:
        delayed = any(task.job is Job.COMMIT for _, _, task in self._delayed)
        return delayed or self.running[Job.COMMIT] > 0

    def _take(self, job: Job, now: float) -> list[LargeFile]:
        limits = self.limits
        files, size = {
            Job.HASH: (limits.hash_files, limits.hash_bytes),
            Job.ASK: (limits.ask_files, None),
            Job.SEND: (limits.send_files, limits.send_bytes),
            Job.COMMIT: (limits.commit_files, limits.commit_bytes),
        }[job]
        waiting = self._waiting[_STAGE_OF[job]]
        taken: list[LargeFile] = []
        left = size
        while waiting and len(taken) < files:
            if left is not None:
                left -= waiting[0].inline_bytes if job is Job.COMMIT else waiting[0].stat.size
                if left < 0 and taken:
                    break
            taken.append(waiting.popleft())
        if job is Job.COMMIT:
            self._ready_bytes -= sum(file.inline_bytes for file in taken)
            self._ready_since = now
        return taken
