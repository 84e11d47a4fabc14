"""`upload_large_folder`: a folder of any size, in many small tasks that each survive an interruption."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hubspool.client.commit import UploadRules, fetch_upload_modes, post_commit
from hubspool.client.commit_body import CommitRequest
from hubspool.client.file_range import FileRange
from hubspool.client.folder import find_files
from hubspool.client.large_upload.checkpoint import Checkpoint
from hubspool.client.large_upload.queue import Job, LargeFile, LargeQueue, Stage, Task
from hubspool.client.large_upload.report import report
from hubspool.client.operations import BLOCK_BYTES, CommitOperationAdd, new_blob_hash
from hubspool.client.patterns import Patterns
from hubspool.client.validation import check_path_in_repo, check_repo_type, check_revision
from hubspool.errors import FileChangedError, HFValidationError, LocalFileError, NotStoredError
from hubspool.files import Stat, state_folder
from hubspool.settings import Settings

if TYPE_CHECKING:
    from hubspool.client.target import Target
    from hubspool.client.uploads import CommitApi

logger = logging.getLogger(__name__)

#: What the Hub's documentation advises for one repository, and takes as one file.
_MANY_FILES = 100_000
_LARGEST_FILE = 200_000_000_000
#: A file that changes this often while it is uploaded is sent as it was, as far as it has only grown …
_CHANGES = 3
#: … and is set aside when that cannot be done either.
_MOST_CHANGES = 6
_JOIN_SECONDS = 15.0


def upload_large_folder(
    api: CommitApi,
    repo_id: str,
    folder_path: str | Path,
    *,
    repo_type: str,
    revision: str | None = None,
    private: bool | None = None,
    allow_patterns: Patterns = None,
    ignore_patterns: Patterns = None,
    num_workers: int | None = None,
    print_report: bool = True,
    print_report_every: int = 60,
) -> None:
    """Upload a folder of any size, in as many commits as it takes.

    Not guaranteed: one commit, or an order of commits; that a file which is rewritten in place all the time gets there;
    that two calls for one folder at the same time do not work twice. What was removed on the Hub between two commits of
    ours is not noticed.

    Files are hashed, sent and committed in small tasks by several workers. Each finished task is written to the ledger
    in ``.cache/huggingface/hubspool`` of the folder, so that the same call after an interruption goes on where it was.
    A task that fails for a passing reason is repeated without limit, with pauses up to 60 s; a refused permission, or
    a repository or revision that is not there, ends the call. A file that the Hub refuses is left out and named at the
    end.

    Args:
        api: The client, an `HfApi`.
        repo_id: Made if it is missing.
        folder_path: The folder; ``.git`` and ``.cache`` folders in it are never sent.
        repo_type: ``model``, ``dataset`` or ``space``; to be named.
        revision: A branch or a pull request (``refs/pr/1``) that is there.
        private: Of a repository that is made.
        allow_patterns, ignore_patterns: Globs over paths in the folder.
        num_workers: Threads; by default half the cores.
        print_report: Write to stderr what is done, at the start, every `print_report_every` seconds and at the end.

    Raises:
        HFValidationError: A value was refused before anything was sent.
        NotStoredError: Some files could not be stored; all others are.
        RequestError: The Hub refuses.
    """
    if repo_type is None:
        raise HFValidationError("repo_type is missing.", hint="Name it: 'model', 'dataset' or 'space'.")
    check_repo_type(repo_type)
    check_revision(revision)
    if num_workers is None:
        num_workers = max((os.cpu_count() or 1) // 2, 1)
    if num_workers < 1 or print_report_every <= 0:
        raise HFValidationError(f"num_workers is {num_workers}, print_report_every {print_report_every}.")
    folder = Path(folder_path).expanduser()
    queue = LargeQueue(num_workers)
    files = _candidates(folder, queue, allow_patterns, ignore_patterns)
    ledger = _ledger(folder)
    say = _say if print_report else logger.info

    # A client of its own: what ends this call must not end others of the same object.
    api = copy.copy(api)
    api.session = replace(api.session, interrupt=threading.Event())
    url = api.create_repo(
        repo_id,
        repo_type=repo_type,
        private=private,
        exist_ok=True,
        space_sdk="gradio" if repo_type == "space" else None,
    )
    say(f"Repo created: {url}")
    say(f"Found {len(files)} candidate files to upload")
    info = api.repo_info(url.repo_id, repo_type=repo_type, revision=revision)
    try:
        target = api._target(url.repo_id, repo_type, revision)
        key, is_current = ledger.open_target(target, info.internal_id, info.sha)
        for file in _shown(files, print_report):
            ledger.recall(key, file, is_current=is_current)
            queue.put(file, time.monotonic())
        upload = _Upload(api, target, folder, queue, ledger, key, _rules(folder, files))
        _run(upload, files, say, print_report_every)
    finally:
        ledger.close()
        api.session.close()
    if queue.error is not None:
        raise queue.error
    if queue.reasons:
        for path, reason in queue.reasons.items():
            say(f"Not stored: {path}: {reason}")
        incomplete = NotStoredError(queue.reasons)
        incomplete.hint = "Everything else is. Mend or leave out these files, and run it again."
        raise incomplete


def _candidates(
    folder: Path, queue: LargeQueue, allow_patterns: Patterns, ignore_patterns: Patterns
) -> list[LargeFile]:
    files = []
    for path, local in find_files(folder, allow_patterns, ignore_patterns).items():
        try:
            file = LargeFile(check_path_in_repo(path), Stat.of(local.stat()))
        except (OSError, HFValidationError) as error:
            queue.reasons[path] = str(error)
            continue
        if file.stat.size > _LARGEST_FILE:
            raise HFValidationError(
                f"{path} has {file.stat.size} bytes; the Hub takes files of 200 GB. Nothing was sent.",
                hint="Split it, or leave it out with ignore_patterns.",
                path=path,
            )
        files.append(file)
    if len(files) > _MANY_FILES:
        logger.warning("%d files; the Hub advises at most %d a repository.", len(files), _MANY_FILES)
    return files


def _ledger(folder: Path) -> Checkpoint:
    try:
        return Checkpoint(state_folder(folder))
    except OSError as error:
        raise LocalFileError(
            f"What is done cannot be kept in {folder}: {error}",
            hint="Make it writable, or use upload_folder.",
            path=folder,
        ) from error


def _rules(folder: Path, files: Sequence[LargeFile]) -> UploadRules:
    """Return what the folder brings along; its rules count for all commits, whichever the files are in."""
    own = {file.path for file in files} & {".gitignore", ".gitattributes"}
    texts = {path: (folder / path).read_text(encoding="utf-8", errors="replace") for path in own}
    return UploadRules(gitignore=texts.get(".gitignore"), gitattributes=texts.get(".gitattributes"))


def _shown(files: Sequence[LargeFile], print_report: bool) -> Iterable[LargeFile]:
    if not print_report or Settings.from_env().progress_bars is False:
        return files
    from tqdm import tqdm

    return tqdm(files, desc="Recovering from metadata files", file=sys.stderr)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _run(upload: _Upload, files: Sequence[LargeFile], say: Callable[[str], None], every: float) -> None:
    """Let the workers work to the end, and report meanwhile; in the caller's thread."""
    started = datetime.now().astimezone()

    def tell() -> None:
        queue = upload.queue
        say(f"\n{report(files, queue.running, queue.workers, started, datetime.now().astimezone())}")

    threads = [
        threading.Thread(target=upload.work, name=f"hubspool-large-{number}", daemon=True)
        for number in range(upload.queue.workers)
    ]
    try:
        tell()
        for thread in threads:
            thread.start()
        while not upload.over.wait(every):
            tell()
    except KeyboardInterrupt:
        _say("Interrupted. What is done is kept; run the same command again to go on from here.")
        raise
    finally:
        upload.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join(_JOIN_SECONDS)
    tell()


