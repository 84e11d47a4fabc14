"""The decisions of a push, without a disk or a Hub."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hubspool.files import Stat
from hubspool.push import rules
from hubspool.push.compare import Relation
from hubspool.push.defaults import PushLimits
from hubspool.push.lines import Kind
from hubspool.push.part import Closed, Part
from hubspool.push.rules import FileDecision, FileState, FoundRange, Naming, OnExisting, Read, Upload

NAMING = Naming("data/", "f0" * 16)
LIMITS = PushLimits(part_commits=3, part_bytes=100, part_seconds=1000)
SEGMENT = "train-20260102-0123456789ab-00000.jsonl"


def segment_part(number: int = 0, start: int = 0, end: int = 0, **fields: object) -> Part:
    part = replace(NAMING.segment_part(SEGMENT, number, start, 0.0), end=end, content_id="x" if end > start else None)
    return replace(part, **fields)


def test_the_first_rows_of_a_segment_open_a_part() -> None:
    uploads = rules.plan_segment(SEGMENT, [], [(0, 40)], NAMING, 0, LIMITS)
    assert [(u.part.path, u.part.start, u.end) for u in uploads] == [
        ("data/2026-01/train-20260102-0123456789ab-00000-p0000.jsonl", 0, 40)
    ]


def test_an_open_part_grows_under_its_path() -> None:
    part = segment_part(end=40, commits=1)
    assert rules.plan_segment(SEGMENT, [part], [(40, 60)], NAMING, 0, LIMITS) == [Upload(part, 60)]


def test_a_large_part_is_committed_fewer_times_than_a_small_one() -> None:
    numbers = PushLimits(large_commits=2, large_bytes=1000)
    sizes = {999: 2, 1000: 1, 1001: 2}
    parts = {size: segment_part(end=size, commits=commits) for size, commits in sizes.items()}
    assert [size for size, part in parts.items() if rules.open_part([part], 0, numbers) is None] == [1001]


@pytest.mark.parametrize(
    "full", [{"commits": 3}, {"end": 100}, {"opened_at": -1000.0}, {"closed": Closed.FOREIGN}], ids=str
)
def test_a_full_or_closed_part_never_grows_and_the_next_starts_where_it_ended(full: dict[str, object]) -> None:
    part = segment_part(**{"end": 40, "commits": 1, **full})
    (upload,) = rules.plan_segment(SEGMENT, [part], [(part.end, part.end + 9)], NAMING, 0, LIMITS)
    assert (upload.part.number, upload.part.start, upload.end) == (1, part.end, part.end + 9)


def test_a_part_in_doubt_is_sent_again_with_the_same_bytes_and_later_rows_go_to_the_next() -> None:
    part = segment_part(end=40, commits=1).sending(60, "sha", "id", "push", 0)
    repeat, more = rules.plan_segment(SEGMENT, [part], [(60, 80)], NAMING, 0, LIMITS)
    assert repeat == Upload(part, 60)
    assert repeat.is_repeat
    assert (more.part.number, more.part.start, more.end) == (1, 60, 80)


def test_a_part_whose_repeat_landed_stays_closed() -> None:
    part = segment_part(end=40, commits=1).sending(60, "sha", "id", "push", 0)
    landed = rules.landed(part, 5, 0, LIMITS, was_in_doubt=True)
    assert (landed.end, landed.rows, landed.closed, landed.in_doubt) == (60, 5, Closed.UNKNOWN, False)
    assert rules.open_part([landed], 0, LIMITS) is None


def test_a_backlog_is_cut_into_parts_that_are_full_one_by_one() -> None:
    uploads = rules.plan_segment(SEGMENT, [], [(0, 90), (90, 180), (180, 200)], NAMING, 0, LIMITS)
    assert [(u.part.number, u.part.start, u.end) for u in uploads] == [(0, 0, 90), (1, 90, 180), (2, 180, 200)]


def found(number: int, start: int, end: int) -> FoundRange:
    return FoundRange(number, start, end, rows=1, content_id=f"hub{number}")


def test_recovered_parts_are_closed_and_what_is_missing_goes_into_new_ones() -> None:
    parts = rules.recovered_parts(SEGMENT, [], [found(2, 50, 60), found(0, 0, 20)], NAMING, 0)
    assert [(p.number, p.start, p.end, p.content_id) for p in parts] == [(0, 0, 20, "hub0"), (2, 50, 60, "hub2")]
    assert all(p.closed for p in parts)
    assert rules.position_of(parts) == 60
    missing = rules.missing(parts, 70)
    assert missing == [(20, 50), (60, 70)]
    uploads = rules.plan_segment(SEGMENT, parts, missing, NAMING, 0, LIMITS)
    assert [(u.part.number, u.part.start, u.end) for u in uploads] == [(3, 20, 50), (4, 60, 70)]


def test_of_an_older_ledger_what_the_hub_lacks_was_removed_by_somebody_and_what_is_longer_counts() -> None:
    removed, grown = segment_part(end=20), segment_part(1, 20, 30)
    doubtful = segment_part(2, 30, 30).sending(40, "sha", "id", "push", 0)
    parts = rules.recovered_parts(SEGMENT, [removed, grown, doubtful], [found(1, 20, 50)], NAMING, 0)
    assert [(p.number, p.start, p.end, p.in_doubt) for p in parts] == [
        (0, 0, 20, False), (1, 20, 50, False), (2, 30, 30, False),
    ]  # fmt: skip
    assert all(p.closed for p in parts)


@pytest.mark.parametrize(
    ("end", "read"), [(30, Read.STALE), (40, Read.REPEAT), (50, Read.REPEAT), (60, Read.OURS), (70, Read.NEWER)]
)
def test_what_the_content_at_a_path_of_ours_means(end: int, read: Read) -> None:
    part = segment_part(end=40, commits=1)
    assert rules.judged(part.sending(60, "sha", "id", "push", 0), end) is read
    if end != 60:
        assert rules.judged(part, end) is {40: Read.OURS, 50: Read.NEWER}.get(end, read)


def test_damaged_lines_are_in_no_part() -> None:
    first, second = rules.plan_segment(SEGMENT, [], [(0, 20), (30, 60)], NAMING, 0, LIMITS)
    assert [(u.part.number, u.part.start, u.end) for u in (first, second)] == [(0, 0, 20), (1, 30, 60)]


def test_batches_keep_to_files_and_bytes() -> None:
    uploads = [Upload(segment_part(number=n), 40) for n in range(5)]
    assert [len(b) for b in rules.batches(uploads, replace(LIMITS, batch_files=2))] == [2, 2, 1]
    assert [len(b) for b in rules.batches(uploads, replace(LIMITS, batch_bytes=100))] == [2, 2, 1]
    assert [len(b) for b in rules.batches(uploads, replace(LIMITS, batch_bytes=1))] == [1] * 5


def decide(
    parts: list[Part],
    end: int,
    *,
    kind: Kind = Kind.JSON_LINES,
    relation: Relation = Relation.ABSENT,
    intact: bool = False,
    same: bool = False,
    on_existing: OnExisting = OnExisting.KEEP_BOTH,
) -> FileDecision:
    file = FileState("feedback.jsonl", kind, parts, end, intact=intact, same=same, relation=relation)
    return rules.plan_file(file, on_existing, NAMING, now=0)


def file_part(number: int = 0, start: int = 0, end: int = 0, **fields: object) -> Part:
    part = replace(NAMING.part("feedback.jsonl", number, start, 0), end=end, content_id="x" if end > start else None)
    return replace(part, **fields)


def test_a_new_file_is_sent_under_its_own_name_with_a_guard() -> None:
    decision = decide([], 40)
    assert decision.upload is not None
    assert (decision.upload.part.path, decision.upload.guarded) == ("data/feedback.jsonl", True)


def test_a_grown_line_file_extends_its_path_and_an_equal_one_sends_nothing() -> None:
    part = file_part(end=40)
    assert decide([part], 60, intact=True).upload == Upload(part, 60, guarded=True)
    assert decide([part], 40, intact=True, same=True) == FileDecision()


@pytest.mark.parametrize("on_existing", list(OnExisting))
def test_a_rewritten_line_file_follows_on_existing(on_existing: OnExisting) -> None:
    part = file_part(end=40)
    decision = decide([part], 22, on_existing=on_existing)
    if on_existing is OnExisting.KEEP_BOTH:
        assert decision.parts[0].closed is Closed.REWRITTEN
        assert decision.upload is not None
        assert decision.upload.part.path == "data/feedback-f0f0f0f0-0001.jsonl"
        assert (decision.upload.part.start, decision.upload.end) == (0, 22)
    elif on_existing is OnExisting.OVERWRITE:
        assert decision.upload == Upload(part, 22, guarded=True)
    else:
        assert decision.upload is None
        assert "on_existing='error'" in str(decision.refused)


def test_another_file_that_changes_becomes_a_new_version_of_itself() -> None:
    part = file_part(end=40)
    assert decide([part], 22, kind=Kind.WHOLE).upload == Upload(part, 22, guarded=True)


def test_other_rows_at_the_path_keep_it_and_ours_get_a_name_beside_it() -> None:
    ended = rules.closed_by_conflict(file_part(), Kind.JSON_LINES, Relation.DIVERGED, OnExisting.KEEP_BOTH)
    assert ended is not None
    assert rules.candidate_path("feedback.jsonl", [ended], NAMING) == "data/feedback-f0f0f0f0-0001.jsonl"
    decision = decide([ended], 22)
    assert decision.upload is not None
    assert decision.upload.part.path == "data/feedback-f0f0f0f0-0001.jsonl"
    assert rules.closed_by_conflict(file_part(), Kind.WHOLE, Relation.DIVERGED, OnExisting.KEEP_BOTH) is None


def test_existing_content_is_an_error_only_where_asked() -> None:
    decision = decide([], 22, relation=Relation.DIVERGED, on_existing=OnExisting.ERROR)
    assert decision.upload is None
    assert "data/feedback.jsonl exists on the Hub" in str(decision.refused)


def test_rows_after_a_foreign_change_go_to_a_new_name_and_nothing_is_sent_twice() -> None:
    ended = rules.after_foreign_change(file_part(end=40), Kind.JSON_LINES)
    decision = decide([ended], 60, intact=True)
    assert decision.upload is not None
    assert (decision.upload.part.start, decision.upload.end) == (40, 60)
    assert decision.upload.part.path == "data/feedback-f0f0f0f0-0001.jsonl"
    assert decide([ended], 40, intact=True) == FileDecision()


def test_a_look_resolves_a_guarded_commit_in_doubt() -> None:
    part = file_part(end=40).sending(60, "sha", "new", "push", 0)
    landed = rules.resolved(part, 3, "new")
    assert landed is not None
    assert (landed.end, landed.content_id) == (60, "new")
    withdrawn = rules.resolved(part, 3, "x")
    assert withdrawn is not None
    assert (withdrawn.end, withdrawn.in_doubt) == (40, False)
    assert rules.resolved(part, 3, "somebody else's") is None


def test_rewritten_line_data_becomes_a_version_where_the_scheduler_says_so() -> None:
    part = file_part(end=40)
    file = FileState("feedback.jsonl", Kind.JSON_LINES, [part], 22, versions_rewritten=True)
    assert rules.plan_file(file, OnExisting.KEEP_BOTH, NAMING, now=0) == FileDecision(
        upload=Upload(part, 22, guarded=True)
    )
    refused = rules.plan_file(file, OnExisting.ERROR, NAMING, now=0).refused
    assert "on_existing='error'" in str(refused)


@pytest.mark.parametrize("kind", [Kind.JSON_LINES, Kind.ONE_LINE, Kind.UNDECIDED])
@pytest.mark.parametrize("on_existing", [OnExisting.KEEP_BOTH, OnExisting.OVERWRITE])
@pytest.mark.parametrize("ended", [None, Closed.FOREIGN])
def test_a_part_that_begins_inside_a_file_becomes_no_version_of_it(
    kind: Kind, on_existing: OnExisting, ended: Closed | None
) -> None:
    parts = [file_part(end=40, closed=Closed.FOREIGN), file_part(1, 40, 60, closed=ended)]
    decision = decide(parts, 22, kind=kind, on_existing=on_existing)
    assert decision.upload is not None
    assert (decision.upload.part.start, decision.upload.end) == (0, 22)
    assert decision.upload.part.number > 1
    assert decision.upload.part.path not in {part.path for part in parts}


def test_a_whole_file_that_was_line_data_gets_its_name_back() -> None:
    parts = [file_part(end=40, closed=Closed.REWRITTEN), file_part(1, end=60)]
    decision = decide(parts, 22, kind=Kind.WHOLE)
    assert decision.upload is not None
    part = decision.upload.part
    assert (part.number, part.path, part.start, part.closed) == (2, "data/feedback.jsonl", 0, None)
    again = decide([*parts, replace(part, end=22, content_id="x")], 30, kind=Kind.WHOLE)
    assert again.upload is not None
    assert again.upload.part.number == 2


def test_a_final_push_compares_the_newest_small_files() -> None:
    numbers = replace(LIMITS, compare_final_bytes=100, compare_file_bytes=50, compare_cost_bytes=10)
    settled = {
        "old": Stat(10, 1, 0, 1),
        "large": Stat(50, 9, 0, 2),
        SEGMENT: Stat(10, 9, 0, 3),
        "a": Stat(49, 8, 0, 4),
        "empty": Stat(0, 7, 0, 5),
        "b": Stat(40, 6, 0, 6),
    }
    assert sorted(rules.unless_compared(settled, numbers)) == sorted(["large", "old", SEGMENT])
    assert "old" not in rules.unless_compared(settled, replace(numbers, compare_final_bytes=110))
