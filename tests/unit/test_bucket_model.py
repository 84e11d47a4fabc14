"""Every interleaving of pushes to a bucket and publishes to a dataset: lost and late answers, lost ledgers, deletions.

The writer's decisions are those of `hubspool.push.rules`, those of the publishers of `hubspool.push.published`; the
bucket and the dataset are a model of a few lines. Each weaker rule must lose or double a row (so the search can find
it), the rules that are used must not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

import pytest

from hubspool.push import rules
from hubspool.push.defaults import PushLimits
from hubspool.push.part import Part
from hubspool.push.published import uncovered, unpublished
from hubspool.push.rules import Naming, Upload
from tests.support.model_search import first_wrong

SEGMENT = "train-20260102-0123456789ab-00000.jsonl"
NAMING = Naming("", "0" * 32, by_range=True)
LIMITS = PushLimits(part_commits=1, large_commits=1)
Range = tuple[int, int]


class Weaker(Enum):
    NONE = "the rules that are used"
    NEXT_TOO_EARLY = "the next range begins after the acknowledged rows, before the outcome of the last one is known"
    PATHS = "a publish takes the files whose paths no manifest names, and does not subtract ranges"
    NO_MARKERS = "published files are deleted, and no marker in the bucket tells it"
    MARKED_LATE = "published files are deleted before the marker is there"
    NO_PARENT = "two publishers commit without parentCommit"
    REQUESTS_IGNORED = "a publish takes all rows, also those that somebody asked to remove"
    NEW_REQUEST_MISSED = "a refused publish looks again whether its ranges are published, not for new requests"
    DAMAGED_COUNTS = "a range of a damaged file keeps others from publishing it"


@dataclass(frozen=True)
class Bounds:
    """How much there is, and how much may go wrong.

    Args:
        rows: of the one segment.
        lost: answers.
        ledgers: that are lost.
        publishers: that run at once.
        publishes: in all.
        is_cut: a part of a file can be published (JSON Lines); otherwise an overlap would be published twice. Lines are
            also safe without the second look: a ledger may be lost while a batch is under way.
        requests: to remove the first row.
        damaged: files of the bucket.
    """

    rows: int = 3
    lost: int = 1
    ledgers: int = 1
    publishers: int = 1
    publishes: int = 2
    is_cut: bool = True
    requests: int = 0
    damaged: int = 0


@dataclass(frozen=True)
class Publish:
    """A publisher at work: the version of the dataset that it read, its ranges, and what it does next.

    `removes`: it leaves the first row out.
    """

    who: int
    version: int
    ranges: tuple[Range, ...]
    step: str = "commit"
    removes: bool = False


@dataclass(frozen=True)
class World:
    rows: int = 0
    parts: tuple[Part, ...] = ()
    bucket: frozenset[Range] = frozenset()
    markers: frozenset[Range] = frozenset()
    data: tuple[Range, ...] = ()
    manifest: frozenset[Range] = frozenset()
    version: int = 0
    puts: frozenset[Range] = frozenset()  # batches on their way
    commits: frozenset[Publish] = frozenset()  # of publishers, on their way
    publishing: tuple[Publish, ...] = ()
    lost: int = 0
    ledgers: int = 0
    publishes: int = 0
    damaged: frozenset[Range] = frozenset()
    request: str = ""  # then "asked", then "removed"


class Model:
    def __init__(self, weaker: Weaker, bounds: Bounds) -> None:
        self.weaker, self.bounds = weaker, bounds

    def steps(self, world: World) -> Iterator[World]:
        if world.rows < self.bounds.rows:
            yield replace(world, rows=world.rows + 1)
        yield from self.pushes(world)
        for put in world.puts:
            yield replace(world, bucket=world.bucket | {put}, puts=world.puts - {put})
        for commit in world.commits:
            under_way = replace(world, commits=world.commits - {commit})
            yield self.committed(under_way, commit) or under_way
        for who in range(self.bounds.publishers):
            yield from self.publishes(world, who)
        yield from self.requests(world)
        if len(world.damaged) < self.bounds.damaged:
            yield from (replace(world, damaged=world.damaged | {each}) for each in world.bucket)

    def requests(self, world: World) -> Iterator[World]:
        """Somebody asks to remove the first row, and then removes it from the dataset."""
        later = replace(world, version=world.version + 1)
        if not world.request and self.bounds.requests:
            yield replace(later, request="asked")
        if world.request == "asked":
            yield replace(later, request="removed", data=without_first(world.data))

    # -- the writer

    def looked(self, world: World) -> tuple[Part, ...]:
        def look(part: Part) -> Part:
            remote = "content" if (part.start, part.sent_end) in world.bucket else None
            return rules.looked_up(part, 0, remote, sorted(world.markers)) if part.in_doubt else part

        return tuple(map(look, world.parts))

    def uploads(self, parts: tuple[Part, ...], rows: int) -> list[Upload]:
        if self.weaker is Weaker.NEXT_TOO_EARLY:
            parts = tuple(part for part in parts if not part.in_doubt)
        uploads = rules.plan_segment(SEGMENT, parts, rules.missing(parts, rows), NAMING, 0, LIMITS)
        return [upload for upload in uploads if upload.is_repeat] or uploads

    def pushes(self, world: World) -> Iterator[World]:
        parts = self.looked(world)
        yield replace(world, parts=parts)
        for upload in self.uploads(parts, world.rows)[:1]:
            put = (upload.part.start, upload.end)
            sent = {part.number: part for part in parts}
            sent[upload.part.number] = intent = upload.part.sending(upload.end, "", "content", "", 0)
            waiting = replace(world, parts=tuple(sent[number] for number in sorted(sent)))
            sent[upload.part.number] = rules.landed(intent, 0, 0, LIMITS, was_in_doubt=upload.is_repeat)
            done = tuple(sent[number] for number in sorted(sent))
            yield replace(world, parts=done, bucket=world.bucket | {put})
            if world.lost < self.bounds.lost:
                yield replace(waiting, lost=world.lost + 1, puts=world.puts | {put})
        if world.ledgers < self.bounds.ledgers and world.parts and (self.bounds.is_cut or not world.puts):
            found = rules.recovered_ranges(SEGMENT, (), world.bucket | world.markers, NAMING, 0)
            yield replace(world, parts=tuple(found), ledgers=world.ledgers + 1)

    # -- the publishers

    @property
    def order(self) -> tuple[str, str]:
        """The steps of a publisher after its commit."""
        return ("delete", "mark") if self.weaker is Weaker.MARKED_LATE else ("mark", "delete")

    def publishes(self, world: World, who: int) -> Iterator[World]:
        mine = next((each for each in world.publishing if each.who == who), None)
        others = tuple(each for each in world.publishing if each is not mine)
        if mine is None:
            if world.bucket and world.publishes < self.bounds.publishes:
                removes = bool(world.request) and self.weaker is not Weaker.REQUESTS_IGNORED
                begun = Publish(who, world.version, tuple(self.unpublished(world)), removes=removes)
                yield replace(world, publishing=(*others, begun), publishes=world.publishes + 1)
        elif mine.step == "commit":
            without = replace(world, publishing=others)
            after, then = self.committed(without, mine), self.order[0]
            yield without if after is None else replace(after, publishing=(*others, replace(mine, step=then)))
            if after is not None and mine.ranges and world.lost < self.bounds.lost:
                yield replace(without, commits=world.commits | {mine}, lost=world.lost + 1)
        else:
            is_last = mine.step == self.order[-1]
            publishing = others if is_last else (*others, replace(mine, step=self.order[-1]))
            if mine.step == "mark":
                marked = world.markers if self.weaker is Weaker.NO_MARKERS else world.markers | world.manifest
                yield replace(world, markers=marked, publishing=publishing)
            else:
                covered = world.manifest if self.weaker in (Weaker.NO_MARKERS, Weaker.MARKED_LATE) else world.markers
                gone = {each for each in world.bucket if not uncovered(*each, covered)}
                yield replace(world, bucket=world.bucket - gone, publishing=publishing)
        if mine is not None:
            yield replace(world, publishing=others)  # it is killed

    def unpublished(self, world: World) -> Iterator[Range]:
        if self.weaker is Weaker.PATHS:
            yield from sorted(world.bucket - world.manifest)
            return
        is_counted = self.weaker is Weaker.DAMAGED_COUNTS
        read = world.bucket if is_counted else world.bucket - world.damaged
        for each, pieces in unpublished(read, world.manifest, is_cut=self.bounds.is_cut):
            yield from () if each in world.damaged else pieces

    def committed(self, world: World, publish: Publish) -> World | None:
        """The world after a publisher's commit; None if it is refused."""
        if self.weaker is not Weaker.NO_PARENT and publish.version != world.version:
            is_seen = self.weaker is Weaker.NEW_REQUEST_MISSED
            if not is_seen or any(uncovered(*each, world.manifest) != [each] for each in publish.ranges):
                return None
        if not publish.ranges:
            return world
        data = tuple(sorted(world.data + (without_first(publish.ranges) if publish.removes else publish.ranges)))
        return replace(world, data=data, manifest=world.manifest | {*publish.ranges}, version=world.version + 1)

    def is_wrong(self, world: World) -> bool:
        """Whether a row is in the dataset twice, or was removed, or can never get there, or is nowhere."""
        counts = [sum(start <= row < end for start, end in world.data) for row in range(world.rows)]
        sound = world.bucket - world.damaged
        left = unpublished(sound, world.manifest, is_cut=self.bounds.is_cut)
        if max(counts, default=0) > 1 or not all(pieces for _, pieces in left):
            return True
        if world.request == "removed" and counts[:1] == [1]:
            return True
        reached = rows_of(self.unpublished(world)) | rows_of(world.manifest)
        if self.weaker is not Weaker.PATHS and not rows_of(sound) <= reached:
            return True
        here = rows_of((*world.bucket, *world.data)) | ({0} if world.request else set())
        sure = {row for part in world.parts if not part.in_doubt for row in range(part.start, part.end)}
        return not world.puts and not world.commits and not sure <= here


