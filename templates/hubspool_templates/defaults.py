"""Every number of `hubspool_templates` that is a decision and could be another one."""

from __future__ import annotations

from dataclasses import dataclass

from hubspool.extending import DEFAULT_EVERY


@dataclass(frozen=True)
class TemplateDefaults:
    """Defaults of the ready-made schedulers and the Gradio parts. Sizes are bytes, unless the name says otherwise.

    Attributes:
        every_minutes, publish_minutes: minutes between pushes, and between publishes of a bucket.
        max_spool_bytes: `append` raises `SpoolFull` beyond this, before the disk of a Space (50 GB) is full.
        remembered_shapes: row shapes that are remembered per scheduler; rows whose keys are data (a user's id) must not
            fill the memory.
        dict_keys: a column of dicts with more keys, those inside them counted too, is stored as JSON.
        column_depth: so is a column with more dicts and lists inside each other.
        inline_bytes: a file up to this size is stored inside its line of the spool; a larger one, which would take a
            third more there, is stored beside the spool.
        checked_bytes: a media file up to this size is checked before it goes into an archive, in memory.
        archive_bytes: a new archive begins when the files of one hold more than this; one archive is sent whole.
        claims_at_once: dropped files that are taken while the writers' lock is held once; more would block writers.
        staged_seconds: a staged file older than this belongs to a process that ended while it was writing.
        learned_bytes: files that are in a dataset already, and whose columns the card lacks, are read up to this size;
            beside larger ones new rows get a config of their own.
        row_group_rows: rows of one Parquet row group; a viewer, and `datasets`, read one row group at a time.
        row_group_bytes: the same in bytes of spool lines.
        join_group_bytes: the same in bytes of a file that was joined; memory for three is taken.
        member_memory: memory for the name and the place of a member of an archive that is joined.
        sample_rows: the first rows of a part, whose columns are those of most other rows.
        read_ahead_bytes: lines that are read once for both the check and the encoding: those of a whole segment.
        footer_bytes: bytes at the end of a Parquet file that are read first; most footers fit.
        cursor_days: a cursor names the segments of so many days before its commit; for others that commit is listed.
        cursor_files: and up to so many files of other programs.
        files_ahead: files that are fetched before their rows are read.
        range_bytes: so much of a file, or less, is fetched alone, where only that is new.
        ranges: but not more ranges than these.
        claimed_open: dropped files that a reader of pending rows keeps open.
        batch_rows: rows that are converted at once.
        panel_refresh_seconds: how often an open page asks the scheduler for its status.
        panel_wait_seconds: how long "Push … now" waits for the outcome before it says that the push continues.
        double_click_seconds: a click this soon after an answer is the second half of a double click.
        remembered_forms: forms of one button whose keys are known; a key that was forgotten would store again.
        key_characters: characters of such a key that are kept.
    """

    every_minutes: float = DEFAULT_EVERY
    publish_minutes: float = 24 * 60
    max_spool_bytes: int = 10 * 1024**3
    remembered_shapes: int = 4096
    dict_keys: int = 200
    column_depth: int = 20
    inline_bytes: int = 256 * 1024
    checked_bytes: int = 64 * 1024 * 1024
    archive_bytes: int = 256 * 1024 * 1024
    claims_at_once: int = 64
    staged_seconds: float = 24 * 3600.0
    learned_bytes: int = 256 * 1024 * 1024
    row_group_rows: int = 50_000
    row_group_bytes: int = 16 * 1024 * 1024
    join_group_bytes: int = 8 * 1024 * 1024
    member_memory: int = 1500
    sample_rows: int = 100
    read_ahead_bytes: int = 64 * 1024 * 1024
    footer_bytes: int = 64 * 1024
    cursor_days: int = 35
    cursor_files: int = 100
    files_ahead: int = 2
    range_bytes: int = 4 * 1024 * 1024
    ranges: int = 4
    claimed_open: int = 256
    batch_rows: int = 10_000
    panel_refresh_seconds: float = 2.0
    panel_wait_seconds: float = 60.0
    double_click_seconds: float = 1.0
    remembered_forms: int = 10_000
    key_characters: int = 100


DEFAULTS = TemplateDefaults()


def folder_of(repo_id: str) -> str:
    """Return the name of a scheduler's folder, if the caller gives none."""
    return repo_id.removeprefix("hf://buckets/").replace("/", "--")
