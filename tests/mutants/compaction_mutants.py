"""Mutants of compaction: each is a weaker rule that loses or doubles a row (tests/unit/test_compaction_model.py)."""

from __future__ import annotations

from tests.mutants.killers import DATASETS, UNIT
from tests.support.mutation import Edit, Mutant

FAULTS = f"{DATASETS}/test_compaction_faults.py"
KINDS = f"{DATASETS}/test_compaction_kinds.py"
DUE = f"{UNIT}/test_compaction_due.py"
PUSH = f"{DATASETS}/test_push_after_joins.py"

MUTANTS = [
    Mutant(
        "looks_without_manifests",
        "a push does not ask the manifests what has become of its parts",
        (
            Edit("hubspool/push/sinks.py", "RepositorySink.look", "context.after_joins(head, parts, unsent)", "{}"),
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
                "self.context.memory.manifests.of_segment(source)",
                "{n: held for n, held in self.context.memory.manifests.of_segment(source).items()"
                " if n not in self._part_files(source, run)}",
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
                "removable_ghosts(at, files.values(), memory.manifests, named)",
                "[]",
            ),
        ),
        (f"{FAULTS}::test_a_commit_that_lands_after_its_part_was_joined_is_deleted_by_the_next_push",),
    ),
    Mutant(
        "answer_is_final",
        "rows count as acknowledged by the answer, before the manifests of that commit were read",
        (
            Edit(
                "hubspool/push/committer.py",
                "Committer._commit",
                "self._joined_before(commit.oid, intents, head)",
                "{}",
            ),
        ),
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
        "older_ledger_believed",
        "a ledger is taken to know all parts of a segment that the manifests name",
        (Edit("hubspool/push/context.py", "PushContext.after_joins", "(s, number) not in after", "False"),),
        (f"{PUSH}::test_an_older_ledger_finds_joined_parts_that_it_does_not_know",),
    ),
    Mutant(
        "tails_deleted",
        "a late part is deleted although it has rows that nothing else has",
        (Edit("hubspool/push/ghosts.py", "removable_ghosts", "not _has_tail(reader, file, manifests, named)", "True"),),
        (f"{PUSH}::test_rows_that_only_a_late_part_has_are_not_deleted",),
    ),
    Mutant(
        "doubt_is_over",
        "a part in doubt whose file a person had changed before it was joined counts as never sent",
        (Edit("hubspool/push/rules.py", "after_changed_in_doubt", "part.in_doubt and has_landed", "False"),),
        (f"{PUSH}::test_what_was_sent_in_doubt_and_edited_before_the_join_is_not_sent_again",),
    ),
    Mutant(
        "joined_part_begins_where_another_ends",
        "a joined part of which no commit says where it begins is taken to follow the one before it",
        (
            Edit(
                "hubspool/push/payloads.py",
                "Payloads.range_of_joined",
                "has_content(path, held.size, held.digest, each)",
                "True",
            ),
        ),
        (f"{PUSH}::test_recovery_finds_joined_parts_that_do_not_follow_each_other",),
    ),
    Mutant(
        "given_day_believed",
        "`hubspool compact --before` joins parts of today",
        (
            Edit(
                "hubspool/push/compaction.py",
                "Compactor.due",
                "min((head.at - _HUB_CLOCKS).date(), before or date.max)",
                "before or head.at.date()",
            ),
        ),
        (f"{PUSH}::test_parts_of_today_are_not_joined_whatever_day_is_given",),
    ),
    Mutant(
        "lagging_replica_is_final",
        "a replica of the Hub that does not know the new commit yet ends the push",
        (Edit("hubspool/push/remote.py", "RemoteRepo._ask", "self._is_commit", "False"),),
        (f"{PUSH}::test_a_replica_of_the_hub_that_does_not_know_the_new_commit_yet_is_asked_again",),
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
        (Edit("hubspool/push/manifest.py", "_month_of", "JoinedName.parse(name)", "None"),),
        (f"{FAULTS}::test_a_process_that_joins_files_of_days_names_their_parts",),
    ),
    Mutant(
        "joined_file_without_digest",
        "a manifest does not say which content its joined file has",
        (
            Edit(
                "hubspool/push/manifest.py",
                "new_manifest",
                'contents.get(run.path, run.file if run.path else "")',
                '""',
            ),
        ),
        (f"{DATASETS}/test_verify.py::test_what_is_left_of_a_joined_file_after_a_removal_is_checked[parquet]",),
    ),
    Mutant(
        "corrections_are_damage",
        "verify takes two rows with one id for one row that is there twice",
        (Edit("hubspool/push/snapshot.py", "_facts", "_key(row)", 'b""'),),
        (f"{DATASETS}/test_verify.py::test_a_correction_with_the_id_of_the_row_is_no_damage[jsonl]",),
    ),
    Mutant(
        "old_list_of_commits_believed",
        "verify takes a list of commits that lags behind the ledger for the state of the branch",
        (Edit("hubspool/cli/verify.py", "_compared", "is_newer and known.last_commit not in seen.commits", "False"),),
        (f"{DATASETS}/test_verify.py::test_a_list_of_commits_that_lags_behind_the_ledger_is_read_again",),
    ),
    Mutant(
        "joins_free",
        "a join is not counted in the hour's commits",
        (Edit("hubspool/push/budget.py", "Turns.note_beside", "max(self._owed - past, 0.0) + commits", "self._owed"),),
        (f"{UNIT}/test_rules.py::test_commits_beside_the_pushes_stay_within_the_hour",),
    ),
    Mutant(
        "flush_waits_for_join",
        "a flush waits until the Hub has answered a join",
        (
            Edit(
                "hubspool/scheduling/daily.py",
                "beside_pushes",
                "replace(context.api.session, interrupt=threading.Event(), ends_answers=True)",
                "replace(context.api.session, interrupt=threading.Event())",
            ),
        ),
        (f"{DATASETS}/test_compaction_daily.py::test_a_flush_ends_a_join_that_is_under_way[commit-flush]",),
    ),
    Mutant(
        "half_months_kept",
        "rows in files that were joined twice are not removed",
        (
            Edit(
                "hubspool/push/compaction.py",
                "Compactor.run",
                "bool(join.sources[0].level) is is_joined",
                "join.sources[0].level == is_joined",
            ),
        ),
        (f"{DATASETS}/test_forget.py::test_rows_of_files_of_half_a_month_are_removed",),
    ),
    Mutant(
        "today_joined",
        "the parts of today are joined",
        (Edit("hubspool/push/compaction.py", "due", "s.day < last", "s.day <= last"),),
        (f"{DUE}::test_parts_of_today_are_left_alone",),
    ),
    Mutant(
        "kinds_mixed",
        "files are joined whose columns have other kinds of values",
        (Edit("hubspool/push/kinds.py", "_merged", "wider is None and not in_one_file", "False"),),
        (f"{UNIT}/test_compaction_kinds.py::test_files_with_different_kinds_of_values_do_not",),
    ),
    Mutant(
        "joined_beside_the_card",
        "a joined file is in the folder of its month, which the card of the first version does not name",
        (
            Edit(
                "hubspool/push/compaction.py",
                "Join.path",
                "PurePosixPath(last.parent)",
                'PurePosixPath(last.folder) / f"{last.day:%Y-%m}"',
            ),
        ),
        (f"{DUE}::test_files_without_a_folder_for_their_month_are_joined_where_they_are",),
    ),
    Mutant(
        "segment_believed",
        "a file is joined under the name of a segment that its metadata does not name",
        (
            Edit(
                "hubspool/push/compaction.py",
                "Compactor._key_of",
                "span.segment == source.segment",
                "True",
            ),
        ),
        (f"{KINDS}::test_a_file_under_the_name_of_another_part_is_left_alone[zip]",),
    ),
    Mutant(
        "due_for_ever",
        "files that go with no other one are downloaded again at every run",
        (
            Edit(
                "hubspool/push/compaction.py",
                "Compactor._groups",
                "len(found) > len(joined) + 1 and (is_whole or not joined)",
                "False",
            ),
        ),
        (f"{KINDS}::test_files_that_go_with_no_other_one_are_looked_at_once[500]",),
    ),
    Mutant(
        "joined_files_restored",
        "restore=True fetches joined files and manifests",
        (
            Edit(
                "hubspool/scheduling/restore.py",
                "_local",
                "is_written_by_schedulers(path)",
                "False",
            ),
        ),
        ("tests/hub/test_restore.py::test_joined_files_and_their_manifests_are_neither_fetched_nor_sent",),
    ),
]
