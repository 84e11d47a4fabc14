"""ZipScheduler: files in archives of a dataset, exactly once each."""

from __future__ import annotations

import io
import logging
import uuid
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from hubspool.client.patterns import path_filter
from hubspool.errors import HFValidationError
from hubspool.spool.segment_name import SegmentName
from hubspool_templates.archive.inbox import Claims, DropBox, new_batch
from hubspool_templates.archive.zip_encoding import ZipEncoding, member_name
from hubspool_templates.rows import Row, RowOptions, RowScheduler
from hubspool_templates.schema import Schema
from hubspool_templates.values import RowEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from hubspool.client.repo_info import CommitInfo
    from hubspool.push.events import CommitPlan

logger = logging.getLogger(__name__)

#: A content up to this size waits in its line; a larger one, a third longer there, waits as a file.
INLINE_BYTES = 256 * 1024
#: A new archive is begun once the files of one hold so much.
ARCHIVE_BYTES = 256 * 1024 * 1024
_CLAIMS_AT_ONCE = 64
_TAKEN_BY_DATASETS = frozenset({"file_name", "image", "audio", "video"})


class ZipScheduler(RowScheduler):
    """Stores files in zip archives of a dataset: what `add` was given, and what is dropped into the folder.

    A file for which `add` returned reaches the Hub exactly once, as does one that was dropped and is complete, through
    the end of the process, outages and several writers, for as long as the local disk lives. Not promised: dropped
    files that a writer left half-finished and closed; that a dropped file stays where it is: it is claimed (moved into
    the state folder), and removed once its archive is on the Hub, unless `keep_local`. A file outside the folder that
    `add` is given is copied and stays.

    An archive holds ``metadata.jsonl``, so that ``datasets.load_dataset(repo)`` finds an image (or audio) folder with
    a column for each keyword of `add`. It tells the kind from the first ten archives: files of one kind should be the
    most frequent there, more than one an archive.

    A dropped file is complete when nobody has it open for writing (Linux tells), elsewhere after a period without a
    change; a flush, `stop` and the exit take at once what is not known to be open. Names that begin with a dot or end
    in ``.tmp`` or ``.part`` wait: write under such a name and rename.

    Usage::

        scheduler = ZipScheduler("user/drawings")
        scheduler.add(image, "cat.png", label="cat")

    The arguments are those of `RowScheduler`; `allow_patterns` and `ignore_patterns` choose among dropped files,
    `redact` gets ``{"file_name": …, **metadata}``, and `max_spool_bytes` counts contents up to 256 KiB only.

    Thread-safety: as in `RowScheduler`.
    """

    form = "zip"
    origin = "The files of this dataset were added one by one, as they came up, with `ZipScheduler`."

    def __init__(self, repo_id: str, folder_path: str | Path | None = None, **options: Unpack[RowOptions]) -> None:
        self.encoding: ZipEncoding = ZipEncoding()
        options.setdefault("commit_message", _message)
        super().__init__(repo_id, folder_path, **options)
        self._card.in_config = True
        self._encoder = RowEncoder(on_widened=self.spool.close)
        self._claims = Claims(self.folder_path, self.name)
        takes = path_filter(self.allow_patterns, self.ignore_patterns or [])
        self._drops = DropBox(self.folder_path, takes, self.every * 60)
        self._archive_bytes = 0  # of claims in the current segment; under _order
        # All below is used by the pushing thread only.
        self._looked_for_orphans = False
        self._refused: set[str] = set()

    def add(self, file: object, name: str | None = None, **metadata: Any) -> None:
        """Store one file; when this returns it survives the end of the process.

        Args:
            file: a path, bytes, a PIL image, or a binary file object, which is read to its end.
            name: its name in the archive, with ``/`` between folders; that of the path or file object by default, a
                random one for an image. Two files may have one name: the second gets a number.
            metadata: its columns in the dataset.

        Raises:
            ValueError: the name could leave the folder that it is unpacked to, or a value is no JSON.
            SpoolFull: the disk, or `max_spool_bytes`, is full.
        """
        row = self._row({"file_name": member_name(name or _name_of(file)), **metadata})
        dropped = self._path_in_folder(file)
        if dropped is not None:
            size = dropped.stat().st_size
            with self._claims.locked():
                self._write({**row, "claim": self._claims.take(dropped, row["name"])}, size)
        else:
            with _opened(file, row["name"]) as content:
                beginning = content.read(INLINE_BYTES + 1)
                size = len(beginning)
                if size <= INLINE_BYTES:
                    self._write({**row, "data": b64encode(beginning).decode()})
                else:
                    staged = self._claims.stage(beginning, content)
                    size = staged.stat().st_size
                    with self._claims.locked():
                        self._write({**row, "claim": self._claims.take(staged, row["name"])}, size)
        if self._push_after_rows or self._push_after_bytes:
            self._count(1, size)

    def append(self, row: Row) -> None:
        """Store one file: the same as `add`, with its arguments in a mapping."""
        self.add(**row)

    def extend(self, rows: Iterable[Row]) -> None:
        """Store files, one after the other: a refused one leaves those before it stored."""
        for row in rows:
            self.append(row)

    def encode_row(self, row: Row) -> bytes:
        """Return a file's row as a line; where a column became text, later lines go to a new archive."""
        metadata = orjson.Fragment(self._encoder.encode(row["metadata"]).rstrip(b"\n"))
        return orjson.dumps({**row, "metadata": metadata}, option=orjson.OPT_APPEND_NEWLINE)

    @property
    def columns(self) -> Schema:
        """The columns of all archives that were made."""
        return self.encoding.columns

    def push_to_hub(self) -> CommitInfo | None:
        """Claim the dropped files that are complete, then send what is new."""
        self._claim_dropped(final=self.is_final_push)
        self.spool.close()  # a segment an archive: what waits for a segment is removed with it
        return super().push_to_hub()

    @property
    def retries_push(self) -> bool:
        """Whether a failed push is repeated within the period: no claim is lost or taken twice by it."""
        return True

    def chosen_paths(self) -> Callable[[str], bool]:
        """Return what tells whether a path is to be sent as it is: dropped files go into archives."""
        return lambda path: SegmentName.parse(path) is not None

    def _row(self, given: dict[str, Any]) -> dict[str, Any]:
        row = dict(given if self._redact is None else self._redact(given))
        name = member_name(str(row.pop("file_name", given["file_name"])))
        if taken := _TAKEN_BY_DATASETS & row.keys():
            raise HFValidationError(
                f"{sorted(taken)[0]!r} is the column of the file itself.", hint="Use another key in the metadata."
            )
        return {"name": name, "metadata": row}

    def _write(self, row: dict[str, Any], claimed_bytes: int = 0) -> None:
        with self._order:
            self._archive_bytes += claimed_bytes
            if self._archive_bytes > ARCHIVE_BYTES:
                self.spool.close()  # a segment's end is an archive's end
                self._archive_bytes = claimed_bytes
            self.spool.write(self.encode_row(row))

    def _claim_dropped(self, *, final: bool) -> None:
        """Move dropped files that are complete out of the folder, each with a line that names it.

        The writers' lock is held for a few files at a time, and always before the claims' lock.
        """
        if not self._looked_for_orphans:
            with self._claims.locked():
                for claim, name in self._claims.orphans():
                    self._write({"name": name, "metadata": {}, "claim": claim})  # the name is redacted already
            self._looked_for_orphans = True
        paths = [path for path in self._drops.files() if path not in self._refused]
        batch = new_batch()
        for first in range(0, len(paths), _CLAIMS_AT_ONCE):
            with self.lock, self._claims.locked():
                self._looked_for_orphans = False  # until the lines of these are written
                for path in paths[first : first + _CLAIMS_AT_ONCE]:
                    if self._drops.is_complete(path, final=final):
                        self._claim(path, batch)
                self._looked_for_orphans = True

    def _claim(self, path: str, batch: str) -> None:
        try:
            row = self._row({"file_name": path})
        except HFValidationError as error:
            logger.warning("%s stays in the folder: %s", path, error)
            self._refused.add(path)
            return
        try:
            size = (self.folder_path / path).stat().st_size
            claim = self._claims.take(self.folder_path / path, row["name"], batch)
        except FileNotFoundError:
            return  # another process was faster
        except OSError as error:  # no right to move it, or another disk is mounted there: the others go on
            logger.warning("%s stays in the folder: %s", path, error)
            self._refused.add(path)
            return
        self._write({**row, "claim": claim}, size)

    def _path_in_folder(self, file: object) -> Path | None:
        if not isinstance(file, str | PurePath):
            return None
        path = Path(file).expanduser().resolve()
        return path if path.is_file() and path.is_relative_to(self.folder_path.resolve()) else None


