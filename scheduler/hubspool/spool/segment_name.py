"""Names of segments and of their parts. The only I/O reads the name of this host, and lists a folder.

A segment is a local row file ``<name>-<UTC date>-<writer>-<seq>.jsonl`` with one writer. A part is a byte range of a
segment under one path on the Hub, ``<YYYY-MM>/<segment stem>-p<NNNN>.jsonl``, in a folder for the month of the date in
its name: one folder takes at most 10,000 entries. Old parts are joined into files
``<name>-<date>-joined.<id>-<seq>-p<level>.<suffix>``. A segment whose parts are encoded is named
``<segment stem>.<suffix>.jsonl``, and its parts ``<segment stem>-p<NNNN>.<suffix>``. The writer id is fresh for each
scheduler object, so two writers never use one name, on the disk or on the Hub. It begins with the time: the names of
a day's segments, and so its rows, are in the order in which their writers began. Four digits of it identify the host:
on a shared disk they distinguish the live segment of another host from an orphan of this one.
"""

from __future__ import annotations

import datetime
import re
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath

#: Before version 0.1, ids of writers had no time.
_SEGMENT = re.compile(
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)-(?P<date>\d{8})-(?P<writer>(?:[0-9a-f]{11})?[0-9a-f]{12})-(?P<seq>\d{5})"
    r"(?:\.(?P<suffix>[a-z0-9]+))?\.jsonl"
)
#: The globs of parts match it, and it is no segment's name.
_JOINED = re.compile(
    r"(?P<name>.+)-(?P<date>\d{8})-joined\.[0-9a-f]{12}-\d{5}-p(?P<level>(?!0000)\d{4})\.(?P<suffix>[a-z0-9]+)"
)
_RANGE = re.compile(r"(?P<stem>.+)-(?P<start>\d{12})-(?P<end>\d{12})\.(?P<suffix>[a-z0-9]+)")
_MONTH = re.compile(r"\d{4}-\d\d")
#: Folder of the notes of schedulers in a repository; `datasets` reads no folder that begins with a dot.
RECORDS = ".hubspool"


def is_part_path(path: str) -> bool:
    """Return whether a path on the Hub is that of a part, in whatever form its rows are stored."""
    return SegmentName.of_part(PurePosixPath(path).name) is not None


def is_written_by_schedulers(path: str) -> bool:
    """Return whether a path in a repository or bucket is that of a part, a joined file or a note of schedulers."""
    return split_of(path) is not None or path.startswith(f"{RECORDS}/")


def split_of(path: str) -> str | None:
    """Return the split of a scheduler's rows in a file on the Hub, by its name; None for a file of another program."""
    name = PurePosixPath(path).name
    ranged = RangeName.parse(name)
    found = ranged.segment if ranged else JoinedName.parse(name) or SegmentName.of_part(name)
    return None if found is None else re.sub(r"\W", "_", found.name)


def part_rule(suffix: str = "") -> str:
    """Return the ``.gitattributes`` line that stores new parts, and no other files, through Xet."""
    return f"*-p[0-9][0-9][0-9][0-9].{suffix or 'jsonl'} filter=lfs diff=lfs merge=lfs -text"


def part_number(filename: str) -> int:
    """Return the number in the name of a part."""
    return int(filename.rpartition("-p")[2][:4])


@cache
def host_digits() -> str:
    """Return four hex digits that distinguish this host from most others."""
    machine = ""  # not uuid.getnode(): without a network interface it is random in each process
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    return sha256(f"{socket.gethostname()}/{machine}".encode()).hexdigest()[:4]


