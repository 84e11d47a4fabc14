"""`upload_large_folder`: uploads a folder of any size in small tasks, each of which survives an interruption."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hubspool.client.commit import CommitRequest, check_readme, post_commit
from hubspool.client.defaults import DEFAULTS
from hubspool.client.file_range import FileRange
from hubspool.client.folder import find_files
from hubspool.client.large_upload.checkpoint import Checkpoint
from hubspool.client.large_upload.queue import Job, LargeFile, LargeQueue, Stage, Task
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.patterns import Patterns
from hubspool.client.preupload import UploadRules, fetch_upload_modes
from hubspool.client.validation import check_path_in_repo, check_repo_type, check_revision
from hubspool.errors import FileChangedError, HFValidationError, LocalFileError, NotStoredError
from hubspool.files import Stat, hash_range, new_blob_hash, open_regular, state_folder
from hubspool.settings import Settings

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.repo_info import RepoUrl
    from hubspool.client.target import Target

logger = logging.getLogger(__name__)


def upload_large_folder(
    api: HfApi,
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
    print_report_every: int = DEFAULTS.report_seconds,
    on_created: Callable[[RepoUrl], None] | None = None,
) -> RepoUrl:
    """Upload a folder of any size, in as many commits as it needs; return the repository's address.

    Not guaranteed: one commit, or an order of commits; that a file which is rewritten in place all the time is
    uploaded; that two calls for one folder at the same time share the work. A file that is removed from the Hub between
    two of our commits is not uploaded again.

    Several workers hash, send and commit files in small tasks. Each finished task is recorded in
    ``.cache/huggingface/hubspool`` in the folder, so the same call resumes after an interruption. A task that fails
    for a transient reason is repeated without limit, with pauses up to 60 s; a missing permission, repository or
    revision ends the call. A file that the Hub refuses is left out and named at the end.

    Args:
        api: the client.
        repo_id: repository; created if it is missing.
        folder_path: local folder; ``.git`` and ``.cache`` folders in it are never sent.
        repo_type: ``model``, ``dataset`` or ``space``; required.
        revision: an existing branch or pull request (``refs/pr/1``).
        private: whether a repository that is created is private.
        allow_patterns, ignore_patterns: globs over paths in the folder.
        num_workers: number of threads; by default half the cores.
        print_report: print a report to stderr at the start, every `print_report_every` seconds and at the end.
        on_created: called with the address once the repository exists, before anything is sent.

    Raises:
        HFValidationError: a value was refused before anything was sent.
        NotStoredError: some files could not be stored; all others are.
        RequestError: the Hub refused a request that affects all files.
    """
    if repo_type is None:
        raise HFValidationError("repo_type is missing.", hint="Pass 'model', 'dataset' or 'space'.")
    check_repo_type(repo_type)
    check_revision(revision)
    if num_workers is None:
        num_workers = max((os.cpu_count() or 1) // 2, 1)
    if num_workers < 1 or print_report_every <= 0:
        raise HFValidationError(f"num_workers is {num_workers}, print_report_every {print_report_every}.")
    folder = Path(folder_path).expanduser()
    queue = LargeQueue(num_workers)
    files = _candidates(folder, queue, allow_patterns, ignore_patterns)
    checkpoint = _open_checkpoint(folder)
    show = _print if print_report else logger.info

    # A copy with an interrupt of its own: the end of this call must not end other calls of the same object.
    api = copy.copy(api)
    api.session = replace(api.session, interrupt=threading.Event())
    url = api.create_repo(
        repo_id,
        repo_type=repo_type,
        private=private,
        exist_ok=True,
        space_sdk="gradio" if repo_type == "space" else None,
    )
    if any(file.path == "README.md" for file in files):
        card = CommitOperationAdd("README.md", folder / "README.md")
        check_readme(api.client(), api.target(url.repo_id, repo_type), [card])
    show(f"Repo created: {url}")
    show(f"Found {len(files)} candidate files to upload")
    if on_created is not None:
        on_created(url)
    info = api.repo_info(url.repo_id, repo_type=repo_type, revision=revision)
    try:
        target = api.target(url.repo_id, repo_type, revision)
        key, is_current = checkpoint.open_target(target, info.internal_id, info.sha)
        for file in _with_bar(files, print_report):
            checkpoint.recall(key, file, is_current=is_current)
            queue.put(file, time.monotonic())
        upload = _LargeUpload(api, target, folder, queue, checkpoint, key, _rules(folder, files))
        _run(upload, files, show, print_report_every)
    finally:
        checkpoint.close()
        api.session.close()
    if queue.error is not None:
        raise queue.error
    if queue.reasons:
        for path, reason in queue.reasons.items():
            show(f"Not stored: {path}: {reason}")
        incomplete = NotStoredError(queue.reasons)
        incomplete.hint = "All other files are. Fix these files or leave them out, and run the same call again."
        raise incomplete
    return url


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
        if file.stat.size > DEFAULTS.file_bytes:
            raise HFValidationError(
                f"{path} has {file.stat.size} bytes; the Hub takes files of 200 GB. Nothing was sent.",
                hint="Split the file, or leave it out with ignore_patterns.",
                path=path,
            )
        files.append(file)
    if len(files) > DEFAULTS.files_per_repo:
        logger.warning("%d files; the Hub advises at most %d a repository.", len(files), DEFAULTS.files_per_repo)
    return files


def _open_checkpoint(folder: Path) -> Checkpoint:
    try:
        return Checkpoint(state_folder(folder))
    except OSError as error:
        raise LocalFileError(
            f"The progress cannot be recorded in {folder}: {error}",
            hint="Make the folder writable, or use upload_folder.",
            path=folder,
        ) from error


def _rules(folder: Path, files: Sequence[LargeFile]) -> UploadRules:
    """Return the rules in the folder; they apply to all commits, whichever commit contains their files."""
    own = {file.path for file in files} & {".gitignore", ".gitattributes"}
    texts = {path: (folder / path).read_text(encoding="utf-8", errors="replace") for path in own}
    return UploadRules(gitignore=texts.get(".gitignore"), gitattributes=texts.get(".gitattributes"))


def _with_bar(files: Sequence[LargeFile], print_report: bool) -> Iterable[LargeFile]:
    if not print_report or Settings.from_env().progress_bars is False:
        return files
    from tqdm import tqdm

    return tqdm(files, desc="Recovering from metadata files", file=sys.stderr)


def _print(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _run(upload: _LargeUpload, files: Sequence[LargeFile], show: Callable[[str], None], every: float) -> None:
    """Run the workers to the end, and show reports meanwhile, in the caller's thread."""
    started = datetime.now().astimezone()

    def show_report() -> None:
        queue = upload.queue
        show(f"\n{report(files, queue.running, queue.workers, started, datetime.now().astimezone())}")

    threads = [
        threading.Thread(target=upload.work, name=f"hubspool-large-{number}", daemon=True)
        for number in range(upload.queue.workers)
    ]
    try:
        show_report()
        for thread in threads:
            thread.start()
        while not upload.ended.wait(every):
            show_report()
    except KeyboardInterrupt:
        _print("Interrupted. The progress is recorded; run the same command again to resume.")
        raise
    finally:
        upload.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join(DEFAULTS.join_seconds)
    show_report()