def rows_of(ranges: Iterable[Range]) -> set[int]:
    return {row for each in ranges for row in range(*each)}


def without_first(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The ranges without the first row."""
    return tuple(piece for each in ranges for piece in uncovered(*each, [(0, 1)]))


def search(weaker: Weaker, bounds: Bounds) -> tuple[World | None, int]:
    """Search all worlds; return the first wrong one, and how many were seen."""
    model = Model(weaker, bounds)
    return first_wrong(World(), model.steps, model.is_wrong)


LINES = Bounds()
ENCODED = Bounds(is_cut=False)
TWO = Bounds(rows=2, ledgers=0, publishers=2, lost=2)
REQUEST = Bounds(rows=2, ledgers=0, requests=1)
DAMAGED = Bounds(rows=2, damaged=1)


@pytest.mark.parametrize(
    ("weaker", "bounds"),
    [
        (Weaker.NEXT_TOO_EARLY, ENCODED),
        (Weaker.PATHS, LINES),
        (Weaker.NO_MARKERS, ENCODED),
        (Weaker.MARKED_LATE, ENCODED),
        (Weaker.NO_PARENT, TWO),
        (Weaker.REQUESTS_IGNORED, REQUEST),
        (Weaker.NEW_REQUEST_MISSED, REQUEST),
        (Weaker.DAMAGED_COUNTS, DAMAGED),
    ],
    ids=lambda value: value.name if isinstance(value, Weaker) else "",
)
def test_each_weaker_rule_loses_or_doubles_rows(weaker: Weaker, bounds: Bounds) -> None:
    wrong, _ = search(weaker, bounds)
    assert wrong is not None


@pytest.mark.parametrize(
    "bounds", [LINES, ENCODED, TWO, REQUEST, DAMAGED], ids=["lines", "encoded", "two", "request", "damaged"]
)
def test_no_interleaving_of_pushes_and_publishes_loses_or_doubles_a_row(bounds: Bounds) -> None:
    wrong, seen = search(Weaker.NONE, bounds)
    assert wrong is None, wrong
    assert seen > 1_000
