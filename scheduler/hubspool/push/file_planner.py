"""Plans the uploads of the user's files."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from hubspool.errors import FileReplacedError
from hubspool.files import open_regular
from hubspool.push import lines, rules
from hubspool.push.compare import Relation, digests, relate
from hubspool.push.context import PushContext
from hubspool.push.lines import Kind
from hubspool.push.part import Closed, Part
from hubspool.push.plan import PlanRun, ScannedFile
from hubspool.push.remote import RemoteFile
from hubspool.push.rules import FileState, Upload
from hubspool.push.tfrecord import begins_record

logger = logging.getLogger(__name__)
#: Why bytes after the last cut of a file are left.
_UNFINISHED = "its last line is not complete"


class FilePlanner:
    """Plans the uploads of the user's files in one push."""

    def __init__(self, context: PushContext) -> None:
        self.context = context
        self.memory = context.memory

    def plan(self, file: ScannedFile, run: PlanRun) -> None:
        """Add the upload of one file to the plan, if it has one."""
        plan, stat, kind = run.plan, file.stat, self._kind(file)
        if not run.is_locked and not kind.is_lines:
            plan.postpone(file.source, 0, stat.size, "scheduler.lock is held: a program may be writing the file")
            return
        parts = self._resolve(file, kind, run)
        if parts is None:
            plan.skipped[file.source] = f"{file.parts[-1].path} was changed or removed on the Hub by somebody else"
            return
        end, is_complete = self._cut(file, kind, parts, run)
        if not end and not self._is_mark(file, kind, run):
            plan.postpone(file.source, 0, stat.size, _UNFINISHED)
            return
        header = lines.header_end(file.path, kind, end)
        versions = self.context.versions_rewritten
        state = FileState(file.source, kind, parts, end, header, versions_rewritten=versions)
        state = _with_committed(file, self._compare(file, state, run))
        decision = rules.plan_file(state, self.context.on_existing, self.context.naming, run.now)
        plan.parts.extend(decision.parts)
        self._tell_of_rewritten(decision.parts)
        upload = decision.upload
        if decision.refused:
            plan.skipped[file.source] = decision.refused
        elif upload is not None and kind is Kind.RECORDS and not self._is_due(upload, run):
            plan.postpone(file.source, upload.part.end, stat.size, "it gathers records first")
        else:
            if upload is not None:
                plan.kinds[file.source] = kind
                digest = digests(file.path, upload.part.start, [upload.end], upload.part.head)[-1]
                if digest.identity[1] != stat.inode:
                    raise FileReplacedError(f"{file.path} was replaced by another file.", path=file.path)
                plan.uploads[upload] = digest
            plan.postpone(file.source, end, stat.size, _UNFINISHED)
            if is_complete and not stat.is_racy(run.taken_ns):
                plan.settled[file.source] = stat

    def _resolve(self, file: ScannedFile, kind: Kind, run: PlanRun) -> list[Part] | None:
        """Find the outcome of a commit in doubt and return the parts; None while the answer may be a stale read.

        The content at the path may also be that of an earlier commit that counted as lost: any content that the local
        file begins with is ours.
        """
        if not file.parts or not file.parts[-1].in_doubt:
            return file.parts
        last = file.parts[-1]
        remote = run.file_at(last.path)
        rows = lines.count_lines(file.path, last.start, last.sending_end or last.start)
        part = rules.resolved(last, rows, remote.content_id if remote else None)
        found = self.context.payloads.verified_end(file.path, last, remote, run.reader) if remote else None
        if part is None and remote and found is not None and found >= last.end:  # less than that is a stale read
            part = _adopted(file.path, last, found, remote.content_id)
        if part is None:
            if not self.memory.foreign_changes.is_certain(last.path, run.now):
                return None
            part = self.context.payloads.closed_by_others(file.path, last, kind, remote, run.reader)
        self.memory.foreign_changes.clear(last.path)
        run.plan.parts.append(part)
        return [*file.parts[:-1], part]

    def _kind(self, file: ScannedFile) -> Kind:
        """Return the kind of a file; that of a ``.json`` is decided anew at each change, by its content."""
        if self.context.is_versioned(file.source):
            return Kind.WHOLE
        kind = Kind.PLAIN_TABLE if file.source in self.memory.plain_tables else lines.kind_by_name(file.source)
        if kind is Kind.UNDECIDED:
            kind = lines.kind_of_json(file.path, file.stat.size)
        if kind is Kind.ONE_LINE and any(part.rows > 1 for part in file.parts):
            return Kind.JSON_LINES  # a file of rows that begins anew
        return kind

    def _cut(self, file: ScannedFile, kind: Kind, parts: list[Part], run: PlanRun) -> tuple[int, bool]:
        """Return the end of the range to send now, and whether no more is sent while the file stays as it is."""
        size = file.stat.size
        if kind is Kind.WHOLE:
            return size, True
        rests = self._rests(file, run)
        start = _search_start(file, kind, parts)
        end = lines.cut(file.path, kind, start, size)
        if kind is Kind.TABLE and self._is_unbalanced(file, end, run):
            end = lines.cut(file.path, Kind.PLAIN_TABLE, end, size)
        is_due = rests or (run.plan.final and run.is_locked)
        if end < size and is_due and lines.tail_is_complete(file.path, kind, end, size):
            end = size
        end = max(end, start)
        return end, end == size or (rests and not run.plan.final)

    def _is_mark(self, file: ScannedFile, kind: Kind, run: PlanRun) -> bool:
        """Return True if an empty file is sent: one without rows, which cannot keep a dataset from loading."""
        is_text = kind in (Kind.TEXT, Kind.UNDECIDED) and not file.parts
        return kind is Kind.WHOLE or (is_text and not file.stat.size and (run.plan.final or self._rests(file, run)))

    def _rests(self, file: ScannedFile, run: PlanRun) -> bool:
        """Return True if a file has not changed for `rest_seconds`, by its times (unless they are wrong) or as seen."""
        rest_seconds = self.context.limits.rest_seconds
        if run.taken_ns - max(file.stat.ctime_ns, file.stat.mtime_ns) >= rest_seconds * 1e9:
            return True
        seen, since = self.memory.unchanged_since.get(file.source, (None, run.now))
        if seen != file.stat:
            since = run.now
            self.memory.unchanged_since[file.source] = (file.stat, since)
        return run.now - since >= rest_seconds

    def _is_unbalanced(self, file: ScannedFile, end: int, run: PlanRun) -> bool:
        """Return True if the quotes of a CSV have not balanced after `end` for too long: a stray one is among them.

        From then on it is cut at newlines: waiting for its other quote would hold up all rows.
        """
        newline = lines.cut(file.path, Kind.TEXT, end, file.stat.size)
        seen, since = self.memory.open_quotes.get(file.source, (end, run.now))
        if newline == end or seen != end:
            since = run.now
        self.memory.open_quotes[file.source] = (end, since)
        context = self.context
        if newline - end <= context.limits.quote_bytes and run.now - since < context.period_seconds:
            return False
        self.memory.plain_tables.add(file.source)
        logger.warning(
            "%s: the quotes after byte %d do not balance; it is cut at line ends from now on, also within quotes",
            file.path,
            end,
        )
        return True

    def _tell_of_rewritten(self, parts: tuple[Part, ...]) -> None:
        for part in parts:
            if part.closed is Closed.REWRITTEN and not self.memory.told_of_rewritten:
                self.memory.told_of_rewritten = True
                logger.warning(
                    "%s no longer begins with what was committed: %s stays on the Hub, and the new content goes to a"
                    " file beside it. To keep one name, pass versioned=[%r].",
                    part.source,
                    part.path,
                    part.source,
                )

    def _compare(self, file: ScannedFile, state: FileState, run: PlanRun) -> FileState:
        """Compare the file with the Hub, and close parts whose path has other rows until a path is usable."""
        while candidate := rules.candidate_path(file.source, state.parts, self.context.naming):
            if state.parts and state.parts[-1].end and not state.kind.is_lines:
                break  # it has no continuation
            state = self._compare_with(candidate, file, state, run)
            tried = self._next_part(state, run)
            closed = rules.closed_by_conflict(tried, state.kind, state.relation, self.context.on_existing)
            if closed is None:
                break
            # The next path may have what was sent before the ledger was lost: compare again.
            run.plan.parts.append(closed)
            state = replace(state, parts=[*state.parts[: tried.number], closed])
        return state if file.parts or not self.memory.was_used else self._last_continuation(file, state, run)

    def _last_continuation(self, file: ScannedFile, state: FileState, run: PlanRun) -> FileState:
        """Find the last part of a file that the ledger does not know: a part that another one continues is closed."""
        while state.parts and state.kind.is_lines:
            last = state.parts[-1]
            parts = [*state.parts[:-1], replace(last, closed=last.closed or Closed.FOREIGN)]
            part = rules.next_part(parts, self.context.naming, run.now, state.header)
            remote = run.file_at(part.path)
            known = replace(state, parts=parts)
            found = known if remote is None else self._continued(part, file, known, remote, run)
            if len(found.parts) == len(parts):
                break
            run.plan.parts.append(parts[-1])
            state = found
        return state

    def _compare_with(self, candidate: str, file: ScannedFile, state: FileState, run: PlanRun) -> FileState:
        """Compare the file with the one at `candidate`; content that both have becomes acknowledged."""
        remote = run.file_at(candidate)
        if remote is None:
            return replace(state, relation=Relation.ABSENT, remote_id=None)
        part = self._next_part(state, run)
        if part.number and state.kind.is_lines:
            return self._continued(part, file, state, remote, run)
        limit = self.context.limits.compare_bytes
        relation = relate(file.path, state.end, remote, lambda length: run.reader.read(candidate, 0, length), limit)
        state = replace(state, relation=relation, remote_id=remote.content_id)
        is_longer = relation is Relation.HUB_EXTENDS and state.kind.may_be_lines
        if not is_longer and relation not in (Relation.EQUAL, Relation.LOCAL_EXTENDS):
            return state
        part = _adopted(file.path, self._next_part(state, run), min(remote.size, state.end), remote.content_id)
        if is_longer:  # its end on the Hub is not ours: rows that are written here from now on get another path
            part = replace(part, closed=Closed.FOREIGN)
        run.plan.parts.append(part)
        return replace(state, parts=[*state.parts[: part.number], part])

    def _continued(
        self, part: Part, file: ScannedFile, state: FileState, remote: RemoteFile, run: PlanRun
    ) -> FileState:
        """Compare the file with a continuation of it, which the ledger does not know.

        It may begin anywhere in the file: what is before it was sent to earlier paths, where somebody changed it.
        """
        held = self.context.payloads.range_on_hub(file.path, part, remote, run.reader, anywhere=state.header)
        if held is None:
            return replace(state, relation=Relation.DIVERGED, remote_id=remote.content_id)
        part = replace(part, start=held[0], end=held[0], head=min(state.header, held[0]))
        part = _adopted(file.path, part, min(held[1], state.end), remote.content_id)
        run.plan.parts.append(part)
        return replace(state, relation=Relation.EQUAL, parts=[*state.parts[: part.number], part])

    def _next_part(self, state: FileState, run: PlanRun) -> Part:
        """Return the last part if it is open, otherwise a new one."""
        if not state.parts:
            return self.context.naming.part(state.source, 0, 0, run.now)
        if not state.parts[-1].closed:
            return state.parts[-1]
        return rules.next_part(state.parts, self.context.naming, run.now, state.header)

    def _is_due(self, upload: Upload, run: PlanRun) -> bool:
        """Return True if a record file is sent now, False if it gathers more records first.

        A file that this object has not seen before is sent at once: it may have waited in an earlier process.
        """
        part = upload.part
        end, since = self.memory.record_pushes.get(part.source, (-1, 0.0))
        if end != part.end:
            since = run.now if part.source in self.memory.record_pushes else 0.0
            self.memory.record_pushes[part.source] = (part.end, since)
        return run.plan.final or rules.is_due(part.end, upload.new_bytes, run.now - since, self.context.limits)


