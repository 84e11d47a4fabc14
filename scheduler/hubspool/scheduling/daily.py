"""When the parts of past days are joined: once a day, by whichever replica is first."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from hubspool.client.folder import full_folders
from hubspool.errors import HubspoolError
from hubspool.push.compaction import CompactionReport, Compactor
from hubspool.push.joiner import Joiner
from hubspool.scheduling.defaults import DEFAULTS
from hubspool.scheduling.status import NOT_COMPACTED, CompactionTimes

if TYPE_CHECKING:
    from hubspool.push.context import PushContext
    from hubspool.scheduling.push_loop import PushLoop

logger = logging.getLogger(__name__)


class DailyCompaction:
    """Joins old parts after a push that nobody waits for, one joined file a push. Used by the pushing thread.

    It looks at the repository when the newest manifest may be a day old, at a random time of four hours, so that of
    many replicas one does the work and the others find it done.
    """

    def __init__(self) -> None:
        self._due_at = time.monotonic() + random.uniform(0, DEFAULTS.first_compaction)  # noqa: S311  jitter
        self._known = NOT_COMPACTED

    def times(self) -> CompactionTimes:
        """Return what is known about the repository's files; any thread may call it."""
        left = max(self._due_at - time.monotonic(), 0.0)
        return replace(self._known, next_at=datetime.now(timezone.utc) + timedelta(seconds=left))

    def after_push(self, context: PushContext, loop: PushLoop[Any]) -> CompactionReport:
        """Make one join if it is due, and return what was done.

        An error is logged, and ends it until the next day.
        """
        if time.monotonic() < self._due_at:
            return CompactionReport()
        joiner = Joiner() if context.encoding is None else context.encoding.joiner
        if joiner is None:
            return CompactionReport()
        ends = time.monotonic() + DEFAULTS.compaction_seconds
        compactor = Compactor(
            context.repo,
            context.path_in_repo,
            {context.payloads.suffix or "jsonl": joiner},
            context.memory.manifests,
            limits=context.limits,
            may_go_on=lambda: not loop.pause(0),
            has_time=lambda: time.monotonic() < ends,
            pause=loop.pause,
        )
        wait, report = DEFAULTS.compaction_period, CompactionReport()
        try:
            joins, _ = compactor.due()
            if len(joins) > 1 or sum(len(join.sources) for join in joins) > DEFAULTS.compaction_files:
                report = compactor.run(most=1)
                wait = 0.0 if report.left and report.commits else wait
            elif (newest := context.memory.manifests.newest()) is not None:
                age = datetime.now(timezone.utc) - newest
                wait = max((timedelta(seconds=wait) - age).total_seconds(), DEFAULTS.first_compaction)
        except HubspoolError as error:
            logger.info("%s: old files are joined at another time: %s", context.target.repo_id, error)
        except Exception:
            # The rows are on the Hub. A damaged file there, or a full disk here, is no failure of their push.
            logger.exception("%s: old files are joined at another time", context.target.repo_id)
        self._due_at = time.monotonic() + wait + random.uniform(0, wait / 5)  # noqa: S311  jitter
        if compactor.files:
            joined = report.files_before - len(report.paths)
            context.memory.full_folders = full_folders(compactor.files)
            self._known = CompactionTimes(len(compactor.files) - joined, context.memory.manifests.newest())
        return report
