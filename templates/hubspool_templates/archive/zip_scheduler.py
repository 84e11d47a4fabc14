"""ZipScheduler: files in archives of a dataset, exactly once each."""

from __future__ import annotations

import errno
import io
import logging
import os
import stat
import uuid
from base64 import b64encode
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from hubspool import CommitScheduler
from hubspool.extending import HFValidationError, read_text
from hubspool_templates.archive.inbox import DroppedFiles, Inbox
from hubspool_templates.archive.zip_encoding import ZipEncoding, columns_of_archive, member_name
from hubspool_templates.archive.zip_joiner import ZipJoiner
from hubspool_templates.card import Card
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.media_files import image_bytes, prepared
from hubspool_templates.media_types import MEDIA, media_of
from hubspool_templates.rows import Row, RowOptions, RowScheduler
from hubspool_templates.schema import Schema
from hubspool_templates.values import RowEncoder

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hubspool import CommitInfo, CommitPlan

logger = logging.getLogger(__name__)

#: Writers would wait while a large file is copied under their lock; and a copy and a removal are not one step.
_OTHER_MOUNT = "it is on another mount than the folder, so it cannot be moved into an archive: pass it to add()."
#: Columns that `datasets` itself gives to the file.
_FILE_COLUMNS = MEDIA | {"file_name"}
_NO_MEDIA = "no media"


