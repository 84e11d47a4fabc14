"""Names of segments and of the parts cut from them: text, no I/O but for the host's own name.

A segment is a local row file ``<name>-<UTC date>-<writer>-<seq>.jsonl`` with one writer. A part is a byte range of a
segment under one path on the Hub, ``<segment stem>-p<NNNN>.jsonl``. Rows that are stored in another form there wait in
``<segment stem>.<form>.jsonl`` and become ``<segment stem>-p<NNNN>.<form>``. The writer id is random per scheduler
object, so names of two writers never meet, on one disk or on the Hub; its first four digits tell the host, so that a
folder on a shared disk can be told apart from an orphan of this machine.
"""

from __future__ import annotations

import re
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePosixPath

_SEGMENT = re.compile(
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)-(?P<date>\d{8})-(?P<writer>[0-9a-f]{12})-(?P<seq>\d{5})"
    r"(?:\.(?P<form>[a-z0-9]+))?\.jsonl"
)


def part_rule(form: str = "") -> str:
    """Return the LFS rule that makes new parts, and nothing else, go through Xet from their first byte."""
    return f"*-p[0-9][0-9][0-9][0-9].{form or 'jsonl'} filter=lfs diff=lfs merge=lfs -text"


#: Of parts that are stored as they wait.
PART_RULE = part_rule()


@cache
def host_digits() -> str:
    """Four hex digits that tell this host from most others."""
    machine = ""  # not uuid.getnode(): without a network interface it is random in each process
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    return sha256(f"{socket.gethostname()}/{machine}".encode()).hexdigest()[:4]


def new_writer_id() -> str:
    """Twelve hex digits: four of the host, eight random. Never used for a second object."""
    return host_digits() + uuid.uuid4().hex[:8]


@dataclass(frozen=True)
class SegmentName:
    """The fields of a segment's file name; an empty `form` stands for rows that are stored as they are."""

    name: str
    date: str
    writer: str
    seq: int
    form: str = ""

    def __str__(self) -> str:
        form = f".{self.form}" if self.form else ""
        return f"{self.name}-{self.date}-{self.writer}-{self.seq:05d}{form}.jsonl"

    @classmethod
    def parse(cls, filename: str) -> SegmentName | None:
        """Return the fields, or None where `filename` is not a segment's."""
        match = _SEGMENT.fullmatch(filename)
        if match is None:
            return None
        return cls(match["name"], match["date"], match["writer"], int(match["seq"]), match["form"] or "")

    @classmethod
    def of(cls, path: str) -> SegmentName:
        """Return the fields of a path that is known to be a segment's."""
        name = cls.parse(PurePosixPath(path).name)
        if name is None:
            raise ValueError(f"not a segment: {path}")
        return name

    @property
    def is_of_this_host(self) -> bool:
        return self.writer.startswith(host_digits())

    def next(self, date: str) -> SegmentName:
        return replace(self, date=date, seq=self.seq + 1)


def part_path(source: str, number: int) -> str:
    """Return where part `number` of the segment at `source` (both relative paths) is stored."""
    segment = SegmentName.of(source)
    stem = str(replace(segment, form="")).removesuffix(".jsonl")
    return str(PurePosixPath(source).with_name(f"{stem}-p{number:04d}.{segment.form or 'jsonl'}"))


def versioned_path(source: str, number: int, folder_id: str) -> str:
    """Return the path of the `number`-th continuation of a user's file whose own name is taken on the Hub.

    The folder's random id keeps two folders that continue the same name from meeting again.
    """
    if number == 0:
        return source
    path = PurePosixPath(source)
    return str(path.with_name(f"{path.stem}-{folder_id[:8]}-{number:04d}{path.suffix}"))
