"""Plans the uploads of segments."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from itertools import chain

from hubspool.errors import second_look_reason
from hubspool.push import lines, rules
from hubspool.push.compare import digests
from hubspool.push.context import PushContext
from hubspool.push.lines import Kind
from hubspool.push.part import Closed, Part
from hubspool.push.plan import PlanRun, PushPlan, ScannedFile
from hubspool.push.published import uncovered
from hubspool.push.remote import RemoteFile
from hubspool.push.remote_bucket import RemoteBucket
from hubspool.push.rules import FoundRange
from hubspool.spool.owners import Owner, is_of_future, is_removable, owner_of
from hubspool.spool.segment_name import SegmentName, flat_path

logger = logging.getLogger(__name__)


class SegmentPlanner:
    """Plans the uploads of segments. Used by the pushing thread only."""

    def __init__(self, context: PushContext) -> None:
        self.context = context

    def plan(self, segment: ScannedFile, run: PlanRun) -> None:
        """Add the uploads of one segment to the plan."""
        name = SegmentName.of(segment.source)
        if name.suffix != self.context.payloads.suffix:
            return  # a scheduler with its encoding sends it
        owner = owner_of(segment.path, segment.stat, run.taken_ns, self._first_seen(segment, name, run))
        if owner is Owner.ALIVE and not name.is_of_this_host:
            sent = rules.position_of(segment.parts)
            run.plan.postpone(segment.source, sent, segment.stat.size, "the host that writes it sends it")
            if is_of_future(segment.stat, run.taken_ns):  # that host's clock was wrong: it may be long gone
                run.plan.skipped[segment.source] = "its time is in the future; sent once unchanged here for 15 minutes"
            return
        parts: list[Part] | None = segment.parts
        if segment.source in run.recovering:
            parts = self._recovered(segment, run)
        elif segment.settled == segment.stat and not any(part.in_doubt for part in segment.parts):
            self._note_removable(segment, owner, segment.parts, [], run)
            return
        if parts is not None:
            self._plan_lines(segment, owner, parts, run)

    def _first_seen(self, segment: ScannedFile, name: SegmentName, run: PlanRun) -> int | None:
        if name.is_of_this_host or segment.stat.mtime_ns <= run.taken_ns:
            return None
        return self.context.ledger.first_seen(segment.source, segment.stat, run.taken_ns)

    def _plan_lines(self, segment: ScannedFile, owner: Owner, parts: list[Part], run: PlanRun) -> None:
        context, plan, size = self.context, run.plan, segment.stat.size
        if (until := self._held_back_until(segment.source, parts)) is not None:
            plan.waits_until = max(plan.waits_until, until)
            sent = max((part.end for part in parts), default=0)
            plan.postpone(segment.source, sent, size, second_look_reason(until))
            return
        parts = self._close_rewritten(segment, parts, run)
        end = lines.cut(segment.path, Kind.TEXT, rules.position_of(parts), size)
        parts = self._without_removed(segment, parts, end, run)
        ranges = self._new_ranges(segment, parts, end, run)
        parts = self._close_full_encoding(segment, parts, ranges, run)
        for upload in rules.plan_segment(segment.source, parts, ranges, context.naming, run.now, context.limits):
            digest = digests(segment.path, upload.part.start, [upload.end])[0]
            if upload.is_repeat and digest.sha256 != upload.part.sending_sha256:
                plan.skipped[segment.source] = "bytes that were sent with an unknown outcome are damaged on this disk"
            else:
                plan.uploads[upload] = digest
        if owner is Owner.ALIVE:
            plan.postpone(segment.source, end, size, "its last line is not complete")
        # A live segment whose lines are all sent is settled until it grows. After the last newline of a dead segment
        # there are only bytes that its writer never acknowledged.
        if owner is not Owner.ALIVE or end == size:
            plan.settled[segment.source] = segment.stat
        self._note_removable(segment, owner, parts, ranges, run)

    def _held_back_until(self, source: str, parts: list[Part]) -> float | None:
        """Return when a segment may be sent whose last commit is in doubt, and must not land after what follows."""
        held, memory = self.context.memory.manifests.held, self.context.memory
        doubtful = [part.sent_at or 0.0 for part in parts if part.in_doubt and held(part.path)]
        doubt = max(doubtful) + self.context.limits.second_look_seconds if doubtful else None
        return memory.held_back.get(source, doubt)

    def _is_over(self, source: str, run: PlanRun) -> bool:
        """Return True if the rows of a segment are too old to be sent (`retain_days`), by this clock and by the Hub's.

        A clock that is far ahead would take all pending rows away.
        """
        days, hub_at = self.context.retain_days, self.context.memory.hub_at
        if days is None or hub_at is None:
            return False
        today = min(datetime.fromtimestamp(run.now, timezone.utc), hub_at).date()
        return (today - SegmentName.of(source).day).days > days

    def _without_removed(self, segment: ScannedFile, parts: list[Part], end: int, run: PlanRun) -> list[Part]:
        """Return the parts, with those of lines that were removed from this disk or are too old: none is sent."""
        gaps, path = rules.missing(parts, end), segment.path
        if gaps and self._is_over(segment.source, run):
            removed = [(*gap, lines.count_lines(path, *gap)) for gap in gaps]
            rows = sum(count for *_, count in removed)
            why = f"{rows} rows are older than retain_days={self.context.retain_days}, and are not sent"
            logger.warning("%s: %s", segment.source, why)
            self.context.memory.expired[segment.source] = why
        else:
            removed = [(*line, 1) for gap in gaps for line in lines.removed_lines(path, *gap)]
        if not removed:
            return parts
        known = rules.removed_parts(segment.source, parts, removed)
        run.plan.parts.extend(known[: len(removed)])
        return known

    def _new_ranges(self, segment: ScannedFile, parts: list[Part], end: int, run: PlanRun) -> list[tuple[int, int]]:
        """Return the ranges of the lines up to `end` that no part has: one for each part, without damaged lines."""
        path, numbers = segment.path, self.context.limits
        new = rules.position_of(parts)
        missing = [(*gap, self.context.payloads.damaged(path, *gap)) for gap in rules.missing(parts, end)]
        damaged = [line for *_, lines_in in missing for line in lines_in if line[0] >= new]
        if damaged:
            where = ", ".join(str(begin) for begin, _ in damaged[:5])
            run.plan.skipped[f"{segment.source}#damaged"] = (
                f"{len(damaged)} damaged lines are kept and not sent (at byte {where})"
            )
        ranges: list[tuple[int, int]] = []
        first = rules.bytes_left(parts, run.now, numbers)
        for begin, stop in chain.from_iterable(uncovered(start, end, bad) for start, end, bad in missing):
            ends = lines.line_ends(path, begin, stop, numbers.part_bytes, first)
            ranges.extend(zip((begin, *ends), ends, strict=False))
            first = numbers.part_bytes
        return ranges

    def _close_rewritten(self, segment: ScannedFile, parts: list[Part], run: PlanRun) -> list[Part]:
        """Close the open part if its bytes on this disk differ from those on the Hub, which must stay."""
        last, path = rules.open_part(parts, run.now, self.context.limits), segment.path
        if last is None or last.sha256 is None or digests(path, last.start, [last.end])[0].sha256 == last.sha256:
            return parts
        run.plan.skipped[f"{last.source}#damaged"] = (
            f"bytes {last.start} to {last.end} are damaged on this disk; the Hub has them undamaged"
        )
        return _close_last(run.plan, parts, Closed.REWRITTEN)

    def _close_full_encoding(
        self, segment: ScannedFile, parts: list[Part], ranges: list[tuple[int, int]], run: PlanRun
    ) -> list[Part]:
        """Close the open part if its encoded file cannot be extended by the next rows."""
        last, path = rules.open_part(parts, run.now, self.context.limits), segment.path
        if last is None or last.content_id is None or not ranges or ranges[0][0] != last.end:
            return parts
        end = ranges[0][1]
        if self.context.payloads.can_extend(path, last, end, digests(path, last.start, [end])[0]):
            return parts
        return _close_last(run.plan, parts, Closed.ENCODED)

    def _recovered(self, segment: ScannedFile, run: PlanRun) -> list[Part] | None:
        """Look for the parts of a segment whose ledger was lost; return them after the second look, None before it."""
        context, source = self.context, segment.source
        looked_at, found_bytes = run.recovering[source]
        end = lines.cut(segment.path, Kind.TEXT, 0, segment.stat.size)
        is_last = rules.is_second_look(looked_at, run.now, context.limits)
        if looked_at is None or is_last:
            parts = self._parts_on_hub(segment, run)
            if is_last:
                context.ledger.end_recovery(context.key, source, parts)
                return parts
            missing = sum(stop - start for start, stop in rules.missing(parts, end))
            looked_at, found_bytes = run.now, end - missing
            context.ledger.look(context.key, source, looked_at, found_bytes)
        if end > found_bytes:
            until = looked_at + context.limits.second_look_seconds
            run.plan.waits_until = max(run.plan.waits_until, until)
            run.plan.postpone(source, found_bytes, end, second_look_reason(until))
        return None

    def _parts_on_hub(self, segment: ScannedFile, run: PlanRun) -> list[Part]:
        """Return the parts of a segment as the ledger and the Hub have them."""
        context, source, known = self.context, segment.source, segment.parts
        if not isinstance(context.repo, RemoteBucket):
            found = self._found_ranges(segment, run)
            return rules.recovered_parts(source, known, found, context.naming, run.now)
        ranges = context.repo.ranges(context.naming.prefix, source)
        parts = rules.recovered_ranges(source, known, ranges, context.naming, run.now)
        return [replace(p, rows=p.rows or lines.count_lines(segment.path, p.start, p.end)) for p in parts]

    def _found_ranges(self, segment: ScannedFile, run: PlanRun) -> list[FoundRange]:
        """Return the ranges of a segment that the files at its part paths hold.

        A file with other bytes is a part that a person has changed: its rows are not sent again. Its end is known only
        where as many bytes end a line, or where the next part begins.
        """
        source, path = segment.source, segment.path
        joined, files = self.context.memory.manifests.of_segment(source), self._part_files(source, run)
        damaged = dict(lines.damaged_lines(path, 0, segment.stat.size))
        found: dict[int, FoundRange] = {}

        def starts(number: int) -> list[int]:
            """Where a part may begin: where the one before it ends, or another one."""
            before = found[number - 1].end if number - 1 in found else 0
            return [_after(damaged, start) for start in dict.fromkeys([before, 0, *(e.end for e in found.values())])]

        def note(number: int, start: int, end: int) -> None:
            content_id = joined[number].digest if number in joined else files[number].content_id
            found[number] = FoundRange(number, start, end, lines.count_lines(path, start, end), content_id)

        left, before = sorted({*joined, *files}), None
        while left and len(left) != before:  # each part that is found may be what another one begins after
            before = len(left)
            for number in left:
                if number in joined:  # whatever stands at its path
                    held = self.context.payloads.range_of_joined(path, joined[number], starts(number))
                else:
                    part = self.context.naming.segment_part(source, number, starts(number)[0], run.now)
                    held = self.context.payloads.range_on_hub(path, part, files[number], run.reader, anywhere=0)
                if held is not None:
                    note(number, *held)
            left = [number for number in left if number not in found]
        for number in left:
            start = starts(number)[0]
            size = joined[number].size if number in joined else files[number].size
            end = _end_by_size(segment, number, start, start + size, found)
            if end > start or number in joined:
                note(number, start, end)
        return [found[number] for number in sorted(found)]

    def _part_files(self, source: str, run: PlanRun) -> dict[int, RemoteFile]:
        """Return the files at the part paths of a segment, by the number of the part.

        They may be beside the folder of the month, where earlier versions put them.
        """
        found: dict[int, RemoteFile] = {}
        joined = self.context.memory.manifests.of_segment(source)
        step = self.context.limits.probe_paths
        for first in range(0, self.context.limits.probe_limit, step):
            numbers = range(first, first + step)
            paths = {self.context.naming.segment_part(source, i, 0, run.now).path: i for i in numbers}
            paths |= {flat_path(path): number for path, number in paths.items()}
            files = run.reader.files([*paths])
            found.update((paths[path], file) for path, file in files.items())
            if any(number not in found and number not in joined for number in numbers):
                break
        return found

    def _note_removable(
        self, segment: ScannedFile, owner: Owner, parts: list[Part], new: list[tuple[int, int]], run: PlanRun
    ) -> None:
        sent = [(part.start, part.sent_end) for part in parts if part.sent_end > part.start]
        if is_removable(owner, segment.stat.size, sorted([*sent, *new])) and self._is_certain(parts, run):
            run.plan.removable[segment.source] = segment.stat.size

    def _is_certain(self, parts: list[Part], run: PlanRun) -> bool:
        """Return True if no part is on the Hub only by the word of one look; look a second time if that is due."""
        context = self.context
        once = [part for part in parts if part.sent_at is not None and not part.in_doubt]
        if any(not rules.is_second_look(part.sent_at, run.now, context.limits) for part in once):
            return False
        if not once:
            return True
        head = context.repo.head()
        joined = context.after_joins(head, once)
        if any(joined.get((part.source, part.number), part).end < part.end for part in once):
            context.ledger.recover([once[0].source])  # the first look has seen what landed after the join
            return False
        once = [part for part in once if (part.source, part.number) not in joined]
        files = context.repo.at(head.oid).files([part.path for part in once])
        if any(part.path not in files or files[part.path].content_id != part.content_id for part in once):
            return False
        run.plan.parts.extend(replace(part, sent_at=None) for part in once)
        return True


def _end_by_size(segment: ScannedFile, number: int, start: int, end: int, found: Mapping[int, FoundRange]) -> int:
    """Return the end of a part with other bytes, which begins at `start`; `start` itself if it cannot be told."""
    following = min((each.start for each in found.values() if each.start >= start), default=segment.stat.size)
    if number + 1 in found:
        return following
    return end if end <= following and lines.cut(segment.path, Kind.TEXT, start, end) == end else start


def _after(damaged: Mapping[int, int], position: int) -> int:
    """Return where the first line from `position` on begins that is not damaged."""
    while position in damaged:
        position = damaged[position]
    return position


def _close_last(plan: PushPlan, parts: list[Part], reason: Closed) -> list[Part]:
    closed = replace(parts[-1], closed=reason)
    plan.parts.append(closed)
    return [*parts[:-1], closed]
