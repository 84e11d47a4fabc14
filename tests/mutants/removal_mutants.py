"""Mutants of the removal of rows: `hubspool forget` and `retain_days`."""

from __future__ import annotations

from tests.support.mutation import Edit, Mutant

FORGET, RETAIN = "tests/datasets/test_forget.py", "tests/datasets/test_retain.py"
RACES = "tests/datasets/test_forget_races.py"

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
                "self._held_back_until(segment.source, parts)",
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
        "forget_downloads_from_the_branch",
        "a removal reads files as the branch has them, not as the commit that was listed",
        (Edit("hubspool/push/remover.py", "Remover._searched", "self._seen.download", "self.repo.download"),),
        (f"{RACES}::test_a_download_that_answers_with_an_older_version_loses_no_row",),
    ),
    Mutant(
        "forget_skips_changed_files",
        "files with rows to remove that were changed meanwhile count as done",
        (Edit("hubspool/push/remover.py", "Remover._replace", "self.report.left += len(hits)", "pass"),),
        (
            f"{RACES}::test_a_part_that_grows_while_it_is_read_is_read_again",
            f"{RACES}::test_it_fails_where_other_commits_come_first_each_time_and_keeps_its_second_look",
        ),
    ),
    Mutant(
        "expired_files_without_manifest",
        "files that are too old are deleted, and no manifest says so",
        (
            Edit(
                "hubspool/push/remover.py",
                "Expirer._make",
                '[replace(run, path="", removed=run.rows, sha256="") for run in runs]',
                "[]",
            ),
        ),
        (f"{RETAIN}::test_a_scheduler_removes_old_files_and_a_lost_ledger_does_not_bring_them_back",),
    ),
    Mutant(
        "expired_by_this_clock_alone",
        "pending rows are too old as soon as this machine's clock says so",
        (
            Edit(
                "hubspool/push/segment_planner.py",
                "SegmentPlanner._is_over",
                "min(datetime.fromtimestamp(run.now, timezone.utc), hub_at)",
                "datetime.fromtimestamp(run.now, timezone.utc)",
            ),
        ),
        (f"{RETAIN}::test_a_clock_that_is_ahead_takes_no_pending_rows_away",),
    ),
    Mutant(
        "forget_squashes_for_nothing",
        "a value that no row has costs the history",
        (
            Edit(
                "hubspool/push/remover.py",
                "Remover.remove",
                "not report.rows and not any(commit.title.startswith(_TITLE) for commit in self.repo.commits())",
                "False",
            ),
        ),
        (f"{FORGET}::test_a_value_that_no_row_has_leaves_the_history_as_it_is",),
    ),
    Mutant(
        "idle_scheduler_reads_no_request",
        "a scheduler without new rows never reads which rows are to be removed",
        (
            Edit(
                "hubspool/push/sinks.py",
                "RepositorySink._newest",
                "now - memory.looked_at < context.limits.look_seconds",
                "now >= memory.looked_at",
            ),
        ),
        (f"{RACES}::test_a_scheduler_without_new_rows_removes_them_from_its_disk_and_makes_the_second_look",),
    ),
]
