"""The rows of spools that a commit of their repository does not hold, read while pushes go on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hubspool.client.target import Target
from hubspool.errors import HFValidationError
from hubspool.push.backlog import spool_target
from hubspool.push.ledger import Ledger
from hubspool.push.part import Closed
from hubspool.push.published import uncovered
from hubspool.spool.destination import Destination, SpoolFolder, spool_folders
from hubspool.spool.segment_name import segments_in

#: Of parts that no commit needs to hold.
_GONE = (Closed.MOVED, Closed.REMOVED, Closed.FOREIGN)


@dataclass(frozen=True)
class RangeOnHub:
    """What a commit holds of one part: its number, the bytes of the segment, and where they begin, if it is known."""

    number: int
    size: int
    start: int | None = None


class PendingSegments(ExitStack):
    """The segments of a spool, opened: a push that removes them later does not matter. Close it after use.

    Open it before the commit is looked up that is compared with it: what a push sends in between is in that commit.

    Args:
        spool: the spool.

    Attributes:
        last_commit: the last commit that the spool's ledger knows of.
    """

    def __init__(self, spool: SpoolFolder) -> None:
        super().__init__()
        self.spool = spool
        self.files: dict[str, IO[bytes]] = {}
        for name in segments_in(spool.path):
            with suppress(FileNotFoundError):  # a push has removed it since
                self.files[name] = self.enter_context((spool.path / name).open("rb"))
        with closing(Ledger(spool.state)) as ledger:
            target = spool_target(ledger, spool)
            self._parts = {} if target is None else ledger.parts(target)
            self.last_commit = None if target is None else ledger.identity(target)[1]

    def part_of(self, segment: str, content_id: str) -> RangeOnHub | None:
        """Return the range that a file with this content has; None if the ledger does not know it."""
        for part in self._parts.get(segment, []):
            for end, known in ((part.end, part.content_id), (part.sending_end, part.sending_id)):
                if known == content_id and end is not None:
                    return RangeOnHub(part.number, end - part.start, part.start)
        return None

    def lines(self, segment: str, held: Iterable[RangeOnHub], commits: Sequence[str]) -> Iterator[bytes]:
        """Yield the whole lines of a segment that no part holds.

        Args:
            segment: its file name.
            held: what the repository holds of it at a commit.
            commits: that commit and those before it; if they lack `last_commit`, the answer was not the newest, and
                what the ledger calls acknowledged may not be in `held`.
        """
        known = self._parts.get(segment, [])
        starts = {part.number: part.start for part in known}
        gone = {part.number: part for part in known if part.closed in _GONE}
        is_newest = self.last_commit is None or self.last_commit in commits
        ranges = [(part.start, part.end) for part in (known if is_newest else gone.values())]
        end = 0
        for part in sorted(held, key=lambda each: each.number):
            if part.number in gone:  # its file may have other rows, and so another size
                end = gone[part.number].end
                continue
            start = part.start if part.start is not None else starts.get(part.number, end)
            end = start + part.size
            ranges.append((start, end))
        file = self.files[segment]
        for start, stop in uncovered(0, os.fstat(file.fileno()).st_size, ranges):
            file.seek(start)
            while file.tell() < stop and (line := file.readline()).endswith(b"\n"):
                yield line


def pending_segments(folder: Path, target: Target) -> list[PendingSegments]:
    """Return the segments of all spools in a folder whose rows go to a repository and revision.

    Args:
        folder: the folder of one or more schedulers, or a spool.
        target: the repository.

    Raises:
        FileNotFoundError: there is no such folder.
        HFValidationError: the rows of all its schedulers go elsewhere.
    """
    if not folder.is_dir():
        raise FileNotFoundError(2, "There is no such folder of a scheduler", str(folder))
    wanted = Destination.of(target.endpoint, target.repo_id, target.repo_type, target.revision)
    here = SpoolFolder.read(folder)
    found = []
    spools = [here] if here else [*spool_folders(folder)]
    for spool in spools:
        there = spool.destination
        same = (there.repo_type, there.revision) == (wanted.repo_type, wanted.revision)
        if same and (here or there.repo_id in (wanted.repo_id, wanted.repo_id.partition("/")[2])):
            found.append(PendingSegments(spool))
    if spools and not found:
        raise HFValidationError(
            f"No scheduler of {folder} sends rows to {target.name_and_revision}.",
            hint="`hubspool status FOLDER` says where its rows go.",
        )
    return found
