"""The numbers of the commit client: limits of the Hub, sizes of batches, threads and time-outs.

Numbers of retries are in `hubspool.client.retry`. What a user may change has another owner: the environment
(`hubspool.settings`), or an argument of a call.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TaskLimits:
    """How much one task of a large upload takes on.

    Attributes:
        hash_files, hash_bytes: files and bytes that one worker hashes before it reports.
        ask_files: files in one preupload request; the Hub answers 413 to more.
        send_files, send_bytes: files and bytes that one worker sends before the checkpoint records them.
        commit_files, commit_bytes: files in one commit, and bytes inside its request. The queue halves both when the
            Hub is too slow or refuses the size.
        commit_seconds: seconds after which files that are ready are committed, even if they are few.
    """

    hash_files: int = 256
    hash_bytes: int = 64_000_000
    ask_files: int = 256
    send_files: int = 256
    send_bytes: int = 256_000_000
    commit_files: int = 1000
    commit_bytes: int = 100_000_000
    commit_seconds: float = 300.0


@dataclass(frozen=True)
class ClientDefaults:
    """The numbers of the client; `DEFAULTS` is the one instance.

    Attributes:
        max_redirects: redirects that one request follows.
        answer_bytes: the largest answer of the API that is read, once decoded; more is an error.
        answer_block_bytes: bytes of an answer that are read at a time. A block may decode to a thousand times its size.
        most_pages: pages of one list; more are an error.
        progress_least_bytes: a transfer or a download goes on as long as so many bytes arrive within each time-out.
        pool_hosts, pool_connections: hosts that keep connections open, and connections to each of them.
        interrupt_poll_seconds: how often a request that may be interrupted asks whether it was.
        message_characters: characters of the Hub's message that an error repeats.
        body_characters: characters of the Hub's answer that an error keeps.
        block_bytes: bytes that are read from a content at a time. A multiple of 3, so that each block can be encoded in
            base64 by itself. hf_xet took a stream in blocks of a sixth of this size a fifth slower.
        body_block_bytes: bytes of a commit's body that are sent at a time. One block for each of 25,000 lines would be
            as many system calls.
        large_files_per_commit, regular_bytes_per_commit: what the Hub takes in one commit: files by reference, and
            bytes of content inside the request.
        regular_file_bytes: the largest file that the Hub stores outside LFS.
        preupload_files: files in one preupload request; the Hub answers 413 to more.
        preupload_batches_ahead: batches whose upload modes are asked for while earlier ones are sent.
        paths_per_request: paths in one paths-info request; the Hub answers 413 to many more.
        bucket_operations: lines of one batch of a bucket, and paths of one of its paths-info requests.
        copies_per_request: objects that one request makes known to another repository.
        files_per_folder, files_per_repo: entries that the Hub takes in a folder, and advises in a repository; more of
            them are a warning.
        nearly_full_folder: entries of a folder from which on schedulers and `hubspool doctor` warn.
        file_bytes: the largest file that the Hub takes.
        progress_bytes: contents larger than this, in all, get a progress bar.
        bar_seconds, log_seconds: seconds before a bar appears, and between two log lines where there is no terminal.
        lfs_threads: files, or parts of one, that are sent over LFS at the same time; huggingface_hub's number.
        lfs_objects_per_batch: objects in one request of the LFS batch API.
        group_files, group_bytes: files and bytes that are sent, and on a failure repeated, together. hf_xet holds a
            group's new bytes in memory until it has sent them: two groups of 100 MB took 460 MB.
        groups_at_once: groups that are sent at the same time: one is read while the Hub checks the other. One after
            the other, 1,000 files of 200 kB took twice as long.
        small_file_bytes, few_small_files: hf_xet asks the CAS about the first chunk of each content, which costs more
            than to send a small one: 5,000 files of 4 kB took 2.8 s with these questions and 0.7 s without. More than
            a few files of this size (four chunks) are therefore asked about together through the LFS batch API, each
            as a whole. The price: a small file that only begins like a stored one is sent whole from a machine without
            Xet's cache.
        without_xet_seconds: seconds for which LFS is used after hf_xet failed for reasons of this machine.
        xet_address_bytes: a process that may map less memory than this (`ulimit -v`) uses LFS: hf_xet aborted one that
            could map 400 MB more.
        xet_whole_bytes, xet_memory_bytes: contents up to this size are given to hf_xet whole, and at most so many
            bytes of them at a time.
        xet_stall_seconds: a Xet transfer that has not moved `progress_least_bytes` in this time is aborted.
        xet_poll_seconds: seconds between two readings of a transfer's progress.
        token_margin_seconds: a Xet token is not used in its last seconds.
        xet_absent_seconds: seconds after which a Hub without Xet is asked for a token again.
        tasks: limits of the tasks of a large upload.
        refused_files: so many refused files, with none committed, end a large upload: the Hub refuses more than them.
        changes_before_snapshot: a file that changes this often during a large upload is sent as it was when it was
            hashed, which works if it only grows.
        changes_before_skip: a file that changes this often is skipped.
        report_seconds: seconds between two reports of a large upload.
        join_seconds: seconds that the end of a large upload waits for each worker.
    """

    max_redirects: int = 5
    answer_bytes: int = 64 * 1024 * 1024
    answer_block_bytes: int = 16 * 1024
    most_pages: int = 10_000
    progress_least_bytes: int = 32 * 1024
    pool_hosts: int = 8
    pool_connections: int = 32
    interrupt_poll_seconds: float = 0.1
    message_characters: int = 1000
    body_characters: int = 100_000

    block_bytes: int = 3 * 384 * 1024
    body_block_bytes: int = 128 * 1024
    large_files_per_commit: int = 25_000
    regular_bytes_per_commit: int = 1_000_000_000
    regular_file_bytes: int = 10 * 1024 * 1024
    preupload_files: int = 256
    preupload_batches_ahead: int = 2
    paths_per_request: int = 500
    bucket_operations: int = 1000
    copies_per_request: int = 500
    files_per_folder: int = 10_000
    nearly_full_folder: int = 8_000
    files_per_repo: int = 100_000
    file_bytes: int = 200_000_000_000

    progress_bytes: int = 10_000_000
    bar_seconds: float = 0.5
    log_seconds: float = 30.0

    lfs_threads: int = 5
    lfs_objects_per_batch: int = 256
    group_files: int = 500
    group_bytes: int = 48 * 1024 * 1024
    groups_at_once: int = 2
    small_file_bytes: int = 256 * 1024
    few_small_files: int = 16
    without_xet_seconds: float = 600.0
    xet_address_bytes: int = 8 * 1024**3
    xet_whole_bytes: int = 1024 * 1024
    xet_memory_bytes: int = 16 * 1024 * 1024
    xet_stall_seconds: float = 30.0
    xet_poll_seconds: float = 0.2
    token_margin_seconds: float = 60.0
    xet_absent_seconds: float = 600.0

    tasks: TaskLimits = field(default_factory=TaskLimits)
    refused_files: int = 10
    changes_before_snapshot: int = 3
    changes_before_skip: int = 6
    report_seconds: int = 60
    join_seconds: float = 15.0


DEFAULTS = ClientDefaults()
