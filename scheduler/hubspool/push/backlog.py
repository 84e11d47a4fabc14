"""What of a folder or a spool is not on the Hub, told from the disk and the ledger without a request.

`Backlog` has the numbers, `PendingSegments` the rows of spools that a commit does not hold.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hubspool.client.target import Target
from hubspool.errors import HFValidationError, HubspoolError
from hubspool.push import rules
from hubspool.push.defaults import DEFAULTS
from hubspool.push.ledger import Ledger
from hubspool.push.lines import count_lines
from hubspool.push.part import Closed
from hubspool.push.published import uncovered
from hubspool.push.scan import scan
from hubspool.spool.destination import Destination, SpoolFolder, spool_folders
from hubspool.spool.owners import Owner, owner_of
from hubspool.spool.segment_name import segments_in

logger = logging.getLogger(__name__)

#: Spools that this process has warned of.
_told: set[Path] = set()
#: Of parts that no commit needs to hold.
_GONE = (Closed.MOVED, Closed.REMOVED, Closed.FOREIGN)


@dataclass(frozen=True)
class Backlog:
    """What of a folder or a spool is on the Hub, and what is not.

    Args:
        rows, bytes: acknowledged lines and bytes of files that are still in the folder.
        pending_files, pending_bytes: files that are not wholly sent, and the bytes that are not.
        pending_rows: the lines in these bytes; None if they were not counted. A user's files need not consist of lines.
        in_doubt: parts that were sent and whose outcome is unknown.
        writers: segments that a living process writes.
        second_look: seconds since the epoch until which segments wait whose ledger was lost; None if none does.
    """

    rows: int
    bytes: int
    pending_files: int
    pending_bytes: int
    pending_rows: int | None
    in_doubt: int
    writers: int
    second_look: float | None


def backlog(
    folder: Path,
    ledger: Ledger,
    target: int | None,
    chosen: Callable[[str], bool],
    *,
    is_spool: bool,
    counts_rows: bool = False,
) -> Backlog:
    """Return the backlog of a folder for one target of its ledger; None means that nothing was ever sent.

    To count rows reads all pending bytes.
    """
    snapshot = scan(folder, {} if target is None else ledger.settled(target), chosen, is_spool=is_spool)
    parts = {} if target is None else ledger.parts(target)
    files = {**snapshot.segments, **snapshot.changed}
    recovering = ledger.recovering(target or 0)
    pending: list[tuple[str, int, int]] = []
    for source, stat in files.items():
        of_source = parts.get(source, [])
        if source in recovering or not is_spool:
            found = recovering[source][1] if source in recovering else rules.position_of(of_source)
            gaps = [(found, stat.size)]
        else:
            gaps = rules.missing(of_source, stat.size)
        pending += [(source, start, end) for start, end in gaps if start < end]
    names = {source for source, *_ in pending}
    sent = [part for of_source in parts.values() for part in of_source]
    owners = [owner_of(folder / source, stat, snapshot.taken_ns) for source, stat in snapshot.segments.items()]
    looks = [recovering[source][0] or time.time() for source in names if source in recovering]
    lines = sum(count_lines(folder / source, start, end) for source, start, end in pending if counts_rows)
    return Backlog(
        rows=sum(part.rows for part in sent),
        bytes=sum(part.end - part.start for part in sent),
        pending_files=len(names),
        pending_bytes=sum(end - start for _, start, end in pending),
        pending_rows=lines if counts_rows else None,
        in_doubt=sum(part.in_doubt for part in sent),
        writers=owners.count(Owner.ALIVE),
        second_look=max(looks) + DEFAULTS.second_look_seconds if looks else None,
    )


def spool_target(ledger: Ledger, spool: SpoolFolder) -> int | None:
    """Return the number of a spool's destination in its ledger; None if nothing was ever sent."""
    named = [key for key, (target, path) in ledger.targets().items() if spool.destination.is_target(target, path)]
    seen = [key for key in ledger.targets() if spool.hub_id is not None and ledger.identity(key)[0] == spool.hub_id]
    return next(iter([*seen, *named]), None)


def spool_backlog(spool: SpoolFolder, ledger: Ledger, *, counts_rows: bool = False) -> Backlog:
    """Return the backlog of a spool."""
    target = spool_target(ledger, spool)
    return backlog(spool.path, ledger, target, lambda _: True, is_spool=True, counts_rows=counts_rows)


def warn_of_unsent(folder: Path, known: Collection[Path]) -> None:
    """Warn once a process of each spool of a folder, but for those in `known`, whose rows nobody sends.

    Their repository was mistyped or is lost, or the program that wrote them runs no more.
    """
    found: list[SpoolFolder] = []
    with suppress(OSError):  # the folder cannot be read now, which the push reports
        found = spool_folders(folder)
    for spool in found:
        if spool.path in known or spool.path in _told or not any(spool.path.glob("*.jsonl")):
            continue
        try:
            with closing(Ledger(spool.state)) as ledger:
                left = spool_backlog(spool, ledger)
        except (HubspoolError, OSError):  # a start does not fail because of another scheduler's files
            continue
        if not left.writers and (left.pending_bytes or left.in_doubt):
            _told.add(spool.path)
            logger.warning(
                "%s holds rows for the %s that are not known to be on the Hub, and no scheduler of this process sends"
                " them yet. Start theirs, or run `hubspool flush %s`; to send them elsewhere, add --from %s --to REPO",
                spool.path,
                spool.destination,
                folder,
                spool.selector,
            )


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


def pending_segments(folder: Path, target: Target, inside: str = "") -> list[PendingSegments]:
    """Return the segments of all spools in a folder whose rows go to a repository and revision.

    Args:
        folder: the folder of one or more schedulers, or a spool.
        target: the repository.
        inside: only of schedulers that write to this folder of it, or below; empty for all of it.

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
        same = same and (not inside or f"{there.path_in_repo}/".startswith(f"{inside}/"))
        if same and (here or there.repo_id in (wanted.repo_id, wanted.repo_id.partition("/")[2])):
            found.append(PendingSegments(spool))
    if spools and not found:
        raise HFValidationError(
            f"No scheduler of {folder} sends rows to {'/'.join(filter(None, [target.name_and_revision, inside]))}.",
            hint="`hubspool status FOLDER` says where its rows go.",
        )
    return found
