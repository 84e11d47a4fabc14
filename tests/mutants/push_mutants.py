"""Mutants of `hubspool.push`: scan, plan, transfer, commit, ledger."""

from __future__ import annotations

from tests.mutants.killers import DATASETS, DESTINATIONS, KILLERS, LOSSES, REMOVED, UNIT
from tests.support.mutation import Edit, Mutant

INTENT_TEST = f"{KILLERS}::test_the_intent_is_in_the_ledger_before_the_request_and_stays_until_its_outcome_is_known"
MARKED = "ledger.save(key, _marked(parts, moved, gaps, stat.size, with_doubtful=bool(doubtful)))"

MUTANTS = [
    Mutant(
        "budget_ignored",
        "the period does not grow with the number of writers",
        (Edit("hubspool/push/budget.py", "Budget.period", "fair > every", "fair < 0"),),
        (f"{KILLERS}::test_the_period_grows_with_the_writers",),
    ),
    Mutant(
        "damage_sent_over_good_rows",
        "rows that were damaged on this disk replace the good ones on the Hub",
        (
            Edit(
                "hubspool/push/segment_planner.py",
                "SegmentPlanner._plan_lines",
                "parts = self._close_rewritten(segment, parts, run)",
                "",
            ),
        ),
        (f"{KILLERS}::test_damage_on_this_disk_does_not_reach_the_rows_on_the_hub",),
    ),
    Mutant(
        "damaged_line_sent",
        "a damaged line is sent with its neighbours",
        (Edit("hubspool/push/lines.py", "damaged_lines", "not healthy", "not line"),),
        (
            f"{UNIT}/test_lines.py::test_damaged_lines_are_found_and_left_out",
            f"{KILLERS}::test_a_damaged_line_stays_here_and_its_neighbours_go",
        ),
    ),
    Mutant(
        "delete_before_acknowledge",
        "segments are removed before the commit that holds them is known",
        (
            Edit(
                "hubspool/push/pusher.py",
                "Pusher._push",
                "committer = sink.sender(plan)",
                "[(context.folder / source).unlink() for source in plan.removable]\ncommitter = sink.sender(plan)",
            ),
        ),
        (f"{KILLERS}::test_a_segment_stays_until_its_commit_is_known",),
    ),
    Mutant(
        "early_commits_free",
        "a requested push takes no token of the hour's commits",
        (Edit("hubspool/push/budget.py", "Turns.note_commit", "self._count() - 1", "self._count()"),),
        (f"{UNIT}/test_rules.py::test_a_writer_alone_commits_at_once_for_a_while_and_then_every_36_seconds",),
    ),
    Mutant(
        "foreign_content_overwritten",
        "content that a person put at a path of ours is replaced",
        (
            Edit(
                "hubspool/push/committer.py",
                "Committer._is_repeated",
                "self._handle_foreign(upload, file)",
                "if not upload.guarded:\n    return True\nself._handle_foreign(upload, file)",
            ),
        ),
        (f"{KILLERS}::test_what_a_person_put_at_a_path_of_ours_stays",),
    ),
    Mutant(
        "full_part_grows",
        "a part that was committed 16 times goes on growing",
        (Edit("hubspool/push/rules.py", "_is_full", "part.commits >= limits.part_commits", "False"),),
        (f"{UNIT}/test_plan.py::test_a_full_or_closed_part_never_grows_and_the_next_starts_where_it_ended",),
    ),
    Mutant(
        "grow_again_after_resend",
        "a part in doubt grows again once its repeat succeeded",
        (Edit("hubspool/push/rules.py", "landed", "was_in_doubt", "False"),),
        (
            f"{UNIT}/test_plan.py::test_a_part_whose_repeat_landed_stays_closed",
            f"{UNIT}/test_commit_model.py::test_no_interleaving_loses_or_doubles_a_row",
        ),
    ),
    Mutant(
        "intent_after_post",
        "the intent is written once the request was answered",
        (
            Edit(
                "hubspool/push/committer.py",
                "Committer._commit",
                "context.ledger.save(context.key, [part for _, part in intents])",
                "",
            ),
            Edit(
                "hubspool/push/committer.py",
                "Committer._commit",
                "self._acknowledge([(upload, part) for upload, part in intents"
                " if (part.source, part.number) not in joined])",
                "context.ledger.save(context.key, [part for _, part in intents])\nself._acknowledge(intents)",
            ),
        ),
        (INTENT_TEST,),
    ),
    Mutant(
        "json_row_is_lines",
        "a .json is cut at newlines once its first line is an object",
        (Edit("hubspool/push/lines.py", "kind_of_json", "len(rows) > 1", "rows"),),
        (f"{UNIT}/test_lines.py::test_a_json_file_is_lines_only_if_each_complete_line_is_an_object",),
    ),
    Mutant(
        "mapping_missed",
        "a final push believes the times of files",
        (Edit("hubspool/push/pusher.py", "Pusher._push", "rules.unless_compared(settled, context.limits)", "settled"),),
        (
            "tests/hub/test_scheduler_files.py::test_what_is_written_through_a_mapping_without_a_new_time_is_sent_by_a_final_push",
        ),
    ),
    Mutant(
        "mtime_only",
        "a file of the same size and mtime counts as unchanged",
        (
            Edit(
                "hubspool/push/scan.py",
                "_Walk._add",
                "found == self.known.get(path)",
                "found[:2] == (self.known.get(path) or ())[:2]",
            ),
        ),
        (f"{UNIT}/test_scan.py::test_other_content_of_equal_size_and_time_is_a_change",),
    ),
    Mutant(
        "new_repo_taken_for_the_old",
        "a repository that was deleted and created again is taken for the one that holds our rows",
        (Edit("hubspool/push/committer.py", "Committer._check_identity", "found != known", "found == known"),),
        (f"{KILLERS}::test_a_repo_that_was_made_again_gets_nothing_unasked",),
    ),
    Mutant(
        "newlines_of_images_counted",
        "a commit of an image says that it has rows",
        (Edit("hubspool/push/lines.py", "Kind.has_rows", "self.may_be_lines and self is not Kind.RECORDS", "True"),),
        ("tests/hub/test_scheduler_push.py::test_newlines_in_images_and_event_files_are_not_rows",),
    ),
    Mutant(
        "no_parent_commit",
        "commits of user paths carry no parentCommit",
        (
            Edit(
                "hubspool/push/committer.py",
                "Committer._commit",
                "parent = head.oid if extra or ghosts or any(upload.guarded for upload in uploads) else None",
                "parent = None",
            ),
        ),
        (f"{KILLERS}::test_what_somebody_else_writes_during_the_push_is_not_overwritten",),
    ),
    Mutant(
        "other_rows_overwritten",
        "rows that are at a path on the Hub are replaced by this folder's",
        (Edit("hubspool/push/rules.py", "closed_by_conflict", "relation is Relation.DIVERGED", "False"),),
        (
            f"{UNIT}/test_plan.py::test_other_rows_at_the_path_keep_it_and_ours_get_a_name_beside_it",
            f"{LOSSES}[restart_on_a_fresh_disk-Trial]",
        ),
    ),
    Mutant(
        "path_made_at_commit_time",
        "a commit in doubt is sent again under a new name",
        (
            Edit(
                "hubspool/push/rules.py",
                "plan_segment",
                "Upload(part, part.sending_end)",
                'Upload(replace(part, path=f"{part.path}.{now}"), part.sending_end)',
            ),
        ),
        (
            f"{UNIT}/test_plan.py::test_a_part_in_doubt_is_sent_again_with_the_same_bytes_and_later_rows_go_to_the_next",
            INTENT_TEST,
        ),
    ),
    Mutant(
        "push_lock_ignored",
        "two processes push one folder at the same time",
        (
            Edit(
                "hubspool/push/pusher.py",
                "Pusher.push",
                "self._lock.acquire(timeout=lock_timeout, poll_interval=context.limits.lock_poll_seconds)",
                '__import__("contextlib").nullcontext()',
            ),
        ),
        (f"{KILLERS}::test_a_push_by_another_process_is_no_successful_flush",),
    ),
    Mutant(
        "scan_under_the_lock",
        "writers wait for the walk of the whole tree",
        (
            Edit(
                "hubspool/push/scan.py",
                "scan",
                'walk.list_tree("")',
                'with lock or nullcontext():\n    walk.list_tree("")',
            ),
        ),
        (f"{UNIT}/test_scan.py::test_the_lock_is_not_held_during_the_walk_and_free_afterwards",),
    ),
    Mutant(
        "sent_segment_written_again",
        "a segment that a push removed after sending it counts as removed by somebody else",
        (
            Edit(
                "hubspool/push/ledger.py",
                "Ledger.forget",
                'db.executemany("delete from part where target = ? and source = ?", rows)',
                'db.executemany("delete from part where target = ? and source = ?", rows)\n'
                'db.executemany("delete from settled where path = ?", [(name,) for name in names])',
            ),
        ),
        (f"{REMOVED}::test_a_segment_that_a_push_of_another_worker_removed_is_not_written_again",),
    ),
    Mutant(
        "second_look_at_once",
        "what a lost ledger's segment lacks on the Hub is sent after the first look",
        (Edit("hubspool/push/rules.py", "is_second_look", "now - first_look >= limits.second_look_seconds", "True"),),
        (f"{UNIT}/test_planner.py::test_a_recovered_segment_waits_for_an_hour_and_says_so",),
    ),
    Mutant(
        "settle_before_acknowledge",
        "a file counts as sent before its commit",
        (
            Edit(
                "hubspool/push/pusher.py",
                "Pusher._push",
                "committer = sink.sender(plan)",
                "ledger.settle(key, plan.settled.items())\ncommitter = sink.sender(plan)",
            ),
        ),
        (f"{KILLERS}::test_a_refused_push_settles_nothing",),
    ),
    Mutant(
        "stale_read_believed",
        "a read that finds less than was acknowledged counts",
        (Edit("hubspool/push/rules.py", "judged", "return Read.STALE", "return Read.OURS"),),
        (
            f"{UNIT}/test_plan.py::test_what_the_content_at_a_path_of_ours_means",
            "tests/durability/test_second_look.py::test_a_read_that_is_one_commit_behind_decides_nothing",
        ),
    ),
    Mutant(
        "stray_quote_waited_for",
        "a table with a stray quote waits for the other one for ever",
        (
            Edit(
                "hubspool/push/file_planner.py",
                "FilePlanner._is_unbalanced",
                "newline - end <= context.limits.quote_bytes",
                "True",
            ),
        ),
        (f"{UNIT}/test_planner.py::test_a_stray_quote_holds_up_no_more_than_a_mebibyte",),
    ),
    Mutant(
        "torn_tail_sent",
        "a line file is sent with the bytes after its last newline",
        (Edit("hubspool/push/lines.py", "cut", "end = size", "return size"),),
        (
            f"{UNIT}/test_lines.py::test_a_file_is_cut_at_its_last_newline",
            "tests/hub/test_scheduler_push.py::test_half_a_line_is_not_sent_before_it_is_whole",
        ),
    ),
    Mutant(
        "unknown_outcome_withdrawn",
        "a lost answer counts as a commit that was not applied",
        (Edit("hubspool/push/committer.py", "Committer._commit", "error.outcome is Outcome.NOT_APPLIED", "True"),),
        (INTENT_TEST,),
    ),
    Mutant(
        "versioned_ignored",
        "a rewritten file that `versioned` selects goes to another name",
        (
            Edit(
                "hubspool/push/file_planner.py", "FilePlanner._kind", "self.context.is_versioned(file.source)", "False"
            ),
        ),
        ("tests/hub/test_scheduler_files.py::test_a_file_that_becomes_versioned_later_gets_its_own_name_back",),
    ),
    Mutant(
        "young_file_settled",
        "a file that may change again within the same tick counts as settled",
        (Edit("hubspool/push/file_planner.py", "FilePlanner.plan", "stat.is_racy(run.taken_ns)", "False"),),
        (f"{KILLERS}::test_a_file_that_may_change_in_the_same_tick_is_looked_at_again",),
    ),
    Mutant(
        "file_cut_without_the_lock",
        "a file that a program writes under the lock is sent half-written",
        (
            Edit(
                "hubspool/push/file_planner.py", "FilePlanner.plan", "not run.is_locked and not kind.is_lines", "False"
            ),
        ),
        ("tests/hub/test_writers_lock.py::test_flush_and_stop_while_the_lock_stays_held_send_the_lines_and_say_so",),
    ),
    Mutant(
        "moved_rows_stay_too",
        "rows that a person sent to another repository stay pending for the old one",
        (Edit("hubspool/push/moves.py", "reroute", MARKED, ""),),
        (
            f"{DESTINATIONS}/test_folders.py::test_what_a_lost_repository_had_stays_and_rows_in_doubt_move_only_when_told_to",
        ),
    ),
    Mutant(
        "unfit_row_takes_its_neighbours",
        "all rows of a part become text where one of them cannot be stored",
        (
            Edit(
                "hubspool/push/payloads.py",
                "encode_all",
                "failing(0, len(rows), reason)",
                "dict.fromkeys(range(len(rows)), reason)",
            ),
        ),
        (f"{UNIT}/test_encodings.py::test_lines_that_cannot_be_encoded_are_found_in_few_attempts_and_kept_as_text",),
    ),
    Mutant(
        "squash_forgets_parts",
        "after a squash nothing says what was sent, and rows that are lost later are not noticed",
        (
            Edit(
                "hubspool/scheduling/daily.py",
                "SquashPolicy.after_commit",
                "RemoteRepo(api, target).squash(commits)",
                "RemoteRepo(api, target).squash([])",
            ),
        ),
        (f"{DATASETS}/test_verify.py::test_a_squashed_history_still_tells_what_was_sent",),
    ),
    Mutant(
        "unnamed_part_accepted",
        "a copy of a part, which no commit of a scheduler wrote, is not noticed",
        (Edit("hubspool/push/snapshot.py", "read_snapshot", "path not in before", "path in before"),),
        (f"{DATASETS}/test_verify.py::test_a_planted_damage_is_found_at_its_path",),
    ),
]
