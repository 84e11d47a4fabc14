"""Every interleaving of lost and older ledgers, copied folders, late commits and stale reads, with one segment.

The decisions are those of `hubspool.push.rules`; the Hub, the network and the processes are a model of a few lines.
Each weaker rule must lose or double a row (so the search can find it), the rules that are used must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

import pytest

from hubspool.push import rules
from hubspool.push.defaults import PushLimits
from hubspool.push.part import Part
from hubspool.push.rules import FoundRange, Naming, Read, Upload
from tests.support.model_search import first_wrong

ROWS = 3
SEGMENT = "train-20260102-0123456789ab-00000.jsonl"
NAMING = Naming("", "0" * 32)
LIMITS = PushLimits()

Content = tuple[tuple[str, tuple[int, int]], ...]  # path → rows, sorted


class Weaker(Enum):
    NONE = "the rules that are used"
    ACCEPTS_SHORTER = "an earlier version of a part counts as what the Hub has"
    REFUSES_LONGER = "a file longer than the ledger knows of is foreign, and its rows are sent to another path"
    SENDS_AT_ONCE = "after the first look, what is missing goes into new parts"
    GROWS = "after the first look, the last part grows again"
    KEEPS_GROWING = "a file longer than the ledger knows of is acknowledged, and no second look follows"
    NO_WAIT = "the second look follows the first while a commit of before can still land"
    BY_SIZE = "the ranges of the parts follow from their sizes"


class Phase(Enum):
    """What one process does with the segment."""

    KNOWN = "its ledger knows what was sent"
    LOST = "nobody has looked since the ledger was lost"
    LOOKED = "the first look was made"
    DUE = "an hour has passed since"


@dataclass(frozen=True)
class Post:
    files: Content
    life: int


@dataclass(frozen=True)
class Process:
    ledger: tuple[Part, ...] = ()
    phase: Phase = Phase.KNOWN
    floor: int = 0  # the oldest version that a read may return


@dataclass(frozen=True)
class World:
    rows: int = 1
    processes: tuple[Process, ...] = (Process(),)
    older: tuple[Part, ...] | None = None  # a copy of the ledger
    hub: tuple[Content, ...] = ((),)
    in_flight: frozenset[Post] = frozenset()
    lost: int = 0
    life: int = 0


@dataclass(frozen=True)
class Limits:
    """How much may go wrong: lost answers, replicas after a copy, lives; whether the restored ledger is noticed."""

    lost: int = 2
    replicas: int = 1
    lives: int = 1
    older: bool = False
    noticed: bool = True


def content_id(rows: tuple[int, int]) -> str:
    return f"{rows[0]}-{rows[1]}"


def landed(hub: tuple[Content, ...], post: Post) -> tuple[Content, ...]:
    head = tuple(sorted({**dict(hub[-1]), **dict(post.files)}.items()))
    return hub if head == hub[-1] else (*hub, head)


class Model:
    def __init__(self, weaker: Weaker, limits: Limits) -> None:
        self.weaker = weaker
        self.limits = limits

    # -- one process

    def recovered(self, known: tuple[Part, ...], head: Content) -> tuple[Part, ...]:
        files = dict(head)
        found, position = [], 0
        for number in range(6):
            rows = files.get(NAMING.segment_part(SEGMENT, number, 0, 0).path)
            if rows is not None:
                if self.weaker is Weaker.BY_SIZE:
                    rows = (position, position + rows[1] - rows[0])
                    position = rows[1]
                found.append(FoundRange(number, *rows, 0, content_id(rows)))
        parts = rules.recovered_parts(SEGMENT, known, found, NAMING, 0)
        if self.weaker is Weaker.GROWS and parts:
            parts[-1] = replace(parts[-1], closed=None)
        return tuple(parts)

    def looked(self, process: Process, head: Content) -> Process:
        """The process after a look at the parts of a segment whose ledger was lost."""
        if process.phase is Phase.DUE or self.weaker in (Weaker.SENDS_AT_ONCE, Weaker.GROWS):
            return replace(process, ledger=self.recovered(process.ledger, head), phase=Phase.KNOWN)
        return replace(process, phase=Phase.LOOKED) if process.phase is Phase.LOST else process

    def read(self, process: Process, head: Content, rows: int) -> tuple[Process, list[Upload]]:
        """The process after it compared its uploads with the Hub, and the uploads that are left to send."""
        if process.phase is not Phase.KNOWN:
            return self.looked(process, head), []
        files = dict(head)
        parts = {part.number: part for part in process.ledger}
        left, phase = [], Phase.KNOWN
        gaps = rules.missing(process.ledger, rows)
        for upload in rules.plan_segment(SEGMENT, process.ledger, gaps, NAMING, 0, LIMITS):
            part, here = upload.part, files.get(upload.part.path)
            if here == (part.start, upload.end):
                sent = part.sending(upload.end, "", content_id(here), "", 0)
                parts[part.number] = rules.landed(sent, 0, 0, LIMITS, was_in_doubt=upload.is_repeat)
            elif here is None or here[0] != part.start:  # nothing, or foreign
                if here is None and not part.content_id:
                    left.append(upload)
                continue
            elif content_id(here) == part.content_id:
                left.append(upload)
            else:
                read = rules.judged(part, here[1])
                if read is Read.REPEAT:
                    left.append(upload)
                elif read is Read.NEWER and self.weaker is Weaker.REFUSES_LONGER:
                    parts[part.number] = rules.after_foreign_change(part, None)
                elif read is not Read.STALE or self.weaker is Weaker.ACCEPTS_SHORTER:
                    adopted = rules.adopted(part, here[1], 0, "", content_id(here))
                    parts[part.number] = rules.closed_unknown(adopted)
                    if read is Read.NEWER and self.weaker is not Weaker.KEEPS_GROWING:
                        phase, left = Phase.LOST, []
                        break
        return replace(process, ledger=tuple(parts[number] for number in sorted(parts)), phase=phase), left

    # -- all that may happen

    def steps(self, world: World) -> Iterator[World]:
        if world.life == 0 and world.rows < ROWS:
            yield replace(world, rows=world.rows + 1)
        for post in world.in_flight:
            yield replace(world, hub=landed(world.hub, post), in_flight=world.in_flight - {post})
        for index, process in enumerate(world.processes):
            yield from self.pushes(world, index, process)
            waits = process.phase is Phase.LOOKED
            # A commit lands within the hour or never; what the replicas of today sent may still be under way.
            settled = all(post.life == world.life for post in world.in_flight) or self.weaker is Weaker.NO_WAIT
            if waits and settled:
                yield self.with_process(world, index, replace(process, phase=Phase.DUE, floor=len(world.hub)))
        yield from self.lives(world)

    def lives(self, world: World) -> Iterator[World]:
        """The ends of the process, and what the next ones find."""
        if world.life == 0 and self.limits.older and world.older is None:
            yield replace(world, older=world.processes[0].ledger)
        if world.life >= self.limits.lives:
            return
        ledger = world.processes[0].ledger
        if self.limits.replicas > 1:
            found = [(ledger, Phase.LOST)]
        elif self.limits.older:
            found = [] if world.older is None else [(world.older, Phase.LOST if self.limits.noticed else Phase.KNOWN)]
        else:
            found = [((), Phase.LOST), (ledger, Phase.KNOWN)]
        for parts, phase in found:
            started = tuple(Process(parts, phase) for _ in range(self.limits.replicas))
            yield replace(world, processes=started, life=world.life + 1)

    def with_process(self, world: World, index: int, process: Process) -> World:
        processes = (*world.processes[:index], process, *world.processes[index + 1 :])
        return replace(world, processes=processes)

    def pushes(self, world: World, index: int, process: Process) -> Iterator[World]:
        """Every way one push of a process may go."""
        newest = len(world.hub)
        for version in {newest, max(newest - 1, process.floor, 1)}:  # a fresh or a stale read
            seen, left = self.read(process, world.hub[version - 1], world.rows)
            if not left:
                yield self.with_process(world, index, seen)
                continue
            post = Post(tuple(sorted((u.part.path, (u.part.start, u.end)) for u in left)), world.life)
            parts = {part.number: part for part in seen.ledger}
            done = dict(parts)
            for upload in left:
                sent = upload.part.sending(upload.end, "", content_id((upload.part.start, upload.end)), "", 0)
                parts[upload.part.number] = sent
                done[sent.number] = rules.landed(sent, 0, 0, LIMITS, was_in_doubt=upload.is_repeat)
            waiting = self.with_process(world, index, replace(seen, ledger=tuple(parts[n] for n in sorted(parts))))
            applied = landed(world.hub, post)
            finished = replace(seen, ledger=tuple(done[n] for n in sorted(done)))
            yield replace(self.with_process(world, index, finished), hub=applied)
            if world.lost < self.limits.lost:
                yield replace(waiting, hub=applied, lost=world.lost + 1)  # applied, the answer lost
                yield replace(waiting, in_flight=waiting.in_flight | {post}, lost=world.lost + 1)
                yield replace(waiting, lost=world.lost + 1)  # never applied

    def drained(self, world: World) -> World:
        """After the faults have stopped: what is in flight lands or not, then pushes until nothing is left."""
        for _ in range(12):
            before = world
            for index in range(len(world.processes)):
                process = world.processes[index]
                if process.phase is Phase.LOOKED:
                    process = replace(process, phase=Phase.DUE)
                seen, left = self.read(process, world.hub[-1], world.rows)
                done = {part.number: part for part in seen.ledger}
                for upload in left:
                    sent = upload.part.sending(upload.end, "", content_id((upload.part.start, upload.end)), "", 0)
                    done[sent.number] = rules.landed(sent, 0, 0, LIMITS, was_in_doubt=upload.is_repeat)
                post = Post(tuple(sorted((u.part.path, (u.part.start, u.end)) for u in left)), world.life)
                seen = replace(seen, ledger=tuple(done[n] for n in sorted(done)))
                world = replace(self.with_process(world, index, seen), hub=landed(world.hub, post))
            if world == before:
                return world
        raise AssertionError(f"pushes do not come to an end: {world}")


def is_whole(world: World) -> bool:
    rows = sorted(row for _, (start, stop) in world.hub[-1] for row in range(start, stop))
    return rows == list(range(world.rows))


def broken(weaker: Weaker, limits: Limits) -> tuple[World | None, int]:
    """Search all worlds; return the first in which a row is missing or doubled at the end, and how many were seen."""
    model = Model(weaker, limits)
    return first_wrong(World(), model.steps, lambda world: not world.in_flight and not is_whole(model.drained(world)))


LOST = Limits()
OLDER = Limits(older=True)
UNNOTICED = Limits(older=True, noticed=False, lost=1)
COPIES = Limits(replicas=2)
THREE = Limits(replicas=3, lost=1)

WEAKER = [
    (Weaker.ACCEPTS_SHORTER, LOST),
    (Weaker.SENDS_AT_ONCE, LOST),
    (Weaker.SENDS_AT_ONCE, COPIES),
    (Weaker.GROWS, LOST),
    (Weaker.NO_WAIT, LOST),
    (Weaker.NO_WAIT, COPIES),
    (Weaker.BY_SIZE, LOST),
    (Weaker.REFUSES_LONGER, UNNOTICED),
    (Weaker.KEEPS_GROWING, UNNOTICED),
    (Weaker.NONE, UNNOTICED),  # why a restored ledger must be noticed
]


@pytest.mark.parametrize(("weaker", "limits"), WEAKER, ids=lambda value: getattr(value, "name", ""))
def test_a_weaker_rule_loses_or_doubles_a_row(weaker: Weaker, limits: Limits) -> None:
    found, _ = broken(weaker, limits)
    assert found is not None


@pytest.mark.parametrize("limits", [LOST, OLDER, COPIES, THREE], ids=["lost", "older", "two copies", "three copies"])
def test_no_interleaving_loses_or_doubles_a_row(limits: Limits) -> None:
    found, seen = broken(Weaker.NONE, limits)
    assert found is None, found
    assert seen > 1_000
