"""From a look at the folder to what is to be sent: the reading that `plan` decides on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from hubspool.errors import HubspoolError, LocalFileError
from hubspool.files import Stat
from hubspool.push import lines, rules
from hubspool.push.compare import Digest, Relation, digests, has_content, relate
from hubspool.push.encodings import Contents
from hubspool.push.lines import Kind
from hubspool.push.part import Closed, Part
from hubspool.push.remote import AskedOnce, HubFile, HubReader, Suspects
from hubspool.push.rules import Naming, OnExisting, Rules, Upload
from hubspool.push.scan import Snapshot, scan
from hubspool.push.tfrecord import begins_record
from hubspool.spool.owners import Owner, owner_of
from hubspool.spool.segment_name import SegmentName

#: Candidate names asked for at once when a segment's parts are looked for on the Hub.
_PROBE = 64
_COMPARE_LIMIT = 32 * 1024 * 1024


@dataclass
class PushPlan:
    """What a push has to do.

    Args:
        uploads: what to send, the user's files first: rows may name them.
        digests: of each upload's range, by (source, part number).
        kinds: of the user's files among them.
        parts: ledger rows that changed without a request.
        settled: files all of which is on the Hub once the uploads are.
        removable: segments whose writer has ended → their size, once all of it is on the Hub.
        skipped: path → why it is not sent.
        waiting: bytes that are left for a later push (an unfinished last line).
    """

    uploads: list[Upload] = field(default_factory=list)
    digests: dict[tuple[str, int], Digest] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    settled: dict[str, Stat] = field(default_factory=dict)
    removable: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    waiting: int = 0

    @property
    def pending_bytes(self) -> int:
        return sum(upload.new_bytes for upload in self.uploads) + self.waiting


@dataclass
class Planner:
    """Surveys one folder. Used by one thread at a time, the holder of the push lock.

    It remembers between two looks what it has decided about a file's kind, and since when a file rests.

    Args:
        progress: called before each file, which may take long to read.
        rest_seconds: how long a file must not have changed before what stands after its last newline goes along.
    """

    folder: Path
    chosen: Callable[[str], bool]
    lock: AbstractContextManager[object]
    naming: Naming
    rules: Rules
    on_existing: OnExisting
    rest_seconds: float
    progress: Callable[[], None]
    suspects: Suspects
    contents: Contents = field(default_factory=Contents)
    clock: Callable[[], float] = time.time
    _kinds: dict[str, Kind] = field(default_factory=dict)
    _seen: dict[str, tuple[Stat, float]] = field(default_factory=dict)
    _paced: dict[str, tuple[int, float]] = field(default_factory=dict)

    def look(self, settled: dict[str, Stat]) -> Snapshot:
        """Return what is not settled; the lock is held only while lengths are fixed."""
        return scan(self.folder, settled, self.chosen, self.lock)

    def survey(
        self,
        snapshot: Snapshot,
        settled: dict[str, Stat],
        known: dict[str, list[Part]],
        hub: HubReader,
        *,
        final: bool,
    ) -> PushPlan:
        """Decide about everything in `snapshot`; `hub` is asked only about paths that the ledger does not know.

        Args:
            settled: files of which nothing is left to do.
            known: the ledger's parts by source.
            final: unfinished last lines go along now, where they are complete rows.
        """
        survey = PushPlan(skipped=dict(snapshot.unreadable))
        hub = AskedOnce(hub, self._questions(snapshot, known))
        for source, stat in sorted(snapshot.changed.items()):
            self._attempt(survey, source, self._file, stat, known.get(source, []), hub, final, snapshot.taken_ns)
        for source, stat in sorted(snapshot.segments.items()):
            look = (stat, known.get(source, []), hub, settled.get(source), snapshot.taken_ns)
            self._attempt(survey, source, self._segment, *look)
        return survey

    def _questions(self, snapshot: Snapshot, known: dict[str, list[Part]]) -> list[str]:
        """Return the paths whose content on the Hub the user's files need to know, for one request."""
        paths = []
        for source in snapshot.changed:
            parts = known.get(source, [])
            candidate = rules.candidate_path(source, parts, self.naming)
            if candidate is not None:
                paths.append(candidate)
            elif parts[-1].in_doubt:
                paths.append(parts[-1].path)
        return paths

    def _attempt(self, survey: PushPlan, source: str, look: Callable[..., None], *args: object) -> None:
        """Run one file's decision; one that cannot be read does not keep the others from being sent."""
        self.progress()
        try:
            look(survey, source, *args)
        except LocalFileError as error:
            survey.skipped[source] = str(error)
        except HubspoolError:
            raise  # a request failed, which is no fault of the file's; many of these are OSErrors too
        except FileNotFoundError:
            pass  # removed since the scan: a local deletion changes nothing on the Hub
        except (OSError, EOFError) as error:
            survey.skipped[source] = str(error)

    def _segment(
        self,
        survey: PushPlan,
        source: str,
        stat: Stat,
        parts: list[Part],
        hub: HubReader,
        settled: Stat | None,
        taken_ns: int,
    ) -> None:
        path = self.folder / source
        if SegmentName.of(source).form != self.contents.form:
            return  # of another scheduler, which knows how its rows are stored
        owner = owner_of(path, stat, taken_ns)
        if owner is Owner.ALIVE and not SegmentName.of(source).is_of_this_host:
            survey.waiting += stat.size - rules.position_of(parts)
            return  # its own host sends it, until it has been left
        if settled == stat and not any(part.in_doubt for part in parts):
            if owner is Owner.GONE and rules.position_of(parts) == stat.size and not _has_gaps(parts):
                survey.removable[source] = stat.size
            return
        now = self.clock()
        if not parts and stat.size:
            parts = self._recover(source, stat, hub, now)
            survey.parts.extend(parts)
        parts = self._without_rewritten(survey, path, parts, now)
        start = rules.position_of(parts)
        end = lines.cut(path, Kind.TEXT, start, stat.size)
        damaged = self.contents.damaged(path, start, end)
        if damaged:
            where = ", ".join(str(begin) for begin, _ in damaged[:5])
            survey.skipped[f"{source}#damaged"] = (
                f"{len(damaged)} damaged lines are kept and not sent (at byte {where})"
            )
        ranges: list[tuple[int, int]] = []
        first = rules.room(parts, now, self.rules)
        for begin, stop in lines.around(damaged, start, end):
            ends = lines.cuts(path, begin, stop, self.rules.part_bytes, first)
            ranges.extend(zip((begin, *ends), ends, strict=False))
            first = self.rules.part_bytes
        parts = self._without_unable(survey, path, parts, ranges, now)
        for upload in rules.plan_segment(source, parts, ranges, self.naming, now, self.rules):
            digest = self._digest(path, upload)[-1]
            if upload.is_repeat and digest.sha256 != upload.part.sending_sha256:
                survey.skipped[source] = "bytes that were sent with an unknown outcome are damaged on this disk"
            else:
                self._add(survey, upload, digest)
        survey.waiting += stat.size - end if owner is Owner.ALIVE else 0
        # A live segment that is all sent is left alone until it grows; of a dead one, what follows the last newline
        # was never acknowledged to its writer.
        if owner is not Owner.ALIVE or end == stat.size:
            survey.settled[source] = stat
        if owner is Owner.GONE and end == stat.size and not damaged and not _has_gaps(parts):
            survey.removable[source] = stat.size

    def _without_rewritten(self, survey: PushPlan, path: Path, parts: list[Part], now: float) -> list[Part]:
        """Close the open part when its bytes on this disk are no longer those on the Hub, which must stay."""
        last = rules.open_part(parts, now, self.rules)
        if last is None or last.sha256 is None or digests(path, last.start, [last.end])[0].sha256 == last.sha256:
            return parts
        closed = replace(last, closed=Closed.REWRITTEN)
        survey.parts.append(closed)
        survey.skipped[f"{last.source}#damaged"] = (
            f"bytes {last.start} to {last.end} are damaged on this disk; the Hub has them whole"
        )
        return [*parts[:-1], closed]

    def _without_unable(
        self, survey: PushPlan, path: Path, parts: list[Part], ranges: list[tuple[int, int]], now: float
    ) -> list[Part]:
        """Close the open part when its encoding cannot take the rows that follow it."""
        last = rules.open_part(parts, now, self.rules)
        if last is None or last.content_id is None or not ranges or ranges[0][0] != last.end:
            return parts
        end = ranges[0][1]
        if self.contents.can_grow(path, last, end, digests(path, last.start, [end])[0]):
            return parts
        survey.parts.append(replace(last, closed=Closed.ENCODED))
        return [*parts[:-1], survey.parts[-1]]

    def _recover(self, source: str, stat: Stat, hub: HubReader, now: float) -> list[Part]:
        """Find the parts of a segment that the ledger does not know: it is new, or the ledger was lost."""
        found: list[HubFile] = []
        for first in range(0, 10_000, _PROBE):
            paths = [self.naming.segment_part(source, first + i, 0, now).path for i in range(_PROBE)]
            files = hub.files(paths)
            found.extend(files.values())
            if len(files) < _PROBE:
                break
        if not found:
            return []
        held = {file.path: self.contents.held(source, file, hub) for file in found}
        listed = [(file.path, span[1], file.content_id) for file in found if (span := held[file.path])]
        damaged = lines.damaged_lines(self.folder / source, 0, stat.size)
        parts = rules.recovered_parts(source, listed, damaged, self.naming, now, stat.size)
        starts = {path: span[0] for path, span in held.items() if span}
        return list(takewhile(lambda part: starts[part.path] in (None, part.start), parts))

    def _file(
        self,
        survey: PushPlan,
        source: str,
        stat: Stat,
        parts: list[Part],
        hub: HubReader,
        final: bool,
        taken_ns: int,
    ) -> None:
        path = self.folder / source
        kind = self._kind(source, stat)
        now = self.clock()
        if parts and parts[-1].in_doubt:
            resolved = self._resolve(survey, path, parts, kind, hub)
            if resolved is None:
                survey.skipped[source] = f"{parts[-1].path} was changed or removed on the Hub by somebody else"
                return
            parts = resolved
        end, rests = self._end(source, kind, stat, parts, final)
        if not end and kind.is_lines:
            survey.waiting += stat.size
            return  # an empty data file makes no row and may keep the dataset from loading
        relation, remote_id = Relation.ABSENT, None
        while candidate := rules.candidate_path(source, parts, self.naming):
            parts, relation, remote_id = self._relate(survey, path, source, kind, end, parts, candidate, hub)
            tried = parts[-1] if parts and not parts[-1].closed else self.naming.part(source, len(parts), 0, now)
            ended = rules.met(tried, kind, relation, self.on_existing)
            if ended is None:
                break
            # Others' rows stand there. The next name may hold what we sent before the ledger was lost: look again.
            survey.parts.append(ended)
            parts = [*parts[: tried.number], ended]
        last_part = parts[-1] if parts else None
        intact = same = False
        if last_part is not None and last_part.sha256 is not None:
            reach = [e for e in (last_part.end, end) if last_part.start <= e]
            found = digests(path, last_part.start, sorted(reach), last_part.head) if stat.size >= last_part.end else []
            intact = bool(found) and found[0 if end >= last_part.end else -1].sha256 == last_part.sha256
            same = intact and end == last_part.end
        decision = rules.plan_file(
            source,
            kind,
            parts,
            end,
            intact=intact,
            same=same,
            relation=relation,
            remote_id=remote_id,
            header=lines.header_end(path, end) if kind is Kind.TABLE else 0,
            on_existing=self.on_existing,
            naming=self.naming,
            now=now,
        )
        survey.parts.extend(decision.parts)
        if decision.refused:
            survey.skipped[source] = decision.refused
            return
        if decision.upload is not None and kind is Kind.RECORDS and not self._is_due(decision.upload, final):
            survey.waiting += stat.size - decision.upload.part.end
            return
        if decision.upload is not None:
            survey.kinds[source] = kind
            self._add(survey, decision.upload, self._digest(path, decision.upload)[-1])
        survey.waiting += stat.size - end
        if (rests or end == stat.size) and not stat.is_racy(taken_ns):
            survey.settled[source] = stat

    def _relate(
        self,
        survey: PushPlan,
        path: Path,
        source: str,
        kind: Kind,
        end: int,
        parts: list[Part],
        candidate: str,
        hub: HubReader,
    ) -> tuple[list[Part], Relation, str | None]:
        """Compare the file with what stands at `candidate`, and take as acknowledged what both have."""
        remote = hub.files([candidate]).get(candidate)
        relation = relate(path, end, remote, lambda length: hub.read(candidate, 0, length), _COMPARE_LIMIT)
        longer = relation is Relation.HUB_EXTENDS and kind.is_lines
        if remote is None or not (longer or relation in (Relation.EQUAL, Relation.LOCAL_EXTENDS)):
            return parts, relation, remote.content_id if remote else None
        last = parts[-1] if parts else None
        if last is None or last.path != candidate:
            last = self.naming.part(source, len(parts), 0, self.clock())
        content = digests(path, 0, [min(remote.size, end)])[0]
        part = rules.adopted(last, min(remote.size, end), content.rows, content.sha256, remote.content_id)
        if longer:  # it ends otherwise on the Hub: what is written here from now on goes to a path of its own
            part = replace(part, closed=Closed.FOREIGN)
        survey.parts.append(part)
        return [*parts[: part.number], part], relation, remote.content_id

    def _resolve(
        self, survey: PushPlan, path: Path, parts: list[Part], kind: Kind, hub: HubReader
    ) -> list[Part] | None:
        """Tell what became of a commit in doubt; None while the answer may be a stale read.

        What stands there may also be the content of an earlier commit that was taken for lost: any content that the
        local file begins with is ours.
        """
        last = parts[-1]
        remote = hub.files([last.path]).get(last.path)
        rows = lines.count_lines(path, last.start, last.sending_end or last.start)
        part = rules.resolved(last, rows, remote.content_id if remote else None)
        if part is None and remote and has_content(path, remote.size, remote.content_id, last.start, last.head):
            end = last.start + remote.size - last.head
            content = digests(path, last.start, [end], last.head)[0]
            part = rules.adopted(last, end, content.rows, content.sha256, remote.content_id)
        if part is None:
            if not self.suspects.is_certain(last.path, self.clock()):
                return None
            part = rules.after_foreign_change(last, kind)
        self.suspects.clear(last.path)
        survey.parts.append(part)
        return [*parts[:-1], part]

    def _kind(self, source: str, stat: Stat) -> Kind:
        kind = self._kinds.get(source) or lines.kind_by_name(source)
        if kind is Kind.UNDECIDED:
            kind = lines.kind_of_json(self.folder / source, stat.size)
        if kind is not Kind.UNDECIDED:
            self._kinds[source] = kind
        return kind

    def _end(self, source: str, kind: Kind, stat: Stat, parts: list[Part], final: bool) -> tuple[int, bool]:
        """Return up to where a file is sent now, and whether nothing more of it is expected while it stays as it is."""
        if kind is Kind.WHOLE:
            return stat.size, True
        seen, since = self._seen.get(source, (None, 0.0))
        if seen != stat:
            since = self.clock()
            self._seen[source] = (stat, since)
        last = parts[-1].end if parts and parts[-1].end <= stat.size else 0
        begin = last if _ends_unit(self.folder / source, kind, last) else 0
        end = lines.cut(self.folder / source, kind, begin, stat.size)
        rests = final or self.clock() - since >= self.rest_seconds
        if end < stat.size and rests and lines.tail_is_complete(self.folder / source, kind, end, stat.size):
            end = stat.size
        return max(end, last if begin else 0), rests and not final

    def _is_due(self, upload: Upload, final: bool) -> bool:
        """Whether a record file is sent now, or gathers more first.

        The first look of this object knows of no earlier push: what the last process left goes at once.
        """
        part = upload.part
        size, since = self._paced.get(part.source, (-1, 0.0))
        if size != part.end:
            since = self.clock() if part.source in self._paced else 0.0
            self._paced[part.source] = (part.end, since)
        return final or rules.is_due(part.end, upload.new_bytes, self.clock() - since, self.rules)

    def _digest(self, path: Path, upload: Upload) -> list[Digest]:
        return digests(path, upload.part.start, [upload.end], upload.part.head)

    def _add(self, survey: PushPlan, upload: Upload, digest: Digest) -> None:
        survey.uploads.append(upload)
        survey.digests[upload.part.source, upload.part.number] = digest


def _has_gaps(parts: list[Part]) -> bool:
    """Whether lines of the segment were left out as damaged; it is then kept for somebody to look at."""
    starts = [part.start for part in parts]
    return starts != [0, *(part.end for part in parts)][: len(starts)]


def _ends_unit(path: Path, kind: Kind, position: int) -> bool:
    """Whether a cut may be looked for from `position` on.

    A tail without a newline may have been sent when the writer rested; a table's quotes are counted from its start.
    """
    if position == 0 or kind is Kind.TABLE:
        return False
    if kind is Kind.RECORDS:
        return begins_record(path, position)
    with path.open("rb") as file:
        file.seek(position - 1)
        return file.read(1) == b"\n"