class ZipScheduler(RowScheduler):
    """Stores files in zip archives of a dataset: files that are passed to `add`, and files dropped into the folder.

    A file for which `add` returned reaches the Hub exactly once, as does a dropped file that is complete, through the
    end of the process, outages and several writers, as long as the local disk survives. Not promised: a dropped file
    that its writer closed half-written is sent as it is; a dropped file does not stay where it is: it is claimed (moved
    into the spool), and removed once its archive is on the Hub, unless `keep_local`. `add` copies a file from
    outside the folder, and leaves it alone. A dropped file on another mount inside the folder stays there, which
    `status` and `flush` tell; `add` copies it, then removes it.

    An archive holds ``metadata.jsonl``, so that ``datasets.load_dataset(repo)`` reads an image (or audio) folder with
    a column for each keyword of `add`. `datasets` reads one kind of files, so `add` refuses a file of another kind
    (image, audio, video, no media) than the first one, and a dropped one stays. On another machine the kind is known
    after the first push. The files of another `name` are a config of that name: `datasets` loads two splits together
    only while their metadata have the same keys and types.

    On Linux a dropped file is complete when no process has it open for writing; on other systems, after a period
    without a change. A flush, `stop` and the exit also claim files that are not known to be open. Names that begin with
    a dot or end in ``.tmp`` or ``.part`` are left alone: write under such a name, then rename.

    Usage::

        scheduler = ZipScheduler("user/drawings")
        scheduler.add(image, "cat.png", label="cat")

    Args:
        check_media: refuse image, audio and video files that are empty, truncated or something else, and leave such
            dropped files in the folder; a file of more than 64 MiB is not checked.
        strip_exif: remove metadata (place, camera, comments) from images; their orientation stays.
        repo_id, folder_path, options: those of `RowScheduler`; `allow_patterns` and `ignore_patterns` choose among
            dropped files, `redact` receives ``{"file_name": …, **metadata}``, and `max_spool_bytes` counts only files
            up to 256 KiB.

    Thread-safety: as in `RowScheduler`.
    """

    card_sentence = "The files of this dataset were added one by one, as they came up, with `ZipScheduler`."
    features_in_config = True
    _columns_in = staticmethod(columns_of_archive)

    def __init__(
        self,
        repo_id: str,
        folder_path: str | Path | None = None,
        *,
        check_media: bool = True,
        strip_exif: bool = False,
        **options: Unpack[RowOptions],
    ) -> None:
        self._check_media, self._strip_exif = check_media, strip_exif
        self.encoding: ZipEncoding = ZipEncoding()
        self.encoding.joiner = ZipJoiner()
        options.setdefault("commit_message", _message)
        super().__init__(repo_id, folder_path, **options)
        self._encoder = self.shared("encoder", lambda: RowEncoder(on_widened=self.spool.close))
        folder = self.folder_path
        self._inbox = Inbox(self.spool_folder, self.name)
        chosen = CommitScheduler.chosen_paths(self)
        self._dropped = self.shared("dropped", lambda: DroppedFiles(folder, chosen, self.every * 60))
        self._dropped.chosen, self._dropped.rest_seconds = chosen, self.every * 60
        self._archive = self.shared("archive", _SharedArchive)

    def add(self, file: object, name: str | None = None, **metadata: Any) -> None:
        """Store one file; when this returns it survives the end of the process.

        Args:
            file: a path, bytes, a PIL image, or a binary file object, which is read to its end.
            name: its name in the archive, with ``/`` between folders; by default the name of the path or file object,
                or a random name for an image. The second file of one name gets a number.
            metadata: its columns in the dataset.

        Raises:
            ValueError: the name could leave the folder that it is unpacked to, or JSON cannot hold a value.
            SpoolFull: the disk, or `max_spool_bytes`, is full.
        """
        row = self._row({"file_name": member_name(name or _name_of(file)), **metadata})
        dropped = self._path_in_folder(file)
        with _opened(file, row["name"]) as content:
            beginning, is_changed = self._beginning(content, row["name"])
            size = None if dropped is None or is_changed else self._write_moved(row, dropped)
            if size is None:
                size = len(beginning)
                if size <= DEFAULTS.inline_bytes:
                    self._write({**row, "data": b64encode(beginning).decode()})
                else:
                    size = self._write_claimed(row, self._inbox.stage(beginning, content))
                if dropped is not None:
                    with suppress(OSError):  # a mount that cannot be written to
                        dropped.unlink()
        self._count(1, size)

    def _beginning(self, content: BinaryIO, name: str) -> tuple[bytes, bool]:
        """Return the first bytes of a file, and whether they are others than the file has; of a media file all bytes.

        Raises:
            HFValidationError: the media file is not whole, or its metadata cannot be removed.
        """
        media = media_of(name) if self._check_media or self._strip_exif else None
        if media is None:
            return content.read(DEFAULTS.inline_bytes + 1), False
        whole = content.read(DEFAULTS.checked_bytes + 1)
        is_large = len(whole) > DEFAULTS.checked_bytes
        if is_large and not (self._strip_exif and media == "image"):
            return whole, False
        if is_large:
            raise HFValidationError(f"{name} is too large to remove its metadata.", hint="Pass a smaller image.")
        new = prepared(whole, media, name, name, check=self._check_media, strip=self._strip_exif)
        return new, new != whole

    def append(self, row: Row) -> None:
        """Store one file: as `add`, with its arguments in a mapping."""
        self.add(**row)

    def extend(self, rows: Iterable[Row]) -> None:
        """Store files one after the other; if one is refused, the files before it stay stored."""
        for row in rows:
            self.append(row)

    def encode_row(self, row: Row) -> bytes:
        """Return a file's row as a line; once a column became text, later lines go to a new archive."""
        metadata = orjson.Fragment(self._encoder.encode(row["metadata"]).rstrip(b"\n"))
        return orjson.dumps({**row, "metadata": metadata}, option=orjson.OPT_APPEND_NEWLINE)

    @staticmethod
    def columns_of(path: Path) -> Schema:
        raise ValueError(f"the columns of the files in {path.name} are not known")

    @property
    def columns(self) -> Schema:
        """The columns of all archives that were written."""
        return self.encoding.columns

    def push_to_hub(self) -> CommitInfo | None:
        """Claim the dropped files that are complete, then send what is new."""
        self._learn_kind()
        self._claim_dropped(final=self.is_final_push)
        self.spool.close()  # one segment per archive: the claimed files of a segment are removed with it
        return super().push_to_hub()

    def _learn_kind(self) -> None:
        """Learn, once, of which kind the files on the Hub are."""
        archive = self._archive
        if archive.kind is None and not archive.is_card_read and self.repo_type == "dataset":
            with suppress(HFValidationError, UnicodeDecodeError):  # the card's own update reports it
                card = Card(read_text(self.api, self.target, "README.md"))
                columns = {str(each["name"]) for config in card.configs for each in card.features(config)}
                archive.kind = archive.kind or next(iter(columns & MEDIA), None)
            archive.is_card_read = True

    @property
    def retries_push(self) -> bool:
        """Whether a failed push is repeated within the period; a repeat loses no claimed file and claims none twice."""
        return True

    def left_in_folder(self) -> Mapping[str, str]:
        """The dropped files that cannot be claimed: a bad name, no right, another mount."""
        return self._archive.left

    def _row(self, given: dict[str, Any]) -> dict[str, Any]:
        row = dict(self._completed(given))
        name = member_name(str(row.pop("file_name", given["file_name"])))
        if (kind := self._archive.kind) not in (None, mine := media_of(name) or _NO_MEDIA):
            raise HFValidationError(
                f"{name!r} is of another kind ({mine}) than the other files of the dataset ({kind}).",
                hint="datasets reads one kind of files: store it with a ZipScheduler for another repository.",
            )
        if taken := _FILE_COLUMNS & row.keys():
            raise HFValidationError(
                f"{sorted(taken)[0]!r} is the column of the file itself.", hint="Use another key in the metadata."
            )
        return {"name": name, "metadata": row}

    def _write(self, row: dict[str, Any], claimed_bytes: int = 0) -> None:
        with self._rows.write_lock:
            self._archive.kind = self._archive.kind or media_of(row["name"]) or _NO_MEDIA
            self._archive.size += claimed_bytes
            if self._archive.size > DEFAULTS.archive_bytes:
                self.spool.close()  # the end of a segment is the end of an archive
                self._archive.size = claimed_bytes
            self.spool.write(self.encode_row(row))

    def _write_claimed(self, row: dict[str, Any], path: Path) -> int:
        """Claim a file and write its line; return its size in bytes."""
        size = path.stat().st_size
        with self._inbox.locked():
            self._write({**row, "claim": self._inbox.claim(path, row["name"])}, size)
        return size

    def _write_moved(self, row: dict[str, Any], path: Path) -> int | None:
        """Claim a file of the folder, as `_write_claimed` does; None if it is on another mount."""
        try:
            return self._write_claimed(row, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return None

    def _claim_dropped(self, *, final: bool) -> None:
        """Move the dropped files that are complete out of the folder, and write a line for each.

        The writers' lock is held for a few files at a time, and only while they are looked at and renamed: neither
        `redact` nor a wait for another lock comes under it. Without it, after a limit, they stay for the next push.
        """
        archive = self._archive
        if not archive.orphans_written:
            with self._inbox.locked():
                for reference, name in self._inbox.orphans():
                    self._write({"name": name, "metadata": {}, "claim": reference})  # the name is redacted already
            archive.orphans_written = True
        told, archive.left = archive.left, {}
        paths = self._dropped.files(self._leave_folder)
        rows = {path: row for path in paths if (row := self._row_of_dropped(path)) is not None}
        batch = uuid.uuid4().hex
        for first in range(0, len(rows), DEFAULTS.claims_at_once):
            chunk = dict(list(rows.items())[first : first + DEFAULTS.claims_at_once])
            if not self._claim_with_lock(chunk, batch, final=final):
                break
        for path, reason in archive.left.items() - told.items():
            logger.warning("%s stays in the folder: %s", path, reason)

    def _leave_folder(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # removed during the walk
            self._archive.left[Path(error.filename).relative_to(self.folder_path).as_posix()] = str(error)

    def _row_of_dropped(self, path: str) -> dict[str, Any] | None:
        try:
            return self._row({"file_name": path})
        except HFValidationError as error:
            self._archive.left[path] = str(error)
            return None

    def _claim_with_lock(self, rows: dict[str, dict[str, Any]], batch: str, *, final: bool) -> bool:
        """Claim the complete files of `rows`; returns whether the writers' lock was free in time."""
        while not self._claim_unless_held(rows, batch, final=final):
            with self.limited_lock as is_free:
                if not is_free:
                    return False
        return True

    def _claim_unless_held(self, rows: dict[str, dict[str, Any]], batch: str, *, final: bool) -> bool:
        """Claim the complete files of `rows` if the writers' lock is free; returns whether it was.

        It is not waited for under the inbox's lock, for which `add` may wait in a thread that holds the writers' lock.
        """
        with self._inbox.locked():
            if not self.lock.acquire(blocking=False):
                return False
            self._archive.orphans_written = False  # until the lines of these files are written
            try:
                claimed = [self._claim(path, row, batch, final=final) for path, row in rows.items()]
            finally:
                self.lock.release()
            for row, size in filter(None, claimed):
                self._write(row, size)
            self._archive.orphans_written = True
            return True

    def _claim(self, path: str, row: dict[str, Any], batch: str, *, final: bool) -> tuple[dict[str, Any], int] | None:
        try:
            if not self._dropped.is_complete(path, final=final):
                return None
            if media_of(row["name"]):
                # A pipe that replaced the file must not block; `claim` refuses it.
                with os.fdopen(_regular_file(self.folder_path / path), "rb") as content:
                    new, is_changed = self._beginning(content, row["name"])
                if is_changed:
                    self._inbox.stage(new, io.BytesIO()).replace(self.folder_path / path)
            size = (self.folder_path / path).stat().st_size
            return {**row, "claim": self._inbox.claim(self.folder_path / path, row["name"], batch)}, size
        except FileNotFoundError:
            return None  # another process claimed it first
        except HFValidationError as error:
            self._archive.left[path] = str(error)
            return None
        except OSError as error:  # no right to move it, or another disk
            self._archive.left[path] = _OTHER_MOUNT if error.errno == errno.EXDEV else str(error)
            return None

    def _path_in_folder(self, file: object) -> Path | None:
        if not isinstance(file, str | PurePath):
            return None
        path = Path(file).expanduser().resolve()
        return path if path.is_file() and path.is_relative_to(self.folder_path.resolve()) else None


@dataclass
class _SharedArchive:
    """What the schedulers of one folder share of the next archive."""

    size: int = 0  # of the claimed files in the current segment, bytes; written under the write lock
    kind: str | None = None  # of the files, a media or `_NO_MEDIA`: the first one's; written under the write lock
    # Below: used by the pushing thread only.
    is_card_read: bool = False
    orphans_written: bool = False
    left: dict[str, str] = field(default_factory=dict)  # why dropped files stay in the folder


def _name_of(file: object) -> str:
    """Return the name of a path or file object, or a random name for an image.

    Raises:
        HFValidationError: the object has no name.
    """
    if isinstance(file, str | PurePath):
        return PurePath(file).name
    if hasattr(file, "save"):
        return f"{uuid.uuid4().hex}.png"
    name = getattr(file, "name", None)
    if isinstance(name, str) and name:
        return PurePath(name).name
    raise HFValidationError(f"A {type(file).__name__} has no name.", hint="Pass one: add(file, 'name.png').")


def _regular_file(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return descriptor


def _opened(file: Any, name: str) -> AbstractContextManager[BinaryIO]:
    """Open the argument of `add` for reading; a file object of the caller is never closed."""
    if isinstance(file, str | PurePath):
        return Path(file).expanduser().open("rb")
    if isinstance(file, bytes | bytearray | memoryview):
        return io.BytesIO(file)
    if hasattr(file, "save"):
        from PIL import Image

        return io.BytesIO(image_bytes(file, name, Image.registered_extensions().get(PurePath(name).suffix.lower())))
    if hasattr(file, "read"):
        return nullcontext(file)
    raise HFValidationError(
        f"A {type(file).__name__} is not a file.", hint="Pass a path, bytes, a PIL image or a binary file object."
    )


def _message(plan: CommitPlan) -> str:
    return f"Add {plan.rows_new} file{'s' if plan.rows_new > 1 else ''}"
