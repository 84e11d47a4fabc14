"""The operations of a commit: files to add, to delete and to copy.

Making an addition reads almost nothing of its file; the content is read when it is sent and must then still be what it
was. An addition describes the bytes that the file had when it was made: bytes added later are not sent.
Additions are small objects, because a folder of 50,000 files needs as many.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, cast

from hubspool.client.defaults import DEFAULTS
from hubspool.client.file_range import FileRange
from hubspool.client.validation import check_path_in_repo
from hubspool.errors import FileChangedError, FileShrankError, HFValidationError, HubspoolError, LocalFileError
from hubspool.files import new_blob_hash, xet_id

if TYPE_CHECKING:
    from hashlib import _Hash

UploadMode = Literal["lfs", "regular", "xet"]

#: Bytes of a content from which the Hub tells text from binary files; fixed by the protocol.
SAMPLE_BYTES = 512


@dataclass(eq=False, slots=True)
class CommitOperationAdd:
    """Adds a file to a repository, or replaces it.

    Not guaranteed: that rewriting the file in place is noticed before the file is sent. It is noticed while the file is
    sent (`FileChangedError`; nothing is committed).

    One object can be in one commit only. Threads: one at a time.

    Args:
        path_in_repo: path in the repository, such as ``data/train.jsonl``.
        path_or_fileobj: a local path (``~`` is expanded), `bytes`, a binary file object that can seek (it is read from
            its beginning), or a `FileRange`.

    Attributes:
        size: size of the content, bytes.
        upload_mode: how the Hub wants the content: ``regular`` (in the commit) or ``lfs`` (before it). None: the Hub
            was not asked yet.
        should_ignore: a ``.gitignore`` leaves the file out. False before the Hub was asked.
        remote_oid: `content_id` of the Hub's file at the path; None: no file, or one of the other upload mode.
        is_uploaded: the Hub's large file storage has the content.
        xet_hash: Xet's hash of the content, once it was sent through Xet.
        is_committed: a commit contains this addition, so no other commit can.

    Raises:
        HFValidationError: the path leaves the repository, or there is nothing to read.
    """

    path_in_repo: str
    path_or_fileobj: str | Path | bytes | BinaryIO | FileRange = field(repr=False)

    upload_mode: UploadMode | None = field(default=None, init=False, repr=False)
    should_ignore: bool = field(default=False, init=False, repr=False)
    remote_oid: str | None = field(default=None, init=False, repr=False)
    is_uploaded: bool = field(default=False, init=False, repr=False)
    is_committed: bool = field(default=False, init=False, repr=False)
    xet_hash: str | None = field(default=None, init=False, repr=False)
    size: int = field(default=0, init=False)
    _sample: bytes | None = field(default=None, init=False, repr=False)
    _sha256: str | None = field(default=None, init=False, repr=False)
    _blob_id: str | None = field(default=None, init=False, repr=False)
    _source: bytes | BinaryIO | FileRange = field(default=b"", init=False, repr=False)

    def __post_init__(self) -> None:
        self.path_in_repo = check_path_in_repo(self.path_in_repo)
        if isinstance(self.path_or_fileobj, (str, Path)):
            path = Path(self.path_or_fileobj).expanduser()
            self._source = _range_of(path)
            self.path_or_fileobj = str(path)  # `path` keeps this string too, so it is stored once
        else:
            self._source = _source_of(self.path_or_fileobj)
        self.size = _size_of(self._source)
        if isinstance(self.path_or_fileobj, FileRange):
            with self.as_file() as file:  # raises if the file is no longer the described one
                self._sample = file.read(min(SAMPLE_BYTES, self.size))

    @classmethod
    def of_stored(
        cls, path_in_repo: str, sha256: str, size: int, *, remote_oid: str | None = None
    ) -> CommitOperationAdd:
        """Return the addition of a large content that the Hub has already; see the attributes."""
        addition = cls(path_in_repo, b"")
        addition._sha256, addition.size = sha256, size
        addition.set_upload_mode("lfs", remote_oid=remote_oid)
        addition.is_uploaded = True
        return addition

    @property
    def is_reopenable(self) -> bool:
        """Whether several threads may read the content at the same time; not so for file objects."""
        return isinstance(self._source, (bytes, FileRange))

    @property
    def sample(self) -> bytes:
        """The first 512 bytes, from which the Hub tells text from binary content."""
        if self._sample is not None:
            return self._sample
        return b"".join(self.blocks(0, min(SAMPLE_BYTES, self.size)))

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the content; the first use may read all of it."""
        if self._sha256 is None:
            from hashlib import sha256

            self._sha256 = self._digest(sha256())
        return self._sha256

    @property
    def git_blob_id(self) -> str:
        """Git's hexadecimal id of the content; the first use reads all of it."""
        if self._blob_id is None:
            self._blob_id = self._digest(new_blob_hash(self.size))
        return self._blob_id

    @property
    def content_id(self) -> str | None:
        """Id of the content: sha256 of large files, git's id of others; None before the Hub was asked.

        In a bucket (upload mode "xet") it is Xet's hash, as `hubspool.files.xet_id` writes it.
        """
        if self.upload_mode is None:
            return None
        if self.upload_mode == "xet":
            return None if self.xet_hash is None else xet_id(self.xet_hash)
        return self.sha256 if self.upload_mode == "lfs" else self.git_blob_id

    @property
    def is_unchanged(self) -> bool:
        """Whether the Hub has this content at this path already."""
        return self.remote_oid is not None and self.remote_oid == self.content_id

    def set_upload_mode(self, mode: UploadMode, *, should_ignore: bool = False, remote_oid: str | None = None) -> None:
        """Set the Hub's answer about this file; the arguments are attributes.

        The sample, which only that question needs, is dropped.
        """
        self.upload_mode, self.should_ignore, self.remote_oid = mode, should_ignore, remote_oid
        self._sample = None

    def text(self) -> str:
        """Return the content as text.

        Raises:
            HFValidationError: the content is not UTF-8.
        """
        try:
            return b"".join(self.blocks()).decode()
        except UnicodeDecodeError:
            raise HFValidationError(f"{self.path_in_repo} is not UTF-8 text.", path=self.path_in_repo) from None

    @contextmanager
    def as_file(self) -> Iterator[IO[bytes]]:
        """Open the content for reading, from its beginning."""
        source = self._source
        if isinstance(source, bytes):
            yield io.BytesIO(source)
        elif isinstance(source, FileRange):
            with source.open() as file:
                yield file
        else:
            position = source.tell()
            source.seek(0)
            try:
                yield source
            finally:
                source.seek(position)

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes [start, end) in blocks of a multiple of 3 bytes; the last one may be shorter.

        Raises:
            FileShrankError: the content ends early.
            LocalFileError: the content cannot be read.
        """
        end = self.size if end is None else end
        try:
            with self.as_file() as file:
                file.seek(start)
                for position in range(start, end, DEFAULTS.block_bytes):
                    wanted = min(DEFAULTS.block_bytes, end - position)
                    block = file.read(wanted)
                    if len(block) < wanted:
                        raise FileShrankError(
                            f"The content for {self.path_in_repo} ends after {position + len(block)} bytes.",
                            path=self.path_in_repo,
                        )
                    yield block
        except OSError as error:
            if isinstance(error, HubspoolError):
                raise
            # requests would take an OSError inside a request's body for a broken connection.
            raise LocalFileError(
                f"The content for {self.path_in_repo} cannot be read: {error}.", path=self.path_in_repo
            ) from error

    def set_sha256(self, digest: str) -> None:
        """Set the digest of the bytes that were sent.

        Raises:
            FileChangedError: the content had another digest before.
        """
        self._sha256 = self._verified(digest, self._sha256)

    def set_git_blob_id(self, digest: str) -> None:
        """Set git's id of the bytes that were sent.

        Raises:
            FileChangedError: the content had another id before.
        """
        self._blob_id = self._verified(digest, self._blob_id)

    def _verified(self, digest: str, known: str | None) -> str:
        if known not in (None, digest):
            raise FileChangedError(
                f"The content for {self.path_in_repo} was rewritten while it was being sent.", path=self.path_in_repo
            )
        return digest

    def release(self) -> None:
        """Drop the content, which the Hub has; the values that a commit needs stay."""
        self._sample = b""
        self.path_or_fileobj = self._source = b""

    def _digest(self, digest: _Hash) -> str:
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()


@dataclass(slots=True)
class CommitOperationDelete:
    """Deletes a file, or a folder with everything in it.

    Args:
        path_in_repo: path of the file or folder.
        is_folder: whether the path is a folder; ``auto``: it is one if it ends in ``/``.
    """

    path_in_repo: str
    is_folder: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        self.path_in_repo = check_path_in_repo(self.path_in_repo, folder_allowed=True)
        if self.is_folder == "auto":
            self.is_folder = self.path_in_repo.endswith("/")
        elif not isinstance(self.is_folder, bool):
            raise HFValidationError(f"is_folder is {self.is_folder!r}.", hint="Use True, False or 'auto'.")


@dataclass
class CommitOperationCopy:
    """Copies a file inside a repository, or from another one.

    Args:
        src_path_in_repo: path of the file to copy.
        path_in_repo: path of the copy.
        src_revision: revision to copy from, by default that of the commit.
        src_repo_id: repository to copy from, by default that of the commit.
        src_repo_type: type of `src_repo_id`; required with it, refused without it.
    """

    src_path_in_repo: str
    path_in_repo: str
    src_revision: str | None = None
    src_repo_id: str | None = None
    src_repo_type: str | None = None

    def __post_init__(self) -> None:
        self.src_path_in_repo = check_path_in_repo(self.src_path_in_repo)
        self.path_in_repo = check_path_in_repo(self.path_in_repo)
        if (self.src_repo_id is None) != (self.src_repo_type is None):
            raise HFValidationError(
                f"src_repo_id is {self.src_repo_id!r} and src_repo_type {self.src_repo_type!r}.",
                hint="Give both.",
            )


CommitOperation: TypeAlias = CommitOperationAdd | CommitOperationDelete | CommitOperationCopy


def _range_of(path: Path) -> FileRange:
    try:
        status = path.stat()
    except OSError:
        raise HFValidationError(f"Not a local file: {str(path)!r} does not exist.", path=path) from None
    if not stat.S_ISREG(status.st_mode):
        problem = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise HFValidationError(f"Not a local file: {str(path)!r} is {problem}.", path=path)
    return FileRange(path, 0, status.st_size, (status.st_dev, status.st_ino))


def _source_of(given: Any) -> bytes | BinaryIO | FileRange:
    if isinstance(given, (bytes, FileRange)):
        return given
    if isinstance(given, io.TextIOBase):
        raise HFValidationError(f"Not a binary file: {given!r}.", hint="Open it with mode 'rb'.")
    if isinstance(given, (io.RawIOBase, io.BufferedIOBase)) or hasattr(given, "read"):
        try:
            given.seek(given.tell())
        except (OSError, AttributeError, TypeError):
            raise HFValidationError(f"{given!r} cannot seek.", hint="Pass its content as bytes.") from None
        return cast(BinaryIO, given)
    raise HFValidationError(
        f"path_or_fileobj is a {type(given).__name__}.", hint="Pass a path, bytes or a file opened with 'rb'."
    )


def _size_of(source: bytes | BinaryIO | FileRange) -> int:
    if isinstance(source, bytes):
        return len(source)
    if isinstance(source, FileRange):
        return source.size
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    return size
