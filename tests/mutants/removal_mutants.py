"""Mutants of the removal of rows: `hubspool forget` and `retain_days`."""

from __future__ import annotations

from tests.support.mutation import Edit, Mutant

FORGET, RETAIN = "tests/datasets/test_forget.py", "tests/datasets/test_retain.py"

MUTANTS = [
    Mutant(
        "removed_row_grows_back",
        "an open part with removed rows goes on growing, from bytes that this disk no longer has",
        (
            Edit(
                "hubspool/push/local_removal.py",
                "LocalRemoval._freed",
                "part if part.closed else replace(part, closed=Closed.REWRITTEN)",
                "part",
            ),
        ),
        (f"{FORGET}::test_a_replica_that_reads_the_request_first_closes_its_part",),
    ),
    Mutant(
        "removed_line_is_damage",
        "a line that was removed on purpose counts as damaged",
        (
            Edit(
                "hubspool/push/segment_planner.py",
                "SegmentPlanner._plan_lines",
                "parts = self._without_removed(segment, parts, end, run)",
                "",
            ),
        ),
        (f"{FORGET}::test_running_replicas_remove_pending_rows_from_their_disks_and_go_on",),
    ),
    Mutant(
        "removed_row_in_doubt_repeated",
        "a commit in doubt that holds removed rows is repeated",
        (
            Edit(
                "hubspool/push/segment_planner.py",
                "SegmentPlanner._plan_lines",
                "context.memory.held_back.get(segment.source)",
                "None",
            ),
        ),
        (f"{FORGET}::test_rows_in_doubt_are_not_sent_again",),
    ),
    Mutant(
        "no_second_look_for_removed_rows",
        "the second look after a removal reads no file",
        (Edit("hubspool/push/remover.py", "Remover.check", "self.remove(waiting)", "self.remove([])"),),
        (f"{FORGET}::test_commits_that_land_late_are_removed_by_the_second_look",),
    ),
    Mutant(
        "expired_files_without_manifest",
        "files that are too old are deleted, and no manifest says so",
        (
            Edit(
                "hubspool/push/remover.py",
                "Expirer._make",
                '[replace(run, path="", removed=run.rows) for run in runs]',
                "[]",
            ),
        ),
        (f"{RETAIN}::test_a_scheduler_removes_old_files_and_a_lost_ledger_does_not_bring_them_back",),
    ),
]