def _name_of(file: object) -> str:
    """Return a file's own name.

    Raises:
        HFValidationError: it has none.
    """
    if isinstance(file, str | PurePath):
        return PurePath(file).name
    if hasattr(file, "save"):
        return f"{uuid.uuid4().hex}.png"
    name = getattr(file, "name", None)
    if isinstance(name, str) and name:
        return PurePath(name).name
    raise HFValidationError(f"A {type(file).__name__} has no name.", hint="Pass one: add(file, 'name.png').")


def _opened(file: Any, name: str) -> BinaryIO | _Kept:
    """Open what `add` was given for reading."""
    if isinstance(file, str | PurePath):
        return Path(file).expanduser().open("rb")
    if isinstance(file, bytes | bytearray | memoryview):
        return io.BytesIO(file)
    if hasattr(file, "save"):
        from PIL import Image

        content = io.BytesIO()
        file.save(content, Image.registered_extensions().get(PurePath(name).suffix.lower(), "PNG"))
        content.seek(0)
        return content
    if hasattr(file, "read"):
        return _Kept(file)
    raise HFValidationError(
        f"A {type(file).__name__} is no file.", hint="Pass a path, bytes, a PIL image or a binary file object."
    )


class _Kept:
    """A file object of the caller's: read, never closed."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def __enter__(self) -> BinaryIO:
        return self.file

    def __exit__(self, *exc_info: object) -> None:
        return


def _message(plan: CommitPlan) -> str:
    return f"Add {plan.rows_new} file{'s' if plan.rows_new > 1 else ''}"