class _Upload:
    """The workers of one upload: threads around a `LargeQueue`.

    Attributes:
        over: Set once nothing is left to do, or an error ended it.
    """

    def __init__(
        self,
        api: CommitApi,
        target: Target,
        folder: Path,
        queue: LargeQueue,
        ledger: Checkpoint,
        key: int,
        rules: UploadRules,
    ) -> None:
        self.api = api
        self.target = target
        self.folder = folder
        self.queue = queue
        self.over = threading.Event()
        self._ledger = ledger
        self._key = key
        self._rules = rules
        self._changed = threading.Condition()  # guards the queue
        self._jobs = {Job.HASH: self._hash, Job.ASK: self._ask, Job.SEND: self._send, Job.COMMIT: self._commit}

    def work(self) -> None:
        """Do one task after the other; the body of each worker's thread."""
        while (task := self._next()) is not None:
            try:
                self._jobs[task.job](task)
            except LocalFileError as error:
                self._blame(task, error)
            except BaseException as error:  # noqa: BLE001 - the queue decides; what it cannot mend, the caller raises
                with self._changed:
                    self.queue.failed(task, error, time.monotonic(), random.random())  # noqa: S311 - jitter
                    self._changed.notify_all()
                if not self.over.is_set():
                    logger.warning("%s: %d files: %s", task.job.value, len(task.files), error)
                continue
            with self._changed:
                self.queue.finished(task, time.monotonic())
                self._changed.notify_all()

    def stop(self) -> None:
        """End the workers: no new task, no more waiting, transfers are broken off."""
        self.over.set()
        self.api.session.interrupt.set()
        with self._changed:
            self._changed.notify_all()

    def _next(self) -> Task | None:
        with self._changed:
            while not self.over.is_set():
                now = time.monotonic()
                task = self.queue.next(now)
                if task is not None:
                    return task
                if self.queue.is_over:
                    self.over.set()
                    self._changed.notify_all()
                    break
                self._changed.wait(self.queue.seconds_until_next(now))
        return None

    # -- the jobs; each moves the files of its task on, and records what must not be done again

    def _hash(self, task: Task) -> None:
        done: list[LargeFile] = []
        try:
            for file in task.files:
                if self.over.is_set():
                    break
                try:
                    self._hash_one(file)
                except OSError as error:
                    self._skip(file, str(error))
                done.append(file)
        finally:
            self._ledger.record(self._key, done)

    def _hash_one(self, file: LargeFile) -> None:
        with (self.folder / file.path).open("rb", buffering=0) as raw:
            file.stat = Stat.of(os.fstat(raw.fileno()))
            sha256, blob = hashlib.sha256(), new_blob_hash(file.stat.size)
            left = file.stat.size
            while left and (block := raw.read(min(left, BLOCK_BYTES))):
                sha256.update(block)
                blob.update(block)
                left -= len(block)
        if left:  # it was cut meanwhile
            self._note_change(file)
        else:
            file.sha256, file.blob_id, file.stage = sha256.hexdigest(), blob.hexdigest(), Stage.HASHED

    def _ask(self, task: Task) -> None:
        additions = self._additions(task, ask=True)
        if additions:
            fetch_upload_modes(self.api._client(), self.target, list(additions.values()), self._rules)
        for file, addition in additions.items():
            file.is_large = addition.upload_mode == "lfs"
            if addition.should_ignore:
                file.stage = Stage.IGNORED
            elif addition.is_unchanged:
                file.stage, file.is_sent = Stage.COMMITTED, file.is_large
            elif file.is_large and not file.is_sent:
                file.stage = Stage.LARGE
            else:
                file.stage = Stage.READY
        self._ledger.record(self._key, [file for file in additions if file.stage is Stage.COMMITTED])

    def _send(self, task: Task) -> None:
        additions = self._additions(task)
        self.api.preupload_lfs_files(
            self.target.repo_id,
            list(additions.values()),
            repo_type=self.target.repo_type,
            revision=self.target.revision,
            free_memory=False,
        )
        for file in additions:
            file.stage, file.is_sent = Stage.READY, True
        self._ledger.record(self._key, additions)

    def _commit(self, task: Task) -> None:
        additions = self._additions(task)
        if not additions:
            return
        request = CommitRequest(f"Add {len(additions)} files with hubspool")
        info = post_commit(self.api._client(), self.target, request, list(additions.values()))
        for file in additions:
            file.stage = Stage.COMMITTED
        self._ledger.record(self._key, additions, info.oid)

    # -- files that are not what they were

    def _additions(self, task: Task, *, ask: bool = False) -> dict[LargeFile, CommitOperationAdd]:
        """Return an addition for each file of the task that still is what was hashed; the others are moved."""
        found = {}
        for file in task.files:
            try:
                addition = self._addition(file)
            except FileChangedError:
                addition = None
            except OSError as error:
                self._skip(file, str(error))
                continue
            if addition is None:
                self._note_change(file)
                continue
            if not ask:
                addition._upload_mode = "lfs" if file.is_large else "regular"
                addition._should_ignore, addition._is_uploaded = False, file.is_sent
            found[file] = addition
        return found

    def _addition(self, file: LargeFile) -> CommitOperationAdd | None:
        local = self.folder / file.path
        stat = local.stat()
        if Stat.of(stat) != file.stat and file.changes < _CHANGES:
            return None
        addition = CommitOperationAdd(file.path, FileRange(local, 0, file.stat.size, (stat.st_dev, stat.st_ino)))
        assert file.sha256 is not None  # it is hashed
        assert file.blob_id is not None
        addition.set_sha256(file.sha256)
        addition.set_git_blob_id(file.blob_id)
        return addition

    def _note_change(self, file: LargeFile) -> None:
        file.changes += 1
        file.stage, file.is_sent, file.is_remembered = Stage.FOUND, False, False
        if file.changes >= _MOST_CHANGES:
            self._skip(file, "it keeps changing while it is uploaded")

    def _blame(self, task: Task, error: LocalFileError) -> None:
        """Have the file that `error` is about hashed anew; it is set aside there if it cannot be read."""
        named = [file for file in task.files if error.path in (file.path, str(self.folder / file.path))]
        for file in named or task.files:
            self._note_change(file)

    def _skip(self, file: LargeFile, reason: str) -> None:
        with self._changed:
            self.queue.skip(file, reason.rstrip("."))