@dataclass
class _LargeUpload:
    """The workers of one upload: threads around a `LargeQueue`.

    Attributes:
        api, target: the Hub and where the files go.
        folder: the local folder.
        queue: decides what the workers do.
        checkpoint, key: record what is done, and the target's number in it.
        rules: ``.gitignore`` and ``.gitattributes`` of the folder.
        ended: set once nothing is left to do, or an error ended the upload.
    """

    api: HfApi
    target: Target
    folder: Path
    queue: LargeQueue
    checkpoint: Checkpoint
    key: int
    rules: UploadRules
    ended: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)  # guards the queue

    def work(self) -> None:
        """Do one task after another; each worker's thread runs this."""
        jobs = {Job.HASH: self._hash, Job.ASK: self._ask, Job.SEND: self._send, Job.COMMIT: self._commit}
        while (task := self._next()) is not None:
            try:
                jobs[task.job](task)
            except LocalFileError as error:
                self._rehash(task, error)
            except BaseException as error:  # noqa: BLE001 - the queue retries, or the caller raises it
                with self._changed:
                    self.queue.failed(task, error, time.monotonic(), random.random())  # noqa: S311 - jitter
                    self._changed.notify_all()
                if not self.ended.is_set():
                    logger.warning("%s: %d files: %s", task.job.value, len(task.files), error)
                continue
            with self._changed:
                self.queue.finished(task, time.monotonic())
                self._changed.notify_all()

    def stop(self) -> None:
        """End the workers: no new task, no more waiting, transfers are aborted."""
        self.ended.set()
        self.api.session.interrupt.set()
        with self._changed:
            self._changed.notify_all()

    def _next(self) -> Task | None:
        with self._changed:
            while not self.ended.is_set():
                now = time.monotonic()
                task = self.queue.next(now)
                if task is not None:
                    return task
                if self.queue.is_over:
                    self.ended.set()
                    self._changed.notify_all()
                    break
                self._changed.wait(self.queue.seconds_until_next(now))
        return None

    # -- the jobs: each moves the files of its task to their next stage, and records what is done

    def _hash(self, task: Task) -> None:
        done: list[LargeFile] = []
        try:
            for file in task.files:
                if self.ended.is_set():
                    break
                try:
                    self._hash_one(file)
                except OSError as error:
                    self._skip(file, str(error))
                done.append(file)
        finally:
            self.checkpoint.record(self.key, done)

    def _hash_one(self, file: LargeFile) -> None:
        with open_regular(self.folder / file.path, buffering=0) as raw:
            file.stat = Stat.of(os.fstat(raw.fileno()))
            sha256, blob = hashlib.sha256(), new_blob_hash(file.stat.size)
            length = hash_range(raw, 0, file.stat.size, sha256, blob)
        if length < file.stat.size:  # the file was truncated meanwhile
            self._note_change(file)
        else:
            file.sha256, file.blob_id, file.stage = sha256.hexdigest(), blob.hexdigest(), Stage.HASHED

    def _ask(self, task: Task) -> None:
        additions = self._additions(task, ask=True)
        if additions:
            fetch_upload_modes(self.api.client(), self.target, list(additions.values()), self.rules)
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
        self.checkpoint.record(self.key, [file for file in additions if file.stage is Stage.COMMITTED])

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
        self.checkpoint.record(self.key, additions)

    def _commit(self, task: Task) -> None:
        additions = self._additions(task)
        if not additions:
            return
        request = CommitRequest(f"Add {len(additions)} files with hubspool")
        info = post_commit(self.api.client(), self.target, request, list(additions.values()))
        for file in additions:
            file.stage = Stage.COMMITTED
        self.checkpoint.record(self.key, additions, info.oid)

    # -- files that changed

    def _additions(self, task: Task, *, ask: bool = False) -> dict[LargeFile, CommitOperationAdd]:
        """Return an addition for each file of the task that is unchanged since it was hashed; re-queue the others."""
        found = {}
        for file in task.files:
            try:
                addition = self._addition(file)
            except FileChangedError:
                self._note_change(file)
                continue
            except OSError as error:
                self._skip(file, str(error))
                continue
            if not ask:
                addition.set_upload_mode("lfs" if file.is_large else "regular")
                if file.is_sent:
                    addition.is_uploaded = True
            found[file] = addition
        return found

    def _addition(self, file: LargeFile) -> CommitOperationAdd:
        local = self.folder / file.path
        stat = local.stat()
        if Stat.of(stat) != file.stat and file.changes < DEFAULTS.changes_before_snapshot:
            raise FileChangedError(f"{file.path} changed since it was hashed.", path=file.path)
        addition = CommitOperationAdd(file.path, FileRange(local, 0, file.stat.size, (stat.st_dev, stat.st_ino)))
        assert file.sha256 is not None  # it is hashed
        assert file.blob_id is not None
        addition.set_sha256(file.sha256)
        addition.set_git_blob_id(file.blob_id)
        return addition

    def _note_change(self, file: LargeFile) -> None:
        file.changes += 1
        file.stage, file.is_sent, file.is_remembered = Stage.FOUND, False, False
        if file.changes >= DEFAULTS.changes_before_skip:
            self._skip(file, "it keeps changing while it is uploaded")

    def _rehash(self, task: Task, error: LocalFileError) -> None:
        """Queue the file that `error` is about for hashing, which skips it if it cannot be read."""
        named = [file for file in task.files if error.path in (file.path, str(self.folder / file.path))]
        for file in named or task.files:
            self._note_change(file)

    def _skip(self, file: LargeFile, reason: str) -> None:
        with self._changed:
            self.queue.skip(file, reason.rstrip("."))


