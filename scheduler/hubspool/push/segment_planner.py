"""Plans the uploads of segments."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

from hubspool.push import lines, rules
from hubspool.push.compare import digests
from hubspool.push.context import PushContext
from hubspool.push.lines import Kind
from hubspool.push.part import Closed, Part
from hubspool.push.plan import PlanRun, PushPlan, ScannedFile
from hubspool.push.remote import RemoteFile
from hubspool.spool.owners import Owner, is_removable, owner_of
from hubspool.spool.segment_name import SegmentName


class SegmentPlanner:
    """Plans the uploads of segments. Used by the pushing thread only."""

    def __init__(self, context: PushContext) -> None:
        self.context = context

    def plan(self, segment: ScannedFile, run: PlanRun) -> None:
        """Add the uploads of one segment to the plan."""
        name = SegmentName.of(segment.source)
        if name.suffix != self.context.payloads.suffix:
            return  # a scheduler with its encoding sends it
        owner = owner_of(segment.path, segment.stat, run.taken_ns)
        if owner is Owner.ALIVE and not name.is_of_this_host:
            run.plan.postponed_bytes += segment.stat.size - rules.position_of(segment.parts)
            return  # its own host sends it
        if segment.settled == segment.stat and not any(part.in_doubt for part in segment.parts):
            _note_removable(run.plan, segment, owner, segment.parts, [])
            return
        self._plan_lines(segment, owner, run)

    def _plan_lines(self, segment: ScannedFile, owner: Owner, run: PlanRun) -> None:
        context, plan, parts, size = self.context, run.plan, segment.parts, segment.stat.size
        if not parts and size:
            parts = self._recovered(segment, run)
            plan.parts.extend(parts)
        parts = self._close_rewritten(segment, parts, run)
        end = lines.cut(segment.path, Kind.TEXT, rules.position_of(parts), size)
        ranges = self._new_ranges(segment, parts, end, run)
        parts = self._close_full_encoding(segment, parts, ranges, run)
        for upload in rules.plan_segment(segment.source, parts, ranges, context.naming, run.now, context.rules):
            digest = digests(segment.path, upload.part.start, [upload.end])[0]
            if upload.is_repeat and digest.sha256 != upload.part.sending_sha256:
                plan.skipped[segment.source] = "bytes that were sent with an unknown outcome are damaged on this disk"
            else:
                plan.uploads[upload] = digest
        if owner is Owner.ALIVE:
            plan.postponed_bytes += size - end
        # A live segment whose lines are all sent is settled until it grows. After the last newline of a dead segment
        # there are only bytes that its writer never acknowledged.
        if owner is not Owner.ALIVE or end == size:
            plan.settled[segment.source] = segment.stat
        _note_removable(plan, segment, owner, parts, ranges)

    def _new_ranges(self, segment: ScannedFile, parts: list[Part], end: int, run: PlanRun) -> list[tuple[int, int]]:
        """Return the ranges of the lines after the parts, up to `end`: one for each part, without damaged lines."""
        path, numbers = segment.path, self.context.rules
        start = rules.position_of(parts)
        damaged = self.context.payloads.damaged(path, start, end)
        if damaged:
            where = ", ".join(str(begin) for begin, _ in damaged[:5])
            run.plan.skipped[f"{segment.source}#damaged"] = (
                f"{len(damaged)} damaged lines are kept and not sent (at byte {where})"
            )
        ranges: list[tuple[int, int]] = []
        first = rules.bytes_left(parts, run.now, numbers)
        for begin, stop in lines.healthy_ranges(damaged, start, end):
            ends = lines.line_ends(path, begin, stop, numbers.part_bytes, first)
            ranges.extend(zip((begin, *ends), ends, strict=False))
            first = numbers.part_bytes
        return ranges

    def _close_rewritten(self, segment: ScannedFile, parts: list[Part], run: PlanRun) -> list[Part]:
        """Close the open part if its bytes on this disk differ from those on the Hub, which must stay."""
        last, path = rules.open_part(parts, run.now, self.context.rules), segment.path
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
        last, path = rules.open_part(parts, run.now, self.context.rules), segment.path
        if last is None or last.content_id is None or not ranges or ranges[0][0] != last.end:
            return parts
        end = ranges[0][1]
        if self.context.payloads.can_extend(path, last, end, digests(path, last.start, [end])[0]):
            return parts
        return _close_last(run.plan, parts, Closed.ENCODED)

    def _recovered(self, segment: ScannedFile, run: PlanRun) -> list[Part]:
        """Find the parts of a segment without ledger rows on the Hub: it is new, or the ledger was lost."""
        source, size, payloads = segment.source, segment.stat.size, self.context.payloads
        files = self._part_files(source, run)
        if not files:
            return []
        ranges = {file.path: found for file in files if (found := payloads.range_on_hub(source, file, run.reader))}
        listed = [(file.path, ranges[file.path].size, file.content_id) for file in files if file.path in ranges]
        damaged = lines.damaged_lines(segment.path, 0, size)
        parts = rules.recovered_parts(source, listed, damaged, self.context.naming, run.now, size)
        return list(takewhile(lambda part: ranges[part.path].start in (None, part.start), parts))

    def _part_files(self, source: str, run: PlanRun) -> list[RemoteFile]:
        """Return the files at the part paths of a segment."""
        found: list[RemoteFile] = []
        step = self.context.rules.probe_paths
        for first in range(0, self.context.rules.probe_limit, step):
            numbers = range(first, first + step)
            files = run.reader.files([self.context.naming.segment_part(source, i, 0, run.now).path for i in numbers])
            found.extend(files.values())
            if len(files) < step:
                break
        return found


def _close_last(plan: PushPlan, parts: list[Part], reason: Closed) -> list[Part]:
    closed = replace(parts[-1], closed=reason)
    plan.parts.append(closed)
    return [*parts[:-1], closed]


def _note_removable(
    plan: PushPlan, segment: ScannedFile, owner: Owner, parts: list[Part], new: list[tuple[int, int]]
) -> None:
    sent = [(part.start, part.sent_end) for part in parts]
    if is_removable(owner, segment.stat.size, [*sent, *new]):
        plan.removable[segment.source] = segment.stat.size
