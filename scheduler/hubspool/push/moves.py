"""Moves rows from one spool of a folder to another, so that each row is in exactly one of them after a kill.

A segment of which nothing was ever sent is renamed. The rest of a segment that was sent in part is copied to a hidden
file, then marked as moved in the ledger of its spool, then renamed into the other spool: the mark decides whether the
copy counts. `finish_moves` gives a copy that was marked and not renamed a name in its old spool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from hubspool.errors import PushLockBusyError
from hubspool.files import Stat, blocks, sync_file, sync_folder
from hubspool.push import lines, rules
from hubspool.push.backlog import spool_target
from hubspool.push.ledger import Ledger
from hubspool.push.part import Closed, Part
from hubspool.push.scan import scan
from hubspool.spool.destination import SpoolFolder
from hubspool.spool.owners import Owner, owner_of
from hubspool.spool.segment_name import SegmentName

_MOVED = ".moved"
#: In the ledger's table of settled files, in place of a target: segments that another spool has.
_MOVED_TARGET = 0


@dataclass
class Moved:
    """What `reroute` did.

    Args:
        rows: number of rows that were moved.
        in_doubt: rows that may be on the Hub, and stay: one text for each range of a segment.
        live: segments that stay because a process writes them.
    """

    rows: int = 0
    in_doubt: list[str] = field(default_factory=list)
    live: list[str] = field(default_factory=list)


def adopt(twin: SpoolFolder, into: Path, ledger: Ledger, target: int) -> bool:
    """Take over the segments of a spool whose rows go to the same files on the Hub, with what its ledger knows of them.

    Args:
        twin: the spool.
        into: the folder that gets the segments.
        ledger: of that folder.
        target: the number of the repository in it.

    Returns:
        False if segments are left, because a process writes them or pushes the spool; call it again later.
    """
    left = False
    try:
        with _locked(twin) as theirs:
            number = spool_target(theirs, twin)
            parts = {} if number is None else theirs.parts(number)
            waiting = theirs.recovering(number or 0)
            for name, stat, owner in _segments(twin.path):
                if owner is Owner.ALIVE:
                    left = True
                    continue
                # Before the rename: a kill between the two repeats both.
                ledger.save(target, parts.get(name, []))
                if name in waiting:
                    ledger.recover([name])
                _move(theirs, twin.path / name, stat, into)
    except PushLockBusyError:
        return False
    return not left


def reroute(old: SpoolFolder, new: SpoolFolder, *, include_doubtful: bool) -> Moved:
    """Move the rows of a spool that are not on the Hub to a spool for another repository.

    Acknowledged rows stay, and their segments with them: the disk may hold the only copy that is left.

    Args:
        old, new: the spools; `new` is created.
        include_doubtful: move also rows that were sent and whose outcome is unknown. They may be in both repositories.

    Raises:
        PushLockBusyError: a process is pushing the old spool.
    """
    found = Moved()
    new.save()
    Ledger(new.state, new.path).close()  # before the rows are there: they need no second look
    with _locked(old) as ledger:
        finish_moves(ledger, old.path)
        key = spool_target(ledger, old)
        known = {} if key is None else ledger.parts(key)
        # Of these the ledger was lost, which knew what the repository has; without an `_id` nothing was ever sent.
        lost = ledger.recovering(key or 0) if old.hub_id is not None else {}
        for name, stat, owner in _segments(old.path):
            parts, path, is_lost = known.get(name, []), old.path / name, name in lost
            doubtful = [(part.end, part.sent_end) for part in parts if part.in_doubt]
            start = rules.position_of(parts)
            unsure = [*doubtful, (start, stat.size)] if is_lost else doubtful
            if owner is Owner.ALIVE:
                found.live.append(name)
                continue
            if unsure and not include_doubtful:
                found.in_doubt += [
                    f"{name}: {lines.count_lines(path, *span)} rows, bytes {span[0]} to {span[1]}" for span in unsure
                ]
                doubtful = []
                if is_lost:
                    continue
            end = lines.cut(path, lines.Kind.TEXT, start, stat.size)
            gaps = rules.missing(parts, end)
            ranges = [*doubtful, *gaps]
            if not parts:
                found.rows += lines.count_lines(path, 0, end)
                _move(ledger, path, stat, new.path)
            elif ranges:
                assert key is not None
                found.rows += sum(lines.count_lines(path, *span) for span in ranges)
                moved = _copy(path, ranges)
                ledger.save(key, _marked(parts, moved, gaps, stat.size, with_doubtful=bool(doubtful)))
                _rename(_hidden(moved), new.path / moved.name)
    if found.rows or old.moved_to is None:  # not over the place to which its rows went before
        replace(old, moved_to=new.address).save()
    return found


def finish_moves(ledger: Ledger, folder: Path) -> None:
    """Make the rows visible that a move took out of their segment before it was killed."""
    for hidden in folder.glob(f".*{_MOVED}"):
        name = hidden.name[1 : -len(_MOVED)]
        is_marked = any(
            part.closed is Closed.MOVED and part.path == name
            for key in ledger.targets()
            for parts in ledger.parts(key).values()
            for part in parts
        )
        if is_marked:
            with suppress(FileNotFoundError):  # another process was faster
                _rename(hidden, folder / name)


@contextmanager
def _locked(spool: SpoolFolder) -> Iterator[Ledger]:
    with closing(Ledger(spool.state, spool.path)) as ledger:
        lock = FileLock(ledger.paths.push_lock, fallback_to_soft=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise PushLockBusyError(spool.path, "", 0.0) from None
        try:
            yield ledger
        finally:
            lock.release()


def _segments(folder: Path) -> list[tuple[str, Stat, Owner]]:
    snapshot = scan(folder, {}, lambda _: True, is_spool=True)
    found = sorted(snapshot.segments.items())
    return [(name, stat, owner_of(folder / name, stat, snapshot.taken_ns)) for name, stat in found]


def _copy(path: Path, ranges: Sequence[tuple[int, int]]) -> Path:
    """Write ranges of a segment to a hidden file; return the path of the segment that it becomes.

    Its name depends on the first range only, so that a move that is repeated after a kill writes the same file.
    """
    name = SegmentName.of(path.name)
    digest = sha256(f"{path.name} {ranges[0][0]}".encode()).hexdigest()
    moved = path.with_name(str(replace(name, writer=name.writer[:-8] + digest[:8])))
    with path.open("rb") as source, _hidden(moved).open("wb") as target:
        for start, end in ranges:
            target.writelines(blocks(source, start, end))
    sync_file(_hidden(moved))
    return moved


def _marked(
    parts: Sequence[Part], moved: Path, gaps: Sequence[tuple[int, int]], size: int, *, with_doubtful: bool
) -> list[Part]:
    """Return the parts after the rows that none of them has, and perhaps those in doubt, were moved."""
    doubtful = [part for part in parts if part.in_doubt and with_doubtful]
    kept = [replace(part.withdrawn(), end=part.sent_end, closed=Closed.MOVED) for part in doubtful]
    last = parts[-1]
    position = rules.position_of(parts)
    ranges = [*(gap for gap in gaps if gap[0] < position), (position, size)]  # a torn last line is never sent
    for number, span in enumerate(ranges, last.number + 1):
        kept.append(Part(last.source, number, moved.name, *span, last.opened_at, closed=Closed.MOVED))
    return kept


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}{_MOVED}")


def _move(ledger: Ledger, path: Path, stat: Stat, folder: Path) -> None:
    """Move a segment to another spool; a process that has it open must not take it for one that somebody removed."""
    ledger.settle(_MOVED_TARGET, [(path.name, stat)])
    _rename(path, folder / path.name)


def _rename(path: Path, to: Path) -> None:
    path.rename(to)
    sync_folder(to.parent)
    sync_folder(path.parent)
