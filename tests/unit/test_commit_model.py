"""Every interleaving of appends, lost and late answers, stale reads, kills and restarts, for four ways to commit.

The two that look simpler must lose (so the search can find a loss), the two that are used must not. The decisions are
those of `hubspool.push.rules`; the Hub, the network and the process are a model of a few lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import permutations

import pytest

from hubspool.push import rules
from hubspool.push.defaults import PushLimits
from hubspool.push.part import Part
from hubspool.push.rules import Naming, Upload
from tests.support.model_search import first_wrong

ROWS = 3
LOST = 2
KILLS = 2
SEGMENT = "train-20260102-0123456789ab-00000.jsonl"
NAMING = Naming("", "0" * 32)
LIMITS = PushLimits()


class Variant(Enum):
    GROWS_AGAIN = "bytes frozen until the outcome is known, then the path grows again"
    CLOSED_IN_MEMORY = "closed for ever, but no intent in the ledger"
    PARTS = "closed for ever, intent in the ledger before the request"
    PARENT = "growing path, every commit with parentCommit"


Content = tuple[tuple[str, tuple[int, int]], ...]  # path → rows, sorted


@dataclass(frozen=True)
class Post:
    files: Content
    parent: int | None


@dataclass(frozen=True)
class World:
    rows: int = 0
    parts: tuple[Part, ...] = ()  # what the process knows
    ledger: tuple[Part, ...] = ()  # what survives it
    hub: tuple[Content, ...] = ((),)  # every version; the last is the head
    in_flight: frozenset[Post] = frozenset()
    lost: int = 0
    kills: int = 0


def content_id(rows: tuple[int, int]) -> str:
    return f"{rows[0]}-{rows[1]}"


def landed(hub: tuple[Content, ...], post: Post) -> tuple[Content, ...]:
    """The versions after a request was applied, or unchanged where it is refused."""
    if post.parent is not None and post.parent != len(hub):
        return hub
    head = tuple(sorted({**dict(hub[-1]), **dict(post.files)}.items()))
    return hub if head == hub[-1] else (*hub, head)


class Client:
    def __init__(self, variant: Variant) -> None:
        self.variant = variant

    def uploads(self, parts: tuple[Part, ...], rows: int) -> list[Upload]:
        if self.variant in (Variant.GROWS_AGAIN, Variant.PARENT) and parts and parts[-1].in_doubt:
            return [Upload(parts[-1], parts[-1].sending_end or 0)]
        position = rules.position_of(parts)
        return rules.plan_segment(SEGMENT, parts, [(position, rows)] if rows > position else [], NAMING, 0, LIMITS)

    def acknowledge(self, part: Part, was_in_doubt: bool) -> Part:
        closes = was_in_doubt and self.variant in (Variant.CLOSED_IN_MEMORY, Variant.PARTS)
        return rules.landed(part, 0, 0, LIMITS, was_in_doubt=closes)

    def read_hub(self, world: World, head: Content) -> tuple[World, list[Upload]]:
        """Resolve what a read of `head`, which may be stale, shows; return what is left to send."""
        found = dict(head)
        parts = {part.number: part for part in world.parts}
        if self.variant is Variant.PARENT:
            for part in world.parts:
                rows = found.get(part.path)
                here = content_id(rows) if rows else None
                if part.in_doubt and (resolved := rules.resolved(part, 0, here)) is not None:
                    parts[part.number] = resolved
                elif rows and here != part.content_id:  # a prefix of the local rows, so ours after all
                    parts[part.number] = rules.adopted(part, rows[1], 0, "", content_id(rows))
        known = tuple(parts.values())
        left = []
        for upload in self.uploads(known, world.rows):
            rows = found.get(upload.part.path)
            here = content_id(rows) if rows else None
            wanted = content_id((upload.part.start, upload.end))
            if here == wanted:
                sent = upload.part.sending(upload.end, "", wanted, "", 0)
                parts[upload.part.number] = self.acknowledge(sent, upload.is_repeat)
            elif here in (upload.part.content_id, upload.part.sending_id):
                left.append(upload)
            # Anything else looks foreign: left alone until a later read.
        known = tuple(parts[number] for number in sorted(parts))
        return replace(world, parts=known, ledger=self.saved(world.ledger, known, known)), left

    def saved(
        self, ledger: tuple[Part, ...], acknowledged: tuple[Part, ...], all_parts: tuple[Part, ...]
    ) -> tuple[Part, ...]:
        """What the ledger holds: everything, or without intents only what was acknowledged."""
        if self.variant is not Variant.CLOSED_IN_MEMORY:
            return all_parts
        return tuple(replace(part.withdrawn(), closed=None) for part in acknowledged if part.content_id)

    def pushes(self, world: World) -> Iterator[World]:
        """Every way one push may go."""
        for version in {len(world.hub), max(len(world.hub) - 1, 1)}:  # a fresh or a stale read
            seen, left = self.read_hub(world, world.hub[version - 1])
            if not left:
                yield seen
                continue
            files = tuple(sorted((u.part.path, (u.part.start, u.end)) for u in left))
            post = Post(files, version if self.variant is Variant.PARENT else None)
            parts = {part.number: part for part in seen.parts}
            for upload in left:
                wanted = content_id((upload.part.start, upload.end))
                parts[upload.part.number] = upload.part.sending(upload.end, "", wanted, "", 0)
            sent = tuple(parts[number] for number in sorted(parts))
            waiting = replace(seen, parts=sent, ledger=self.saved(seen.ledger, seen.parts, sent))
            applied = landed(seen.hub, post)
            if post.parent is not None and post.parent != len(seen.hub):
                yield seen  # 412: certainly not applied
            else:
                repeats = {upload.part.number: upload.is_repeat for upload in left}
                done = tuple(self.acknowledge(p, repeats[p.number]) if p.number in repeats else p for p in sent)
                yield replace(waiting, hub=applied, parts=done, ledger=self.saved(waiting.ledger, done, done))
                if world.lost < LOST:
                    yield replace(waiting, hub=applied, lost=world.lost + 1)  # applied, the answer lost
                if world.kills < KILLS:
                    yield self.restarted(replace(waiting, hub=applied))  # killed before the acknowledgement
            if world.lost < LOST:
                in_flight = waiting.in_flight | {post}
                yield replace(waiting, in_flight=in_flight, lost=world.lost + 1)  # applied later, or never
                if world.kills < KILLS:
                    yield self.restarted(replace(waiting, in_flight=in_flight, lost=world.lost + 1))
            if world.kills < KILLS:
                yield self.restarted(waiting)  # killed between the intent and the request

    def restarted(self, world: World) -> World:
        return replace(world, parts=world.ledger, kills=world.kills + 1)

    def steps(self, world: World) -> Iterator[World]:
        if world.rows < ROWS:
            yield replace(world, rows=world.rows + 1)
        yield from self.pushes(world)
        for post in world.in_flight:
            yield replace(world, hub=landed(world.hub, post), in_flight=world.in_flight - {post})

    def drained(self, world: World) -> World:
        """After the faults have stopped: pushes until nothing is left."""
        for _ in range(ROWS + LOST + KILLS + 3):
            seen, left = self.read_hub(world, world.hub[-1])
            if not left and seen == world:
                return world
            world = seen
            if left:
                files = tuple(sorted((u.part.path, (u.part.start, u.end)) for u in left))
                parts = {part.number: part for part in world.parts}
                for upload in left:
                    sent = upload.part.sending(upload.end, "", content_id((upload.part.start, upload.end)), "", 0)
                    parts[upload.part.number] = self.acknowledge(sent, upload.is_repeat)
                done = tuple(parts[number] for number in sorted(parts))
                world = replace(world, parts=done, ledger=done, hub=landed(world.hub, Post(files, None)))
        raise AssertionError(f"pushes do not come to an end: {world}")


def losses(variant: Variant) -> tuple[World | None, int]:
    """Search all worlds; return the first in which a row is missing or doubled at the end, and how many were seen."""
    client = Client(variant)

    def is_wrong(world: World) -> bool:
        for order in permutations(world.in_flight):
            end = client.drained(world)
            for post in order:  # what is in flight may land at the very end, and a last push follows
                end = replace(end, hub=landed(end.hub, post))
                end = client.drained(end)
            rows = sorted(row for _, (start, stop) in end.hub[-1] for row in range(start, stop))
            if rows != list(range(end.rows)):
                return True
        return False

    return first_wrong(World(), client.steps, is_wrong)


@pytest.mark.parametrize("variant", [Variant.GROWS_AGAIN, Variant.CLOSED_IN_MEMORY])
def test_the_simpler_ways_to_commit_lose_rows(variant: Variant) -> None:
    lost, _ = losses(variant)
    assert lost is not None


@pytest.mark.parametrize("variant", [Variant.PARTS, Variant.PARENT])
def test_no_interleaving_loses_or_doubles_a_row(variant: Variant) -> None:
    lost, seen = losses(variant)
    assert lost is None, lost
    assert seen > 1_000