_AFTER_HASH = frozenset({Stage.LARGE, Stage.READY, Stage.COMMITTED, Stage.IGNORED, Stage.HASHED})


def report(files: Sequence[LargeFile], running: Counter[Job], workers: int, started: datetime, now: datetime) -> str:
    """Return the report that is printed every minute: files and bytes by stage, and what each worker does.

    Args:
        files: all files. Workers may change them meanwhile, so the numbers may be of slightly different moments.
        running: number of tasks that workers have, by job.
        workers: number of workers.
        started, now: local times.
    """
    large = [file for file in files if file.is_large]
    counts = {
        "hashed": _share((file for file in files if file.stage in _AFTER_HASH), files),
        "pre-uploaded:": _share((file for file in large if file.is_sent), large),
        "committed:": _share((file for file in files if file.stage is Stage.COMMITTED), files),
    }
    ignored = sum(file.stage is Stage.IGNORED for file in files)
    doing = " | ".join(f"{job.value}: {running[job]}" for job in Job)
    elapsed = str(now - started).partition(".")[0]
    head = f"---------- {now:%Y-%m-%d %H:%M:%S} ({elapsed}) ----------"
    return "\n".join(
        [
            head,
            f"Files:   {' | '.join(f'{name} {share}' for name, share in counts.items())} | ignored: {ignored}",
            f"Workers: {doing} | waiting: {max(workers - running.total(), 0)}",
            "-" * len(head),
        ]
    )


def _share(done: Iterable[LargeFile], of: Sequence[LargeFile]) -> str:
    sizes = [file.stat.size for file in done]
    total = sum(file.stat.size for file in of)
    return f"{len(sizes)}/{len(of)} ({format_size(sum(sizes))}/{format_size(total)})"


def format_size(size: float) -> str:
    """Return bytes with one decimal and K, M, G … of a thousand, as tqdm writes them."""
    for unit in ("", "K", "M", "G", "T"):
        if size < 1000:
            return f"{size:.1f}{unit}"
        size /= 1000
    return f"{size:.1f}P"
