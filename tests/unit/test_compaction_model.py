"""Every interleaving of pushes and compactions: lost, late and stale answers, kills, lost ledgers, edits by a person.

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
from hubspool.push.part import Closed, Part
from hubspool.push.rules import FoundRange, Naming, Read
from hubspool.spool.segment_name import part_number
from tests.support.model_search import first_wrong

NAMING = Naming("", "0" * 32)
LIMITS = PushLimits()

#: Writer and rows [start, end) of its segment; rows that a person has changed belong to writer -1.
Rows = tuple[int, int, int]
EDITED = -1


class Weaker(Enum):
    NONE = "the rules that are used"
    NO_MANIFESTS = "looks do not ask the manifests: a joined part counts as removed by somebody"
    PATH_WINS = "where a path has content, its manifest is not asked"
    JOINS_GHOSTS = "a file at a path that a manifest names is joined once more"
    ANSWER_IS_FINAL = "rows are acknowledged by the answer, before the manifests of that commit were read"
    GROWS_ON = "a part grows again after it was joined"
    NO_PARENT = "the compaction carries no parentCommit"
    UNCHECKED = "the compaction does not check that its sources are what it has joined"
    ANY_BYTES = "a joined part counts as sent although a person had changed it"
    KNOWS_ALL = "a ledger is taken to know all parts that the manifests name"
    TAILS_DELETED = "a ghost is deleted although it has rows beyond the manifest's end"
    DOUBT_IS_OVER = "a part in doubt whose file a person had changed before it was joined counts as never sent"


@dataclass(frozen=True)
class Version:
    """What one commit shows: files at part paths, rows in joined files, and the manifests."""

    files: tuple[tuple[str, Rows], ...] = ()
    joined: tuple[Rows, ...] = ()
    manifest: tuple[tuple[str, Rows], ...] = ()
    landed: frozenset[tuple[str, Rows]] = frozenset()  # what the list of commits tells, where it matters


@dataclass(frozen=True)
class Post:
    """A commit on its way: the files that it writes, or the ones that it joins."""

    writes: tuple[tuple[str, Rows], ...] = ()
    joins: tuple[tuple[str, Rows], ...] = ()
    parent: int | None = None
    life: int = 0


@dataclass(frozen=True)
class Answer:
    """A commit that was answered, whose manifests are still to be read: its version, and the paths that it wrote."""

    version: Version
    paths: frozenset[str]
    repeats: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Writer:
    rows: int = 0
    parts: tuple[Part, ...] = ()
    planned: tuple[tuple[str, Rows], ...] = ()  # looked at, and about to be sent
    answer: Answer | None = None
    recovers: int = 0  # looks that are to come after a lost ledger
    removed: bool = False  # all is sent, and the segment is off the disk
    copy: tuple[Part, ...] | None = None  # of the ledger, which may take its place later


@dataclass(frozen=True)
class World:
    writers: tuple[Writer, ...]
    head: Version = Version()
    before: Version = Version()
    number: int = 0  # of the head
    in_flight: frozenset[Post] = frozenset()
    prepared: tuple[tuple[tuple[str, Rows], ...], ...] = ()  # what compactors have downloaded
    edited: frozenset[tuple[int, int]] = frozenset()  # writer and row
    lost: int = 0
    compactions: int = 0
    life: int = 0


@dataclass(frozen=True)
class Bounds:
    """How much there is, and how much may go wrong; `old` writers know no manifests."""

    rows: tuple[int, ...] = (3,)
    lost: int = 1
    compactions: int = 2
    lives: int = 0
    edits: int = 0
    kills: bool = False
    losses: bool = True  # of ledgers, in each life
    copies: bool = False  # of ledgers, put back in place of a newer one
    old: frozenset[int] = frozenset()


def segment(writer: int) -> str:
    return f"train-20260102-{writer:012d}-00000.jsonl"


def name(rows: Rows) -> str:
    return "-".join(map(str, rows))


class Model:
    def __init__(self, weaker: Weaker, bounds: Bounds) -> None:
        self.weaker = weaker
        self.bounds = bounds

    # -- the Hub

    def committed(self, world: World, post: Post) -> World | None:
        """The world after a commit was applied; None if it is refused."""
        if post.parent is not None and post.parent != world.number:
            return None
        files, head = dict(world.head.files), world.head
        if post.joins and any(path not in files for path, _ in post.joins):
            return None  # the Hub refuses to delete what is not there
        files.update(post.writes)
        for path, _ in post.joins:
            del files[path]
        new = Version(
            tuple(sorted(files.items())),
            tuple(sorted([*head.joined, *(rows for _, rows in post.joins)])),
            tuple(sorted({*head.manifest, *post.joins})),
            head.landed | {*post.writes} if self.bounds.edits else head.landed,
        )
        return world if new == head else replace(world, head=new, before=head, number=world.number + 1)

    # -- a writer

    def asked(self, parts: tuple[Part, ...], version: Version, writer: int, *, is_last: bool) -> tuple[Part, ...]:
        """The parts after the manifests of a version were asked about all of them."""
        if self.weaker is Weaker.NO_MANIFESTS or writer in self.bounds.old:
            return parts
        named, files = dict(version.manifest), dict(version.files)
        result = []
        for part in parts:
            rows = named.get(part.path)
            if (
                rows is None
                or part.closed is Closed.COMPACTED
                or (self.weaker is Weaker.PATH_WINS and part.path in files)
            ):
                result.append(part)
            elif rows[0] == writer or self.weaker is Weaker.ANY_BYTES:
                after = rules.compacted(part, rows[2], 0, "", name(rows))
                result.append(replace(after, closed=None) if self.weaker is Weaker.GROWS_ON else after)
            else:
                result.append(self.changed(part, version, writer, is_last=is_last))
        return tuple(result)

    def changed(self, part: Part, version: Version, writer: int, *, is_last: bool) -> Part:
        """The part after a person has changed or removed its file."""
        if self.weaker is Weaker.DOUBT_IS_OVER:
            return rules.after_foreign_change(part, None)
        has_landed = part.in_doubt and (part.path, (writer, part.start, part.sent_end)) in version.landed
        return rules.after_changed_in_doubt(part, 0, has_landed=has_landed, is_last=is_last)

    def recovered(self, writer: int, known: tuple[Part, ...], version: Version) -> tuple[Part, ...]:
        named, files, found = dict(version.manifest), dict(version.files), []
        for number in range(8):
            path = NAMING.segment_part(segment(writer), number, 0, 0).path
            rows = files.get(path) if self.weaker is Weaker.PATH_WINS else named.get(path)
            if self.weaker is Weaker.NO_MANIFESTS:
                rows = files.get(path)
            rows = rows or files.get(path) or (named.get(path) if self.weaker is not Weaker.NO_MANIFESTS else None)
            if rows is None:
                continue
            if rows[0] == EDITED:  # as many bytes: not sent again
                rows = (writer, *rows[1:])
            found.append(FoundRange(number, rows[1], rows[2], 0, name(rows)))
        return tuple(rules.recovered_parts(segment(writer), known, found, NAMING, 0))

    def looked(self, world: World, writer: int, version: Version) -> tuple[Writer, tuple[tuple[str, Rows], ...]]:
        """A writer after it compared its rows with a version of the Hub, and what is left to send."""
        me = world.writers[writer]
        if me.recovers:
            if me.recovers == 1:
                me = replace(me, parts=self.recovered(writer, me.parts, version))
            return replace(me, recovers=me.recovers - 1), ()
        may_land = any(segment(writer)[:-6] in path for post in world.in_flight for path, _ in post.writes)
        known = self.asked(me.parts, version, writer, is_last=not may_land)
        files, parts = dict(version.files), {part.number: part for part in known}
        left, is_fresh = [], version == world.head
        named = {part_number(path) for path, _ in version.manifest if segment(writer)[:-6] in path}
        is_weak = self.weaker in (Weaker.KNOWS_ALL, Weaker.NO_MANIFESTS)
        if named - parts.keys() and writer not in self.bounds.old and not is_weak:
            return replace(me, parts=known, recovers=2), ()
        is_weak = is_weak or writer in self.bounds.old or self.weaker is Weaker.PATH_WINS
        if not is_weak and any(part.in_doubt and part.path in dict(version.manifest) for part in known):
            return replace(me, parts=known), ()
        for upload in rules.plan_segment(segment(writer), known, rules.missing(known, me.rows), NAMING, 0, LIMITS):
            part, here = upload.part, files.get(upload.part.path)
            wanted = (writer, part.start, upload.end)
            if here == wanted:
                sent = part.sending(upload.end, "", name(here), "", 0)
                parts[part.number] = rules.landed(sent, 0, 0, LIMITS, was_in_doubt=upload.is_repeat)
            elif (here is None and not part.content_id) or (here is not None and name(here) == part.content_id):
                left.append((part.path, wanted))
            elif here is not None and here[:2] == wanted[:2]:
                if (read := rules.judged(part, here[2])) is Read.REPEAT:
                    left.append((part.path, wanted))
                elif read is not Read.STALE:
                    parts[part.number] = rules.closed_unknown(rules.adopted(part, here[2], 0, "", name(here)))
                    if read is Read.NEWER:
                        return replace(me, parts=tuple(parts[n] for n in sorted(parts)), recovers=2), ()
            elif is_fresh:
                parts[part.number] = self.changed(part, version, writer, is_last=not may_land)
        return replace(me, parts=tuple(parts[n] for n in sorted(parts))), tuple(left)

    def intents(self, me: Writer, planned: tuple[tuple[str, Rows], ...]) -> tuple[Part, ...]:
        known = {part.path: part for part in me.parts}
        for upload in rules.plan_segment(
            me_segment(planned), me.parts, [(r[1], r[2]) for p, r in planned if p not in known], NAMING, 0, LIMITS
        ):
            known.setdefault(upload.part.path, upload.part)
        for path, rows in planned:
            known[path] = known[path].sending(rows[2], "", name(rows), "", 0)
        return tuple(sorted(known.values(), key=lambda part: part.number))

    def acknowledged(self, parts: tuple[Part, ...], answer: Answer, writer: int) -> tuple[Part, ...]:
        """The parts after the answer to their commit; the manifests of that commit say what the Hub has kept of it."""
        asked = parts
        if self.weaker is not Weaker.ANSWER_IS_FINAL:
            asked = self.asked(parts, answer.version, writer, is_last=False)
        return tuple(
            rules.landed(part, 0, 0, LIMITS, was_in_doubt=part.path in answer.repeats)
            if part.in_doubt and part.path in answer.paths
            else part
            for part in asked
        )

    # -- all that may happen

    def steps(self, world: World) -> Iterator[World]:
        for post in world.in_flight:
            rest = replace(world, in_flight=world.in_flight - {post})
            yield self.committed(rest, post) or rest
            yield rest
        for writer in range(len(world.writers)):
            yield from self.writes(world, writer)
        yield from self.compacts(world)
        named = dict(world.head.manifest)
        for path, rows in world.head.files:
            if path in named:  # a ghost: any push deletes it, with parentCommit
                if (head := self.without(path, world.head)) is not None:
                    yield replace(world, head=head, before=world.head, number=world.number + 1)
            elif rows[0] != EDITED and self.may_edit(world):
                files = tuple((p, (EDITED, r[1], r[2] - 1) if p == path else r) for p, r in world.head.files)
                edited = frozenset((rows[0], row) for row in range(rows[1], rows[2]))
                head = replace(world.head, files=files)
                yield replace(world, head=head, before=head, number=world.number + 1, edited=edited)

    def without(self, path: str, head: Version) -> Version | None:
        """The repository without a ghost; None if it has rows that its writer is to send in another part first.

        A writer that knows no manifests sends them nowhere else: they go into the joined file.
        """
        files, manifest = dict(head.files), dict(head.manifest)
        (writer, start, end), held = files.pop(path), manifest.pop(path)
        # What a commit has named counts, also where a person has changed it since.
        beside = [rows for each, rows in [*files.items(), *manifest.items(), *head.landed] if each != path]
        beside = [rows for rows in beside if rows[0] == writer]
        known = [Part("", 0, "", *rows[1:], 0.0) for rows in [*beside, held]]
        tail = [gap for gap in rules.missing(known, end) if gap[1] > held[2]]
        if tail and held[0] == writer and self.weaker is not Weaker.TAILS_DELETED:
            if writer not in self.bounds.old:
                return None
            manifest[path] = (writer, start, end)
            joined = sorted((*(rows for rows in head.joined if rows != held), manifest[path]))
            head = replace(head, manifest=tuple(sorted(manifest.items())), joined=tuple(joined))
        return replace(head, files=tuple(sorted(files.items())))

    def may_edit(self, world: World) -> bool:
        """Whether a person changes a file now: what a stale read or a commit under way overwrites, no rule saves."""
        under_way = world.in_flight or any(me.planned for me in world.writers)
        return len(world.edited) < self.bounds.edits and not under_way

    def writes(self, world: World, writer: int) -> Iterator[World]:
        me = world.writers[writer]
        if me.removed:
            return
        if me.rows < self.bounds.rows[writer]:
            yield self.having(world, writer, replace(me, rows=me.rows + 1))
        if world.life < self.bounds.lives and (me.parts or me.planned):
            if self.bounds.losses:
                lost = Writer(me.rows, recovers=2)
                yield replace(self.having(world, writer, lost), life=world.life + 1)
            if self.bounds.copies and me.copy is None and me.parts:
                yield self.having(world, writer, replace(me, copy=me.parts))
            if me.copy is not None and not world.in_flight:  # that takes longer than a commit is under way
                older = Writer(me.rows, me.copy)
                yield replace(self.having(world, writer, older), before=world.head, life=world.life + 1)
            if self.bounds.kills:
                killed = replace(me, planned=(), answer=None)
                yield replace(self.having(world, writer, killed), life=world.life + 1)
        if me.answer is not None:
            done = self.acknowledged(me.parts, me.answer, writer)
            yield self.having(world, writer, replace(me, parts=done, answer=None))
        elif me.planned:
            yield from self.sends(world, writer, me)
        else:
            may_land = any(post.life < world.life for post in world.in_flight)
            for version in {world.head, world.before}:
                if me.recovers == 1 and (may_land or version != world.head):
                    continue  # the second look comes an hour later
                seen, left = self.looked(world, writer, version)
                yield self.having(world, writer, replace(seen, planned=left))
            is_done = me.rows == self.bounds.rows[writer] and not me.recovers
            if is_done and not rules.missing(me.parts, me.rows) and not any(part.in_doubt for part in me.parts):
                yield self.having(world, writer, replace(me, removed=True))

    def sends(self, world: World, writer: int, me: Writer) -> Iterator[World]:
        sent = self.intents(me, me.planned)
        post = Post(me.planned, life=world.life)
        waiting = replace(me, parts=sent, planned=())
        after = self.committed(world, post)
        assert after is not None
        answer = self.answered(me, me.planned, after.head)
        known = {part.path for part in me.parts}
        is_first = not any(path in known for path in answer.paths)
        if self.weaker is Weaker.ANSWER_IS_FINAL or writer in self.bounds.old or is_first:
            # What no commit ever named cannot have been joined before it.
            done = self.acknowledged(sent, replace(answer, version=Version()), writer)
            yield self.having(after, writer, replace(waiting, parts=done))
        else:
            yield self.having(after, writer, replace(waiting, answer=answer))
        if world.lost < self.bounds.lost:
            yield replace(self.having(after, writer, waiting), lost=world.lost + 1)
            late = replace(world, in_flight=world.in_flight | {post}, lost=world.lost + 1)
            yield self.having(late, writer, waiting)

    def compacts(self, world: World) -> Iterator[World]:
        named = dict(world.head.manifest)
        joinable = tuple(
            each for each in world.head.files if each[0] not in named or self.weaker is Weaker.JOINS_GHOSTS
        )
        if world.compactions < self.bounds.compactions and joinable:
            yield replace(world, prepared=(*world.prepared, joinable), compactions=world.compactions + 1)
        for index, sources in enumerate(world.prepared):
            rest = replace(world, prepared=world.prepared[:index] + world.prepared[index + 1 :])
            yield rest
            files = dict(world.head.files)
            if self.weaker is not Weaker.UNCHECKED and any(
                files.get(path) != rows or (path in named and self.weaker is not Weaker.JOINS_GHOSTS)
                for path, rows in sources
            ):
                continue
            post = Post(joins=sources, parent=None if self.weaker is Weaker.NO_PARENT else world.number)
            if (done := self.committed(rest, post)) is not None:
                yield done
            if world.lost < self.bounds.lost:
                yield replace(rest, in_flight=rest.in_flight | {post}, lost=world.lost + 1)

    def answered(self, me: Writer, planned: tuple[tuple[str, Rows], ...], version: Version) -> Answer:
        doubtful = frozenset(part.path for part in me.parts if part.in_doubt)
        return Answer(version, frozenset(path for path, _ in planned), doubtful)

    def having(self, world: World, writer: int, me: Writer) -> World:
        return replace(world, writers=(*world.writers[:writer], me, *world.writers[writer + 1 :]))

    def drained(self, world: World) -> World:
        """After the faults have stopped: pushes until nothing is left, and ghosts are deleted."""
        for _ in range(12):
            before = world
            for writer in range(len(world.writers)):
                if (me := world.writers[writer]).removed:
                    continue
                if me.answer is not None:
                    done = self.acknowledged(me.parts, me.answer, writer)
                    world = self.having(world, writer, replace(me, parts=done, answer=None))
                me, left = self.looked(world, writer, world.head)
                if left:
                    sent = self.intents(me, left)
                    after = self.committed(world, Post(left))
                    assert after is not None
                    done = self.acknowledged(sent, self.answered(me, left, after.head), writer)
                    world, me = after, replace(me, parts=done)
                world = self.having(world, writer, replace(me, planned=()))
            for path in dict(world.head.manifest):
                if path in dict(world.head.files) and (head := self.without(path, world.head)) is not None:
                    world = replace(world, head=head)
            if world == before:
                return world
        raise AssertionError(f"pushes do not come to an end: {world}")

    def is_whole(self, world: World) -> bool:
        head = world.head
        held = [(w, row) for w, start, end in [*head.joined, *(r for _, r in head.files)] for row in range(start, end)]
        found = sorted(each for each in held if each[0] != EDITED)
        wanted = {(w, row) for w, me in enumerate(world.writers) for row in range(me.rows)}
        return found == sorted(wanted - world.edited)


def me_segment(planned: tuple[tuple[str, Rows], ...]) -> str:
    return segment(next(rows[0] for _, rows in planned))


def broken(weaker: Weaker, bounds: Bounds) -> tuple[World | None, int]:
    """Search all worlds; return the first in which a row is missing or doubled at the end, and how many were seen."""
    model = Model(weaker, bounds)
    return first_wrong(
        World(tuple(Writer() for _ in bounds.rows)),
        model.steps,
        lambda world: not world.in_flight and not model.is_whole(model.drained(world)),
    )


ONE = Bounds()
TWO_WRITERS = Bounds(rows=(2, 1), lost=1, compactions=1)
LOST_LEDGER = Bounds(rows=(2,), lost=1, compactions=2, lives=1, kills=True)
OLDER_LEDGER = Bounds(rows=(3,), lost=0, compactions=2, lives=1, losses=False, copies=True)
OLD_REPLICA = Bounds(rows=(3,), lost=0, compactions=2, old=frozenset({0}))
EDIT = Bounds(rows=(2,), lost=1, compactions=2, edits=1)

BOUNDS = {
    Weaker.ANY_BYTES: EDIT,
    Weaker.DOUBT_IS_OVER: EDIT,
    Weaker.KNOWS_ALL: OLDER_LEDGER,
    Weaker.TAILS_DELETED: OLD_REPLICA,
}
WEAKER = [(each, BOUNDS.get(each, LOST_LEDGER)) for each in Weaker if each is not Weaker.NONE]


@pytest.mark.parametrize(("weaker", "bounds"), WEAKER, ids=lambda value: getattr(value, "name", ""))
def test_a_weaker_rule_loses_or_doubles_a_row(weaker: Weaker, bounds: Bounds) -> None:
    found, _ = broken(weaker, bounds)
    assert found is not None


ALL = {
    "one": (ONE, 11665),
    "two writers": (TWO_WRITERS, 8953),
    "lost ledger": (LOST_LEDGER, 7445),
    "older ledger": (OLDER_LEDGER, 6890),
    "old replica": (OLD_REPLICA, 435),
    "edit": (EDIT, 3938),
}


@pytest.mark.parametrize(("bounds", "worlds"), ALL.values(), ids=ALL)
def test_no_interleaving_loses_or_doubles_a_row(bounds: Bounds, worlds: int) -> None:
    """The number of worlds is written down: a search that sees fewer is another search."""
    found, seen = broken(Weaker.NONE, bounds)
    assert found is None, found
    assert seen == worlds
