"""The tunable numbers of the local Hub: sizes, counts and times.

Numbers of a protocol or file format are in the module that reads the format. Every layer may import this module.
"""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True)
class HubLimits:
    """Sizes are in bytes and times in seconds, unless said otherwise.

    Attributes:
        start_seconds: how long `LocalHub.start` waits for the first answer.
        stop_seconds: how long `LocalHub.stop` waits for the server's thread.
        keep_alive_seconds: how long an idle connection stays open.
        graceful_stop_seconds: how long running requests may take after `stop`.
        header_seconds: how long a client may take for the headers of a request.
        body_seconds: how long a client may take for the next `slow_body` bytes of a body.
        slow_body: see `body_seconds`.
        connections: open connections; a new one ends the one that has waited longest for its client. Fewer if the
            process may open few files.
        slow_requests: pages, fetches and pushes that are answered at a time; others do not wait for them.
        accepted_at_once: connections that are accepted before the first of them is served.
        listen_backlog: connections that wait to be accepted.
        lock_seconds: how long a change of a repository waits for the change before it.
        token_seconds: life of a Xet token. hf_xet asks for a new one 30 s before the end.
        bucket_replay_seconds: how long the changes of a bucket are kept for watchers.
        bucket_stream_seconds: how long a watcher's connection lasts.
        bucket_ping_seconds: how often a watcher hears something.
        bucket_poll_seconds: how long changes are gathered before they are told.
        link_seconds: life of a signed address.
        session_seconds: how long a browser stays logged in.
        failed_seconds: how long a wrong token counts for `failed_log_ins`.
        dedup_seconds: how long a client may cache which chunks are stored.
        git_seconds: how long the git program may take for one fetch.
        diff_seconds: how long it may take to show a difference.
        wait_seconds: time-out of the methods with which tests wait for requests and faults.
        requests_logged: requests that `LocalHub.requests` remembers.

        body: a request's body, unless its route says otherwise.
        form: the body of the log-in form.
        anonymous_body: the same, without a token.
        dropped_body: what is read of the body of a refused request, and not kept.
        commit_line: one file of a commit, as its line.
        large_commits: commits of more than `memory_block` bytes that are read at the same time.
        commit_body: a commit: 1 GB of regular content in base64, and the lines around it.
        git_request: what a git client says that it has and wants, unpacked.
        git_push: a pack that `git push` sends, and what it unpacks to.
        git_object: an object of such a pack; deltas build on it in memory.
        lfs_part: LFS uploads of more bytes go in parts of this size, unless `LocalHub(lfs_part_size=)` says otherwise.
        lfs_object: a whole LFS object, or a part of one.
        xorb: a xorb with its headers: 64 MiB of chunks, and room for what older clients append.
        shard: a Xet shard.
        regular_file: a file in git itself; larger ones need LFS or Xet. The Hub's own limit.
        binary_file: from this size on, a file that is not text goes to LFS. The Hub does not publish its limit;
            small binary files were seen in git.
        sample: bytes of each file that clients send with a preupload request.
        ref_name: the full name of a branch or tag.
        path_name: characters of a file's or folder's name.

        push_commands: refs that one `git push` changes.
        preupload_files: files of one preupload request; clients send at most 256.
        paths: paths of one paths-info request. The Hub answers too many with 413, too, but does not publish its limit.
        bucket_paths: the same, of a bucket.
        bucket_operations: lines of one batch of a bucket. The Hub does not publish its limit; clients send 1,000.
        bucket_changes: changes of a bucket that are kept for watchers.
        bucket_dead_lines: lines of a bucket's log that no longer count and that stay until the Hub starts again.
        lfs_batch: objects of one LFS batch; git-lfs asks for 100, huggingface_hub for 256.
        pattern_characters: of the patterns of .gitattributes and .gitignore, counted again for each name of a path that
            is compared: takes some seconds.
        path_depth: folders on the way to a file.
        tree_page: entries of one answer to a tree request.
        expanded_tree_page: the same, with the last commit of each entry.
        commits_page: commits of one answer, and of one page of the website.
        repos_page: repositories of one answer.
        newest_commit: Unix time of the end of the year 9999, the last that dates can show.
        card: bytes of the metadata of a card.
        card_values: values in the metadata of a card. Aliases of aliases make billions of a few lines.

        newest_commits: commits that a repository's page lists.
        folder_entries: entries of a folder that its page shows.
        linked_refs: branches and tags, and pull requests, that a page links to.
        diff: bytes of a difference that the API answers with.
        diff_characters: characters of a diff that a page shows.
        preview_rows: rows of a table that a page shows.
        preview_columns: columns of a table that a page shows.
        preview_cell: characters of a cell that a page shows.
        preview_text: bytes of a text file that a page shows, or reads for a table.
        preview_card: characters of a README.md that are rendered: some take seconds for twice as many.
        preview_image: bytes of an image in a cell.
        preview_archive: bytes of an archive that a preview reads: the list of its members, and small images.
        preview_events: bytes of an event file that its charts show.
        preview_charts: charts of a page.
        preview_points: points of a chart.
        preview_parquet: largest Parquet file with a preview: pyarrow takes a row group into memory.
        preview_memory: address space of the process that reads a Parquet file.
        preview_seconds: how long that process may take.

        memory_block: bytes that are read, sent or written at a time.
        upload_block: bytes of a body that are collected before a thread writes them.
        cached_blob: largest blob in the cache of git objects: LFS pointers, above all.
        compression: zlib level of git objects: the fastest one, since the disk is local.
        loose_objects: objects of one commit with a file each; the other ones share a pack. 5,000 files took 2.6 s of
            the 3 s of a commit.
        object_files: files of git objects after which they are packed, if the machine has git. A pull took 5 s of
            processor time after 3,000 commits.
        pack_weight: loose objects that a pack counts as: every look-up of an object asks each pack.
        cached_objects: trees, commits and small blobs in memory, for each repository.
        failed_log_ins: wrong tokens that one address may send to the log-in form; programs are not limited.
        ended_sessions: log-outs that are remembered, and addresses that sent wrong tokens.
        cached_pages: rendered README.md files that are remembered.
        cached_cards: cards that are remembered, by blob.
        cached_layouts: xorbs whose chunks are remembered, with positions and hashes.
        cached_sizes: sizes of files in memory, for each repository: about 300 bytes each.
        cached_counts: commits whose number of ancestors is remembered, for each repository.
        cached_digests: files whose SHA-256 can be continued when they grow.
        digest_back: chunks before a file's end at which its SHA-256 state is kept: the last chunks change with growth.
        sync_threads: threads that wait for the disk at the same time.
    """

    start_seconds: float = 30
    stop_seconds: float = 30
    keep_alive_seconds: int = 75
    graceful_stop_seconds: int = 2
    header_seconds: float = 15
    body_seconds: float = 30
    slow_body: int = 32 << 10
    connections: int = 2000
    slow_requests: int = 20
    accepted_at_once: int = 16
    listen_backlog: int = 2048
    lock_seconds: float = 30
    token_seconds: int = 3600
    bucket_replay_seconds: int = 900
    bucket_stream_seconds: float = 1200
    bucket_ping_seconds: float = 30
    bucket_poll_seconds: float = 0.2
    link_seconds: int = 3600
    session_seconds: int = 12 * 3600
    failed_seconds: float = 60
    dedup_seconds: int = 7 * 24 * 3600
    git_seconds: float = 600
    diff_seconds: float = 10
    wait_seconds: float = 90
    requests_logged: int = 100_000

    body: int = 16 * _MIB
    form: int = 64 << 10
    anonymous_body: int = _MIB
    dropped_body: int = 128 * _MIB
    commit_line: int = 64 * _MIB
    large_commits: int = 4
    commit_body: int = 1536 * _MIB
    git_request: int = 16 * _MIB
    git_push: int = 1024 * _MIB
    git_object: int = 64 * _MIB
    lfs_part: int = 64 * _MIB
    lfs_object: int = 1 << 40
    xorb: int = 72 * _MIB
    shard: int = 64 * _MIB
    regular_file: int = 10 * _MIB
    binary_file: int = _MIB
    sample: int = 512
    ref_name: int = 200
    path_name: int = 255

    push_commands: int = 1000
    preupload_files: int = 256
    paths: int = 1000
    bucket_paths: int = 2000
    bucket_operations: int = 5000
    bucket_changes: int = 100_000
    bucket_dead_lines: int = 1000
    lfs_batch: int = 1000
    path_depth: int = 100
    pattern_characters: int = 8_000_000
    tree_page: int = 1000
    expanded_tree_page: int = 50
    commits_page: int = 50
    repos_page: int = 1000
    newest_commit: int = 253_402_300_799
    card: int = 256 << 10
    card_values: int = 100_000

    newest_commits: int = 5
    folder_entries: int = 2000
    linked_refs: int = 20
    diff: int = 16 * _MIB
    diff_characters: int = 100_000
    preview_rows: int = 20
    preview_columns: int = 30
    preview_cell: int = 200
    preview_text: int = 256 << 10
    preview_card: int = 32 << 10
    preview_image: int = 128 << 10
    preview_archive: int = 8 * _MIB
    preview_events: int = 8 * _MIB
    preview_charts: int = 20
    preview_points: int = 500
    preview_parquet: int = 64 * _MIB
    preview_memory: int = 1024 * _MIB
    preview_seconds: float = 5

    memory_block: int = 4 * _MIB
    upload_block: int = _MIB
    cached_blob: int = 1024
    compression: int = 1
    loose_objects: int = 64
    object_files: int = 2048
    pack_weight: int = 64
    cached_objects: int = 4096
    failed_log_ins: int = 10
    ended_sessions: int = 1024
    cached_pages: int = 64
    cached_cards: int = 1024
    cached_sizes: int = 200_000
    cached_counts: int = 512
    cached_layouts: int = 512
    cached_digests: int = 256
    digest_back: int = 3
    sync_threads: int = 16


LIMITS = HubLimits()