def _with_committed(file: ScannedFile, state: FileState) -> FileState:
    """Compare the local bytes of the last part with those that were committed."""
    last = state.parts[-1] if state.parts else None
    if last is None or last.sha256 is None or file.stat.size < last.end:
        return state
    ends = sorted(end for end in (last.end, state.end) if last.start <= end)
    found = digests(file.path, last.start, ends, last.head)
    intact = found[0 if state.end >= last.end else -1].sha256 == last.sha256
    return replace(state, intact=intact, same=intact and state.end == last.end)


def _adopted(path: Path, part: Part, end: int, content_id: str) -> Part:
    """Return the part with [start, `end`), which was found on the Hub, as acknowledged."""
    digest = digests(path, part.start, [end], part.head)[0]
    return rules.adopted(part, end, digest.rows, digest.sha256, content_id)


def _search_start(file: ScannedFile, kind: Kind, parts: list[Part]) -> int:
    """Return the position from which the next cut is searched: the end of the last part, or 0.

    It is 0 if no line or record ends there, because a tail without a newline was sent once the file no longer changed,
    and for a table, whose quotes are counted from its beginning.
    """
    position = parts[-1].end if parts else 0
    if position == 0 or position > file.stat.size or kind is Kind.TABLE:
        return 0
    if kind is Kind.RECORDS:
        return position if begins_record(file.path, position) else 0
    with open_regular(file.path) as opened:
        opened.seek(position - 1)
        return position if opened.read(1) == b"\n" else 0
