"""Compares changed files with the Hub and lists the uploads, using the rules in `rules`."""

from __future__ import annotations

from collections.abc import Mapping

from hubspool.errors import HubspoolError, LocalFileError
from hubspool.files import Stat
from hubspool.push import rules
from hubspool.push.context import PushContext
from hubspool.push.events import State
from hubspool.push.file_planner import FilePlanner
from hubspool.push.lines import Kind, kind_by_name
from hubspool.push.part import Part
from hubspool.push.plan import PlanRun, PushPlan, ScannedFile
from hubspool.push.remote import RepoReader
from hubspool.push.scan import Snapshot, scan
from hubspool.push.segment_planner import SegmentPlanner


class Planner:
    """Plans one push of a folder, for the holder of the push lock."""

    def __init__(self, context: PushContext) -> None:
        self.context = context
        self._files = FilePlanner(context)
        self._segments = SegmentPlanner(context)

    def scan(self, settled: Mapping[str, Stat]) -> Snapshot:
        """Return the segments, and the files that are not in `settled`; the lock is held only to take their lengths."""
        context = self.context
        return scan(context.folder, settled, context.is_chosen, context.lock, is_spool=context.is_spool)

    def plan(
        self,
        snapshot: Snapshot,
        settled: Mapping[str, Stat],
        known: Mapping[str, list[Part]],
        reader: RepoReader,
        *,
        final: bool,
    ) -> PushPlan:
        """Return the plan for `snapshot`.

        Args:
            snapshot: from `scan`.
            settled: files whose whole content is on the Hub.
            known: the ledger's parts of each source.
            reader: reads from the Hub; used only for paths that the ledger does not know.
            final: unfinished last lines are sent now if they are complete rows.

        Raises:
            HubspoolError: a request failed.
        """
        plan = PushPlan(skipped=dict(snapshot.unreadable), final=final)
        paths = frozenset(self._paths_to_read(snapshot, known))
        recovering = self.context.ledger.recovering(self.context.key)
        run = PlanRun(plan, reader, paths, snapshot.taken_ns, self.context.clock(), recovering, snapshot.is_locked)
        for add, found in ((self._files.plan, snapshot.changed), (self._segments.plan, snapshot.segments)):
            for source, stat in sorted(found.items()):
                self.context.hooks.enter(State.SCANNING)  # a large file takes long to read: this is progress
                path = self.context.folder / source
                try:
                    if (now := Stat.of(path.stat())).inode != stat.inode:
                        stat = now  # noqa: PLW2901  replaced since the scan, as many programs rewrite a file
                    add(ScannedFile(source, path, stat, known.get(source, []), settled.get(source)), run)
                except LocalFileError as error:
                    plan.skipped[source] = str(error)
                except HubspoolError:
                    raise  # a request failed, which is not the file's fault; many of these errors are OSErrors too
                except FileNotFoundError:
                    pass  # removed since the scan: a local deletion changes nothing on the Hub
                except (OSError, EOFError) as error:  # the other files are sent
                    plan.skipped[source] = str(error)
        return plan

    def _paths_to_read(self, snapshot: Snapshot, known: Mapping[str, list[Part]]) -> list[str]:
        """Return the paths whose content on the Hub the user's files need to know, for one request."""
        paths = []
        for source in snapshot.changed:
            parts = known.get(source, [])
            candidate = rules.candidate_path(source, parts, self.context.naming)
            if candidate is not None:
                paths.append(candidate)
                if self.context.memory.was_used and not parts and kind_by_name(source) is not Kind.WHOLE:
                    paths.append(self.context.naming.part(source, 1, 0, 0).path)
            elif parts[-1].in_doubt:
                paths.append(parts[-1].path)
        return paths
