"""Mutants of compaction: each is a weaker rule that loses or doubles a row (tests/unit/test_compaction_model.py)."""

from __future__ import annotations

from tests.mutants.killers import DATASETS, UNIT
from tests.support.mutation import Edit, Mutant

FAULTS = f"{DATASETS}/test_compaction_faults.py"
DUE = f"{UNIT}/test_compaction_due.py"

MUTANTS = [
    Mutant(
        "looks_without_manifests",
        "a push does not ask the manifests what has become of its parts",
        (
            Edit("hubspool/push/pusher.py", "Pusher._push", "context.after_joins(head, parts, unsent)", "{}"),
            Edit(
                "hubspool/push/committer.py",
                "Committer._files",
                "context.after_joins(head, [upload.part for upload in uploads])",
                "{}",
            ),
        ),
        (f"{FAULTS}::test_rows_after_a_join_go_to_the_next_part_at_once",),
    ),
    Mutant(
        "ledger_lost_without_manifests",
        "after a lost ledger, rows that are in a joined file count as unsent",
        (
            Edit(
                "hubspool/push/segment_planner.py",
                "SegmentPlanner._found_ranges",
                "self.context.memory.manifests.of_segment(source)",
                "{}",
            ),
        ),
        (f"{FAULTS}::test_a_lost_state_folder_sends_nothing_again",),
    ),
    Mutant(
        "ledger_lost_path_wins",
        "after a lost ledger, what stands at the path of a joined part counts, and not its manifest",
        (
            Edit(
                "hubspool/push/segment_planner.py",
                "SegmentPlanner._found_ranges",
                "(held_part := joined.get(number)) is not None",
                "(held_part := joined.get(number)) is not None and number not in files",
            ),
        ),
        (f"{FAULTS}::test_a_lost_ledger_believes_the_manifest_and_not_what_stands_at_a_joined_part",),
    ),
    Mutant(
        "ghosts_joined",
        "a file at a path that a manifest names is joined once more",
        (Edit("hubspool/push/compaction.py", "due", "not held(source.path)", "True"),),
        (f"{DUE}::test_a_file_at_a_path_that_a_manifest_names_is_not_joined",),
    ),
    Mutant(
        "ghosts_stay",
        "a push leaves parts that landed after their join",
        (
            Edit(
                "hubspool/push/committer.py",
                "Committer._ghosts",
                "return [CommitOperationDelete(path) for path in self.context.repo.at(head.oid).files(paths)]",
                "return []",
            ),
        ),
        (f"{FAULTS}::test_a_commit_that_lands_after_its_part_was_joined_is_deleted_by_the_next_push",),
    ),
    Mutant(
        "answer_is_final",
        "rows count as acknowledged by the answer, before the manifests of that commit were read",
        (Edit("hubspool/push/committer.py", "Committer._commit", "self._joined_before(commit.oid, intents)", "{}"),),
        (f"{FAULTS}::test_rows_that_land_in_a_part_after_its_join_are_sent_in_the_next",),
    ),
    Mutant(
        "joined_part_grows",
        "a part grows again after it was joined",
        (Edit("hubspool/push/rules.py", "compacted", "Closed.COMPACTED", "part.closed"),),
        (f"{DUE}::test_a_part_that_was_joined_never_grows",),
    ),
    Mutant(
        "edited_part_taken_for_ours",
        "a joined part counts as sent although a person had changed it",
        (Edit("hubspool/push/payloads.py", "Payloads.after_join", "not is_ours", "False"),),
        (f"{FAULTS}::test_what_a_person_edits_before_the_join_is_joined_and_not_sent_again",),
    ),
    Mutant(
        "sources_unchecked",
        "a join does not check that its sources are what was downloaded",
        (
            Edit(
                "hubspool/push/compaction.py",
                "Compactor._commit",
                "any(path not in files or files[path].content_id != wanted[path] for path in wanted)",
                "False",
            ),
        ),
        (f"{FAULTS}::test_a_part_that_a_person_edits_before_the_commit_stays_as_it_is",),
    ),
    Mutant(
        "join_without_parent",
        "the commit of a join carries no parentCommit",
        (Edit("hubspool/push/remote.py", "RemoteRepo.commit", "parent", "None"),),
        (f"{FAULTS}::test_an_edit_between_the_check_and_the_commit_of_a_join_is_not_lost",),
    ),
    Mutant(
        "branch_downloaded",
        "a join downloads what the branch has now, and not what it has listed",
        (Edit("hubspool/push/compaction.py", "Compactor._make.fetch", "self._seen", "self.repo"),),
        (f"{FAULTS}::test_what_is_joined_was_read_at_the_commit_that_listed_it",),
    ),
    Mutant(
        "months_of_joined_files_unread",
        "files of days are joined without the manifests that name their parts",
        (Edit("hubspool/push/compaction.py", "Compactor.due", "self.manifests.read(self.repo, head, (), again)", ""),),
        (f"{FAULTS}::test_a_process_that_joins_files_of_days_names_their_parts",),
    ),
    Mutant(
        "joins_free",
        "a join is not counted in the hour's commits",
        (Edit("hubspool/push/budget.py", "Turns.note_beside", "self._beside += commits", ""),),
        (f"{UNIT}/test_rules.py::test_commits_beside_the_pushes_stay_within_the_hour",),
    ),
    Mutant(
        "today_joined",
        "the parts of today are joined",
        (Edit("hubspool/push/compaction.py", "due", "s.day < last", "s.day <= last"),),
        (f"{DUE}::test_parts_of_today_are_left_alone",),
    ),
]
