"""The numbers of a push: sizes, limits and intervals."""

from __future__ import annotations

from dataclasses import dataclass

from hubspool.client.defaults import DEFAULTS as CLIENT


@dataclass(frozen=True)
class PushLimits:
    """The numbers that shape parts, commits and reads. Sizes in bytes, durations in seconds.

    Args:
        part_commits: how often one path is committed. A path that grows by many small pushes stops being deduplicated
            (600 pushes to one path sent 17.7 bytes per byte), and every version of a large file counts against the
            owner's storage.
        part_bytes, part_seconds: size and age at which a part is closed.
        large_commits: the same as `part_commits` for a part of at least `large_bytes`. Each growth sends its last,
            unfinished chunk again (45 kB on average): 600 pushes of 100 kB to parts of sixteen commits sent 1.49 bytes
            per byte.
        large_bytes: see `large_commits`.
        batch_files, batch_bytes: limits of one commit; those of a large upload, too.
        record_growth, record_seconds: a record file cannot continue under another name; one of at least `record_bytes`
            is sent when it has grown by this fraction, or after this time.
        record_bytes: see `record_growth`.
        probe_paths: part paths per request when the parts of a segment without ledger rows are looked up.
        probe_limit: number of part paths after which that lookup ends.
        compare_bytes: largest local file that is compared with a longer file on the Hub, which is downloaded for it.
        foreign_seconds: how long foreign content must stay at a path of ours before it counts; reads may be stale.
        second_look_seconds: how long a commit whose answer was lost may still land. A segment whose ledger was lost is
            not sent until it has passed and the parts on the Hub were listed once more.
        identity_seconds: how old the knowledge may be that a bucket is the one of before when a push begins.
        look_seconds: how often a scheduler without new rows reads which rows others have asked to remove: one request.
        rest_seconds: a file that has not changed for this long has a finished last line, also without a newline.
        quote_bytes: a CSV whose quotes do not balance within this many bytes, or within a period, is cut at newlines.
        compare_final_bytes: a final push compares the content of files that did not change as far as their times tell,
            the newest first, up to this many bytes in total.
        compare_file_bytes: it leaves out files of this size and more.
        compare_cost_bytes: and counts each file as at least so many bytes.
        json_probe_bytes: how much of a ``.json`` file is read to distinguish JSON Lines from a document.
        lock_poll_seconds: interval at which a push checks whether another process still holds the push lock.
        join_files, join_bytes: most files, and bytes, that are joined into one file.
        join_memory: most bytes of memory that they take together, if their format cannot be read block by block.
        join_downloads: how many files are downloaded at the same time for it.
        join_attempts: how often a join is committed where other commits come first.
        publish_bytes: most bytes of a bucket that one commit publishes; they are on this disk twice meanwhile.
        publish_downloads: how many of its files, which are small, are downloaded at the same time.
        ranges: of a segment in a bucket in the ledger; neighbours are joined when there are more (a push every 5 s
            sends 17,000 a day).
        removal_files: most files that one commit replaces by others without some of their rows.
        kept_segments: of how many removed segments the ledger knows that they are on the Hub, for processes that have
            them open.
    """

    part_commits: int = 16
    part_bytes: int = 32 * 1024 * 1024
    large_commits: int = 3
    large_bytes: int = 256 * 1024
    part_seconds: float = 24 * 3600
    batch_files: int = CLIENT.tasks.commit_files
    batch_bytes: int = CLIENT.tasks.commit_bytes
    record_growth: float = 1 / 16
    record_seconds: float = 30 * 60
    record_bytes: int = 1024 * 1024
    probe_paths: int = 64
    probe_limit: int = 10_000
    compare_bytes: int = 32 * 1024 * 1024
    foreign_seconds: float = 60.0
    second_look_seconds: float = 3600.0
    identity_seconds: float = 60.0
    look_seconds: float = 3600.0
    rest_seconds: float = 10.0
    quote_bytes: int = 1024 * 1024
    compare_final_bytes: int = 256 * 1024 * 1024
    compare_file_bytes: int = 64 * 1024 * 1024
    compare_cost_bytes: int = 256 * 1024
    json_probe_bytes: int = 4 * 1024 * 1024
    lock_poll_seconds: float = 0.1
    join_files: int = 500
    join_bytes: int = 32 * 1024 * 1024
    join_memory: int = 32 * 1024 * 1024
    join_downloads: int = 4
    join_attempts: int = 5
    publish_bytes: int = 1024 * 1024 * 1024
    publish_downloads: int = 16
    ranges: int = 64
    removal_files: int = 100
    kept_segments: int = 20_000


DEFAULTS = PushLimits()
