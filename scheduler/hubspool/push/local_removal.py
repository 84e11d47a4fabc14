"""Removes rows from the segments on this disk: their lines are overwritten, and what is pending is never sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hubspool.files import Stat
from hubspool.push import lines, rules
from hubspool.push.context import PushContext
from hubspool.push.joiner import Joiner
from hubspool.push.part import Closed, Part
from hubspool.push.remote import RepoReader
from hubspool.push.removal import Removal
from hubspool.spool.segment_name import SegmentName

logger = logging.getLogger(__name__)


@dataclass
class LocalRemoval:
    """Applies removals to the segments of a spool, under the push lock. Used by the pushing thread.

    A line is overwritten with spaces as soon as no part has to be sent again with it: an open part is closed before. A
    part in doubt is looked up; until it is found, or an hour has passed after which it cannot land, its segment is not
    sent, and its lines stay.

    Not guaranteed: that the bytes are gone from the disk's blocks, its snapshots or backups.

    Args:
        context: of the push; the manifests are read.
        reader: of the branch, at the commit of the manifests.

    Attributes:
        rows: how many lines were overwritten.
    """

    context: PushContext
    reader: RepoReader
    rows: int = field(default=0, init=False)

    def apply(self, segments: Mapping[str, Stat], known: Mapping[str, list[Part]]) -> bool:
        """Apply the removals that are new here; return whether a segment or the ledger was changed.

        Args:
            segments: of the spool.
            known: their parts.
        """
        context, memory = self.context, self.context.memory
        done = context.ledger.removals()
        new = [each for each in (*memory.manifests.removals.values(), *memory.removals) if each.path not in done]
        memory.held_back.clear()
        if not new:
            return False
        changed = False
        for source, stat in segments.items():
            if SegmentName.of(source).suffix == context.payloads.suffix:
                changed |= self._apply(source, stat, known.get(source, []), new)
        if not memory.held_back:
            context.ledger.note_removals(each.path for each in new)
        if self.rows:
            logger.warning("%s: %d rows were removed from this disk on request", context.target.repo_id, self.rows)
        return changed

    def _apply(self, source: str, stat: Stat, parts: list[Part], removals: Iterable[Removal]) -> bool:
        context, path = self.context, self.context.folder / source
        encoding = context.encoding
        joiner = (encoding.joiner if encoding else None) or Joiner()
        day = SegmentName.of(source).day
        asked = [removal for removal in removals if removal.reaches(day)]

        def is_hit(line: bytes) -> bool:
            row = joiner.row_of(line)
            return bool(row) and any(removal.matches(row) for removal in asked)

        hits = lines.matching_lines(path, stat.size, is_hit) if asked else []
        changed = []
        for part in parts:
            found = [hit for hit in hits if part.start <= hit[0] < part.sent_end]
            after = self._freed(path, part) if found else part
            if after is None:
                context.memory.held_back[source] = (part.sent_at or 0.0) + context.limits.second_look_seconds
                hits = [hit for hit in hits if hit not in found]
            elif after != part:
                changed.append(after)
        if changed:
            context.ledger.save(context.key, changed)
        if hits:
            if encoding is not None:
                _release(path, hits, encoding.forget_line)
            lines.overwrite(path, hits)
            self.rows += len(hits)
        return bool(hits or changed)

    def _freed(self, path: Path, part: Part) -> Part | None:
        """Return a part closed, whose bytes are not sent again; None if its outcome is not certain yet."""
        if not part.in_doubt:
            return part if part.closed else replace(part, closed=Closed.REWRITTEN)
        file = self.reader.files([part.path]).get(part.path)
        if file is not None and file.content_id == part.sending_id:
            return rules.closed_unknown(part.acknowledged(lines.count_lines(path, part.start, part.sent_end)))
        if rules.is_second_look(part.sent_at, self.context.clock(), self.context.limits):
            return rules.closed_unknown(part.withdrawn())
        return None


def _release(path: Path, hits: Iterable[tuple[int, int]], release: Callable[[Path, bytes], None]) -> None:
    with path.open("rb") as file:
        for start, end in hits:
            file.seek(start)
            release(path, file.read(end - start))
