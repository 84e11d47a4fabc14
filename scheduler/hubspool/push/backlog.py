"""What of a folder or a spool is not on the Hub, told from the disk and the ledger without a request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from hubspool.errors import HubspoolError
from hubspool.push import rules
from hubspool.push.defaults import DEFAULTS
from hubspool.push.ledger import Ledger
from hubspool.push.lines import count_lines
from hubspool.push.scan import scan
from hubspool.spool.destination import SpoolFolder, spool_folders
from hubspool.spool.owners import Owner, owner_of

logger = logging.getLogger(__name__)

#: Spools that this process has warned of.
_told: set[Path] = set()


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
                spool.address,
            )
