"""How a push reaches the Hub: what it looks at before it plans, and what sends the plan."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Protocol

from hubspool.errors import HubspoolError
from hubspool.files import Stat
from hubspool.push.committer import Committer
from hubspool.push.context import PushContext
from hubspool.push.local_removal import LocalRemoval
from hubspool.push.part import Part
from hubspool.push.plan import PushPlan
from hubspool.push.remote import Head, RepoReader
from hubspool.push.scan import Snapshot

#: The ledger's parts of each source.
Known = dict[str, list[Part]]


class Sink(Protocol):
    """One push's way to a repository or a bucket. Used by the pushing thread."""

    def settled(self, settled: Mapping[str, Stat]) -> Mapping[str, Stat]:
        """Return the settled files without those that the push has to look at again."""

    def look(self, snapshot: Snapshot, unsent: Collection[str], known: Known, *, final: bool) -> RepoReader | None:
        """Find out what became of parts, and store it in `known`; return what reads the Hub.

        Args:
            snapshot: of the folder.
            unsent: segments that are not known to be on the Hub.
            known: of the snapshot.
            final: a caller waits for the push.

        Returns:
            A reader for the planner; None if files in the folder were changed and the push must begin anew.
        """

    def sender(self, plan: PushPlan) -> Committer:
        """Return what sends a plan."""


class RepositorySink:
    """Reads a branch at one commit, and sends by commits."""

    def __init__(self, context: PushContext) -> None:
        self.context = context
        self._head: Head | None = None

    def settled(self, settled: Mapping[str, Stat]) -> Mapping[str, Stat]:
        """Return all of them: a commit that did not land cannot land after a later one, by its parentCommit."""
        return settled

    def look(self, snapshot: Snapshot, unsent: Collection[str], known: Known, *, final: bool) -> RepoReader | None:
        """Read what has become of parts at one commit, before anything is decided about them."""
        context = self.context
        self._head = head = self._newest(needed=bool(unsent or context.memory.removals), final=final)
        if head is None:
            return context.repo
        reader = context.repo.at(head.oid)
        parts = [part for source in unsent for part in known.get(source, [])]
        for (source, number), part in context.after_joins(head, parts, unsent).items():
            known[source] = [part if each.number == number else each for each in known[source]]
        if context.is_spool and LocalRemoval(context, reader).apply(snapshot.segments, known):
            return None
        return reader

    def _newest(self, *, needed: bool, final: bool) -> Head | None:
        """Return the newest commit; None where nothing needs it. Once an hour others may have asked to remove rows."""
        context, memory, now = self.context, self.context.memory, time.monotonic()
        if not needed and (final or not context.is_spool or now - memory.looked_at < context.limits.look_seconds):
            return None
        memory.looked_at = now
        try:
            head = context.repo.head()
        except HubspoolError:
            if needed:
                raise
            return None  # an hour later
        memory.hub_at = head.at
        return head

    def sender(self, plan: PushPlan) -> Committer:
        """Return what makes the commits of a plan."""
        return Committer(self.context, plan, self._head)