def new_writer_id() -> str:
    """Return 23 hex digits: eleven of the time in ms, four of the host, eight random; no two objects share an id."""
    return f"{time.time_ns() // 1_000_000:011x}{host_digits()}{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class SegmentName:
    """The fields of a segment's file name; `suffix` is that of its encoded parts, or empty if they are not encoded."""

    name: str
    date: str
    writer: str
    seq: int
    suffix: str = ""

    def __str__(self) -> str:
        suffix = f".{self.suffix}" if self.suffix else ""
        return f"{self.name}-{self.date}-{self.writer}-{self.seq:05d}{suffix}.jsonl"

    @classmethod
    def parse(cls, filename: str) -> SegmentName | None:
        """Return the fields, or None if `filename` is not the name of a segment."""
        match = _SEGMENT.fullmatch(filename)
        if match is None:
            return None
        return cls(match["name"], match["date"], match["writer"], int(match["seq"]), match["suffix"] or "")

    @classmethod
    def of_part(cls, filename: str) -> SegmentName | None:
        """Return the fields of the segment of a part, or None if `filename` is not the name of a part."""
        stem, _, rest = filename.rpartition("-p")
        digits, _, suffix = rest.partition(".")
        if len(digits) != 4 or not digits.isdecimal():
            return None
        return cls.parse(f"{stem}.jsonl" if suffix == "jsonl" else f"{stem}.{suffix}.jsonl")

    @classmethod
    def of(cls, path: str) -> SegmentName:
        """Return the fields of the path of a segment.

        Raises:
            ValueError: `path` is not the path of a segment.
        """
        name = cls.parse(PurePosixPath(path).name)
        if name is None:
            raise ValueError(f"not a segment: {path}")
        return name

    @property
    def is_of_this_host(self) -> bool:
        """Return True if a process of this host created the segment."""
        return self.writer[-12:-8] == host_digits()

    @property
    def stem(self) -> str:
        """What the names of its parts begin with."""
        return str(replace(self, suffix="")).removesuffix(".jsonl")

    @property
    def month(self) -> str:
        """The month of its date, ``YYYY-MM``: the folder of its parts."""
        return f"{self.date[:4]}-{self.date[4:6]}"

    @property
    def day(self) -> datetime.date:
        """The day on which it began."""
        return datetime.datetime.strptime(self.date, "%Y%m%d").date()  # noqa: DTZ007  a day

    def next(self, date: str) -> SegmentName:
        """Return the name of the writer's next segment."""
        return replace(self, date=date, seq=self.seq + 1)


@dataclass(frozen=True)
class JoinedName:
    """The fields of the file name of a joined file.

    Args:
        name: the split.
        date: of the newest segment in it.
        level: how often its rows were joined.
        suffix: of the file.
    """

    name: str
    date: str
    level: int
    suffix: str

    @classmethod
    def parse(cls, filename: str) -> JoinedName | None:
        """Return the fields, or None if `filename` is not the name of a joined file."""
        match = _JOINED.fullmatch(filename)
        return None if match is None else cls(match["name"], match["date"], int(match["level"]), match["suffix"])

    def with_id(self, identifier: str) -> str:
        """Return the file name; `identifier` is twelve hex digits."""
        return f"{self.name}-{self.date}-joined.{identifier}-00000-p{self.level:04d}.{self.suffix}"

    @property
    def month(self) -> str:
        """The month of its segments, ``YYYY-MM``."""
        return f"{self.date[:4]}-{self.date[4:6]}"


@dataclass(frozen=True)
class RangeName:
    """The fields of a file name in a bucket: the file holds the bytes [start, end) of a segment, and never others."""

    segment: SegmentName
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.segment.stem}-{self.start:012d}-{self.end:012d}.{self.segment.suffix or 'jsonl'}"

    @classmethod
    def parse(cls, filename: str) -> RangeName | None:
        """Return the fields, or None if `filename` is not the name of a range."""
        match = _RANGE.fullmatch(filename)
        if match is None:
            return None
        suffix = match["suffix"]
        segment = SegmentName.parse(f"{match['stem']}{'' if suffix == 'jsonl' else '.' + suffix}.jsonl")
        return None if segment is None else cls(segment, int(match["start"]), int(match["end"]))


def range_path(source: str, start: int, end: int) -> str:
    """Return the path in a bucket of the bytes [start, `end`) of the segment at `source`; both paths are relative."""
    segment = SegmentName.of(source)
    return str(PurePosixPath(source).parent / segment.month / str(RangeName(segment, start, end)))


def segments_in(folder: Path) -> list[str]:
    """Return the paths of the segments in a folder, relative to it."""
    found = (path for path in folder.rglob("*.jsonl") if SegmentName.parse(path.name) is not None)
    return sorted(path.relative_to(folder).as_posix() for path in found)


def part_path(source: str, number: int) -> str:
    """Return the path of part `number` of the segment at `source`; both paths are relative."""
    stem, suffix = _around_number(source)
    return f"{stem}-p{number:04d}.{suffix}"


@lru_cache(64)  # a manifest names a hundred parts of a segment
def _around_number(source: str) -> tuple[str, str]:
    segment = SegmentName.of(source)
    return str(PurePosixPath(source).parent / segment.month / segment.stem), segment.suffix or "jsonl"


def without_month(folder: PurePosixPath) -> PurePosixPath:
    """Return a folder without its last part, if that is a month."""
    return folder.parent if _MONTH.fullmatch(folder.name) else folder


def flat_path(path: str) -> str:
    """Return the path that version 0.1 gave a part: without the folder of the month."""
    part = PurePosixPath(path)
    return str(part.parent.parent / part.name)


def versioned_path(source: str, number: int, folder_id: str) -> str:
    """Return the path of the `number`-th continuation of a user's file whose own path has other content on the Hub.

    It contains the folder's random id, so two folders that continue the same file use different paths.
    """
    if number == 0:
        return source
    path = PurePosixPath(source)
    return str(path.with_name(f"{path.stem}-{folder_id[:8]}-{number:04d}{path.suffix}"))
