"""The numbers of the local Hub that somebody decided: sizes, counts and times.

Numbers of a wire or file format stand where the format is read. Every layer may import this module.
"""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True)
class HubLimits:
    """Sizes are in bytes and times in seconds, unless said otherwise.

    Attributes:
        start_seconds: How long `LocalHub.start` waits for the first answer.
        stop_seconds: How long `LocalHub.stop` waits for the server's thread.
        keep_alive_seconds: How long an idle connection stays open; longer than the 60 s that clients keep one.
        graceful_stop_seconds: How long running requests may take after `stop`.
        listen_backlog: Connections that wait to be accepted; tests open hundreds at once.
        lock_seconds: How long a change of a repository waits for the change before it.
        token_seconds: Life of a Xet token. hf_xet asks for a new one 30 s before the end.
        link_seconds: Life of a signed address.
        requests_logged: Requests that `LocalHub.requests` remembers.

        body: A request's body, unless its route says otherwise.
        commit_body: A commit: 1 GB of regular content in base64, and the lines around it.
        git_request: What a git client says that it has and wants, unpacked.
        git_push: A pack that `git push` sends.
        lfs_part: LFS uploads of more bytes go in parts of this size, unless `LocalHub(lfs_part_size=)` says otherwise.
        lfs_object: A whole LFS object, or a part of one.
        xorb: A xorb with its headers: 64 MiB of chunks, and room for what older clients append.
        shard: A Xet shard.
        regular_file: A file in git itself; larger ones need LFS or Xet. The Hub's own limit.
        binary_file: From this size on, a file that is not text goes to LFS. The Hub does not publish its limit;
            small binary files were seen in git.
        sample: Bytes of each file that clients send with a preupload request.
        ref_name: The full name of a branch or tag.
        path_name: Characters of a file's or folder's name.

        push_commands: Refs that one `git push` changes.
        preupload_files: Files of one preupload request. The Hub's own limit.
        paths: Paths of one paths-info request. The Hub's own limit.
        lfs_batch: Objects of one LFS batch; git-lfs asks for 100, huggingface_hub for 256.
        path_depth: Folders on the way to a file.
        tree_page: Entries of one answer to a tree request.
        expanded_tree_page: The same, with the last commit of each entry.
        commits_page: Commits of one answer, and of one page of the website.
        repos_page: Repositories of one answer.
        card_values: Values in the metadata of a card. Aliases of aliases make billions of a few lines.

        timeline_commits: Commits in the drawing on a repository's page.
        folder_entries: Entries of a folder that its page shows.
        linked_refs: Branches and tags, and pull requests, that a page links to.
        diff_characters: Characters of a diff that a page shows.
        preview_rows: Rows of a table that a page shows.
        preview_columns: Columns of a table that a page shows.
        preview_cell: Characters of a cell that a page shows.
        preview_text: Bytes of a text file that a page shows, or reads for a table.
        preview_parquet: Largest Parquet file with a preview: pyarrow takes a row group into memory.
        counted: Bytes that are read to count the rows for one page.

        memory_block: Bytes that are read, sent or written at a time.
        upload_block: Bytes of a body that are collected before a thread writes them.
        memory_pack: Bytes of a pack in memory; a larger one goes to a temporary file.
        cached_blob: Largest blob in the cache of git objects: LFS pointers, above all.
        loose_objects: Objects of one commit with a file each; the other ones share a pack. 5,000 files took 2.6 s of
            the 3 s of a commit.
        cached_objects: Trees, commits and small blobs in memory, for each repository.
        cached_totals: Folders and files whose rows and bytes are remembered.
        cached_folders: Folders whose large files are remembered, and Xet uploads without a commit.
        cached_layouts: Xorbs whose chunk positions are remembered.
        cached_digests: Files whose SHA-256 can be continued when they grow.
        digest_back: Chunks before a file's end at which its SHA-256 state is kept: the last chunks change with growth.
        sync_threads: Threads that wait for the disk at the same time.
    """

    start_seconds: float = 30
    stop_seconds: float = 30
    keep_alive_seconds: int = 75
    graceful_stop_seconds: int = 2
    listen_backlog: int = 2048
    lock_seconds: float = 30
    token_seconds: int = 3600
    link_seconds: int = 3600
    requests_logged: int = 100_000

    body: int = 16 * _MIB
    commit_body: int = 1536 * _MIB
    git_request: int = 64 * _MIB
    git_push: int = 1024 * _MIB
    lfs_part: int = 64 * _MIB
    lfs_object: int = 1 << 40
    xorb: int = 72 * _MIB
    shard: int = 128 * _MIB
    regular_file: int = 10 * _MIB
    binary_file: int = _MIB
    sample: int = 512
    ref_name: int = 200
    path_name: int = 255

    push_commands: int = 1000
    preupload_files: int = 256
    paths: int = 1000
    lfs_batch: int = 1000
    path_depth: int = 100
    tree_page: int = 1000
    expanded_tree_page: int = 50
    commits_page: int = 50
    repos_page: int = 1000
    card_values: int = 100_000

    timeline_commits: int = 60
    folder_entries: int = 2000
    linked_refs: int = 20
    diff_characters: int = 100_000
    preview_rows: int = 20
    preview_columns: int = 30
    preview_cell: int = 200
    preview_text: int = 256 << 10
    preview_parquet: int = 64 * _MIB
    counted: int = 64 * _MIB

    memory_block: int = 4 * _MIB
    upload_block: int = _MIB
    memory_pack: int = 8 * _MIB
    cached_blob: int = 1024
    loose_objects: int = 64
    cached_objects: int = 4096
    cached_totals: int = 4096
    cached_folders: int = 512
    cached_layouts: int = 512
    cached_digests: int = 256
    digest_back: int = 3
    sync_threads: int = 16


LIMITS = HubLimits()
