"""Every mutant: what it breaks, the edit that does it, and the tests that must notice."""

from __future__ import annotations

from tests.support.mutation import Edit, Mutant

KILLERS = "tests/mutants/test_killers.py"
LOSSES = "tests/losses/test_losses.py::test_hubspool_passes"
ACCOUNTS = "tests/hub/test_hub_two_accounts.py"
BROWSER = "tests/hub/test_hub_browser_safety.py"
REMOVED = "tests/durability/test_removed.py"
UNIT = "tests/unit"
AGAIN = "tests/datasets/test_made_again.py"
DESTINATIONS = "tests/hub/test_destinations.py"
INTENT_TEST = f"{KILLERS}::test_the_intent_is_in_the_ledger_before_the_request_and_stays_until_its_outcome_is_known"

MARKED = "ledger.save(key, _marked(parts, moved, gaps, stat.size, with_doubtful=bool(doubtful)))"
IS_FOR = "return destination in (self.destination, replace(self.destination, repo_id=self.given.lower()))"

MUTANTS = [
    Mutant(
        "acknowledge_before_write",
        "append returns while the row is only in memory",
        (
            Edit(
                "hubspool/spool/spool.py",
                "Spool._append",
                "written = os.write(fd, data)",
                "threading.Timer(0.05, os.write, (os.dup(fd), data)).start()\nwritten = len(data)",
            ),
        ),
        (f"{KILLERS}::test_rows_outlive_a_kill_right_after_the_call",),
    ),
    Mutant(
        "budget_ignored",
        "the period does not grow with the number of writers",
        (Edit("hubspool/push/budget.py", "Budget.period", "fair > every", "fair < 0"),),
        (f"{KILLERS}::test_the_period_grows_with_the_writers",),
    ),
    Mutant(
        "bound_name_ignored",
        "rows for a name without a namespace are sent with another account's token",
        (Edit("hubspool/scheduling/repo_setup.py", "RepoSetup._account", "bound not in (None, account)", "False"),),
        (f"{DESTINATIONS}::test_a_name_is_bound_to_the_account_that_it_was_first_sent_with",),
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
                "committer = Committer(context, plan)",
                "[(context.folder / source).unlink() for source in plan.removable]\n"
                "committer = Committer(context, plan)",
            ),
        ),
        (f"{KILLERS}::test_a_segment_stays_until_its_commit_is_known",),
    ),
    Mutant(
        "disk_durability_not_synced",
        'durability="disk" does not wait for the disk',
        (Edit("hubspool/spool/spool.py", "Spool._append", "self._syncs_each", "False"),),
        (f"{UNIT}/test_spool.py::test_disk_durability_syncs_before_write_returns_and_a_failed_sync_keeps_no_row",),
    ),
    Mutant(
        "early_commits_free",
        "a requested push takes no token of the hour's commits",
        (Edit("hubspool/push/budget.py", "Turns.note_commit", "self._count() - 1", "self._count()"),),
        (f"{UNIT}/test_rules.py::test_a_writer_alone_commits_at_once_for_a_while_and_then_every_36_seconds",),
    ),
    Mutant(
        "flush_hides_what_is_not_stored",
        "flush returns although files could not be stored",
        (
            Edit(
                "hubspool/scheduling/push_runner.py",
                "PushRunner.flush",
                "raise NotStoredError(self._tracker.skipped)",
                "",
            ),
        ),
        (f"{KILLERS}::test_what_the_hub_does_not_store_is_no_successful_flush",),
    ),
    Mutant(
        "flush_returns_early",
        "flush takes a push that another process prevented for a success",
        (
            Edit(
                "hubspool/scheduling/folder_push.py",
                "push_folder",
                "raise PushLockBusyError(scheduler.spool_folder, pusher.holder(), waited)",
                "",
            ),
        ),
        (f"{KILLERS}::test_a_push_by_another_process_is_no_successful_flush",),
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
        "hub_path_followed",
        "restore writes where a listed path leads, also into .git",
        (Edit("hubspool/scheduling/restore.py", "_local", "local_path(folder, source)", "folder / source"),),
        ("tests/hub/test_hostile_hub.py::test_restore_writes_nowhere_but_into_its_folder",),
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
                "self._acknowledge(intents)",
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
        "ledger_not_synced",
        "a ledger row may be lost with the power",
        (
            Edit(
                "hubspool/state_db.py", "StateDb._connect", '"pragma synchronous = full"', '"pragma synchronous = off"'
            ),
        ),
        (f"{UNIT}/test_ledger.py::test_writes_are_synced_before_they_return",),
    ),
    Mutant(
        "listing_repeats_files",
        "the next page of a listing of the local Hub begins again from the start",
        (Edit("hubspool/local_hub/storage/git_store.py", "GitStore.walk", "key < last", "False"),),
        ("tests/hub/test_as_the_hub.py::test_a_listing_goes_on_behind_its_last_path",),
    ),
    Mutant(
        "live_segment_removed",
        "a segment is removed although its writer lives",
        (
            Edit("hubspool/spool/owners.py", "owner_of", "fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)", ""),
            Edit("hubspool/spool/owners.py", "remove_segment", "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", ""),
        ),
        (f"{KILLERS}::test_a_live_segment_stays_although_all_of_it_is_sent",),
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
        "no_final_push_at_exit",
        "the normal end of the process flushes nothing",
        (Edit("hubspool/scheduling/shutdown.py", "ProcessExit.register", "atexit.register(self._at_exit)", ""),),
        (f"{LOSSES}[normal_exit]",),
    ),
    Mutant(
        "no_fork_hook_scheduler",
        "a fork's child has no pushing thread",
        (
            Edit(
                "hubspool/scheduling/worker.py",
                "Worker.start",
                "fork.register(self, has_thread=True)",
                "",
            ),
        ),
        (f"{KILLERS}::test_a_forks_child_has_a_thread_and_a_segment_of_its_own",),
    ),
    Mutant(
        "no_fork_hook_spool",
        "a fork's child goes on with the parent's descriptor and lock",
        (Edit("hubspool/spool/spool.py", "Spool.__init__", "fork.register(self)", ""),),
        (f"{KILLERS}::test_a_forks_child_does_not_write_to_the_parents_segment",),
    ),
    Mutant(
        "no_ftruncate_on_a_full_disk",
        "half a row stays in the segment when the disk is full",
        (Edit("hubspool/spool/spool.py", "Spool._cut_torn_row", "os.ftruncate(fd, self._size + whole)", ""),),
        (f"{UNIT}/test_spool.py::test_a_row_that_a_full_disk_took_half_of_is_cut_back",),
    ),
    Mutant(
        "no_parent_commit",
        "commits of user paths carry no parentCommit",
        (
            Edit(
                "hubspool/push/committer.py",
                "Committer._commit",
                "parent = head if extra or any(upload.guarded for upload in uploads) else None",
                "parent = None",
            ),
        ),
        (f"{KILLERS}::test_what_somebody_else_writes_during_the_push_is_not_overwritten",),
    ),
    Mutant(
        "no_shared_worker",
        "a scheduler that is made again in one process has a thread, a spool and a ledger of its own",
        (Edit("hubspool/scheduling/worker.py", "join", "next(iter(_process.like(setup)), None)", "None"),),
        (f"{AGAIN}::test_the_second_one_makes_no_request_and_shares_everything",),
    ),
    Mutant(
        "no_retry",
        "a passing error of the commit request waits for the next period",
        (Edit("hubspool/scheduling/push_runner.py", "PushRunner._push", "self._worker.repeats", "False"),),
        (f"{LOSSES}[passing_errors]",),
    ),
    Mutant(
        "other_rows_overwritten",
        "rows that are at a path on the Hub are replaced by this folder's",
        (Edit("hubspool/push/rules.py", "closed_by_conflict", "relation is Relation.DIVERGED", "False"),),
        (
            f"{UNIT}/test_plan.py::test_other_rows_at_the_path_keep_it_and_ours_get_a_name_beside_it",
            f"{LOSSES}[restart_on_a_fresh_disk]",
        ),
    ),
    Mutant(
        "owner_lock_not_held",
        "the owner of a segment does not lock it",
        (Edit("hubspool/spool/segment_file.py", "_open_locked", "fcntl is not None", "False"),),
        (f"{UNIT}/test_spool.py::test_the_segment_is_locked_while_it_is_written_and_free_after_close",),
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
        "pipe_read",
        "a pipe that has taken a file's place is read",
        (Edit("hubspool/files.py", "_open_regular", "S_ISREG(os.fstat(fd).st_mode)", "True"),),
        (f"{UNIT}/test_planner.py::test_a_file_that_a_pipe_replaced_after_the_scan_holds_up_no_other",),
    ),
    Mutant(
        "public_by_default",
        "new repositories are public",
        (
            Edit(
                "hubspool/scheduling/commit_scheduler.py",
                "CommitScheduler.__init__",
                "True if private is None else private",
                "False if private is None else private",
            ),
        ),
        (f"{LOSSES}[private_by_default]",),
    ),
    Mutant(
        "push_before_built",
        "the first push does not wait for a subclass's __init__",
        (
            Edit(
                "hubspool/scheduling/commit_scheduler.py",
                "_starting.build_and_start",
                "outermost",
                'init.__module__ == "hubspool.scheduling.commit_scheduler"',
            ),
        ),
        (f"{LOSSES}[subclass]",),
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
        "refused_segment_left",
        "a segment whose sync failed is not written again",
        (Edit("hubspool/spool/segment_file.py", "EndedSegment.finish", "self._rewrite()", ""),),
        (f"{UNIT}/test_spool.py::test_after_a_failed_sync_the_segment_is_written_anew_and_later_rows_go_to_another",),
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
        "removed_ledger_copied_during_a_push",
        "the ledger is written again while a push under the removed lock still changes it",
        (Edit("hubspool/spool/rescue.py", "KeptLock.take", "_try_lock(self._fd)", "True"),),
        (f"{REMOVED}::test_of_two_workers_one_pushes_although_the_lock_was_removed_during_its_push[remove_folder]",),
    ),
    Mutant(
        "removed_segment_given_up",
        "a segment that somebody removed is not written again",
        (Edit("hubspool/spool/rescue.py", "Rescue._is_to_restore", "return is_free", "return False"),),
        (f"{REMOVED}::test_rows_before_and_after_a_removal_are_on_the_hub_once[remove_segments]",),
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
        "segment_removed_unread",
        "a segment is removed although rows were added since it was scanned",
        (Edit("hubspool/spool/owners.py", "remove_segment", "os.fstat(file.fileno()).st_size != size", "False"),),
        (f"{KILLERS}::test_a_segment_that_grew_since_the_look_is_not_removed",),
    ),
    Mutant(
        "settle_before_acknowledge",
        "a file counts as sent before its commit",
        (
            Edit(
                "hubspool/push/pusher.py",
                "Pusher._push",
                "committer = Committer(context, plan)",
                "ledger.settle(key, plan.settled.items())\ncommitter = Committer(context, plan)",
            ),
        ),
        (f"{KILLERS}::test_a_refused_push_settles_nothing",),
    ),
    Mutant(
        "sigterm_kills",
        "no handler for SIGTERM is installed",
        (Edit("hubspool/scheduling/shutdown.py", "ProcessExit.register", "self._install_sigterm()", ""),),
        (f"{LOSSES}[sigterm]",),
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
        "stop_without_flush",
        "stop ends the thread and leaves the pending rows",
        (Edit("hubspool/scheduling/push_runner.py", "PushRunner.stop", "self.flush(budget)", ""),),
        (f"{LOSSES}[stop]",),
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
        "token_sent_by_urlsplit",
        "the host that gets the token is read otherwise than by urllib3",
        (
            Edit("hubspool/client/http.py", "HubClient._exchange", "prepared(url)", "url"),
            Edit(
                "hubspool/client/http.py",
                "HubClient._exchange",
                "origin(url) == origin(self.endpoint)",
                "self.endpoint.partition('//')[2] in url",
            ),
        ),
        ("tests/hub/test_hostile_hub.py::test_the_token_goes_to_no_other_host_however_the_address_is_written",),
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
        "turn_not_waited_for",
        "among other writers every period commits",
        (Edit("hubspool/scheduling/folder_push.py", "_is_turn", "wait <= 0", "True"),),
        (
            "tests/hub/test_scheduler_push.py::test_among_other_writers_a_period_waits_for_its_turn_and_a_trigger_takes_a_token",
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
        "windows_names_taken",
        "the local Hub takes a path that git checks out on no Windows",
        (
            Edit(
                "hubspool/local_hub/services/commit_writer.py",
                "check_path",
                'path.encode().replace(b"\\\\", b"/").split(b"/")',
                "()",
            ),
        ),
        ("tests/hub/test_as_the_hub.py::test_a_path_that_git_refuses_on_some_machine_is_refused",),
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
        "future_never_rests",
        "a segment of another host with a time in the future is never sent",
        (Edit("hubspool/spool/owners.py", "owner_of", "min(stat.mtime_ns, seen_ns)", "stat.mtime_ns"),),
        (
            "tests/hub/test_scheduler_faults.py::test_a_segment_of_another_host_whose_time_is_in_the_future_is_sent_once_it_rests",
        ),
    ),
    Mutant(
        "stuck_file_is_healthy",
        "a file that no push gets on with leaves the scheduler healthy",
        (
            Edit(
                "hubspool/scheduling/status_tracker.py",
                "StatusTracker._is_healthy",
                "*self._stuck.values()",
                "self._succeeded_at",
            ),
        ),
        (f"{UNIT}/test_status_tracker.py::test_a_push_that_sent_nothing_of_what_is_pending_is_no_success",),
    ),
    Mutant(
        "moved_rows_stay_too",
        "rows that a person sent to another repository stay pending for the old one",
        (Edit("hubspool/push/moves.py", "reroute", MARKED, ""),),
        (f"{DESTINATIONS}::test_what_a_lost_repository_had_stays_and_rows_in_doubt_move_only_when_told_to",),
    ),
    Mutant(
        "one_spool_for_all",
        "schedulers of one folder share a spool, whatever their repositories are",
        (Edit("hubspool/spool/destination.py", "SpoolFolder.is_for", IS_FOR, "return True"),),
        (f"{UNIT}/test_spool_destination.py::test_a_name_alone_finds_its_spool_before_and_after_the_account_is_known",),
    ),
    Mutant(
        "spool_uploaded",
        "an upload of a folder takes pending rows for files of the user",
        (Edit("hubspool/client/folder.py", "_walk", "not is_spool(folder / entry.name)", "True"),),
        (f"{DESTINATIONS}::test_an_upload_of_the_folder_leaves_the_rows_out",),
    ),
    Mutant(
        "hub_xorb_unchecked",
        "a damaged xorb takes the place of the true one",
        (
            Edit(
                "hubspool/local_hub/storage/xet_store.py",
                "XetStore.add_xorb",
                "hash_to_text(xet_hash.xorb_hash(nodes)) != xorb",
                "False",
            ),
        ),
        (f"{ACCOUNTS}::test_a_damaged_xorb_does_not_take_the_place_of_the_true_one",),
    ),
    Mutant(
        "hub_proof_unchecked",
        "a shard names chunks that its uploader does not have",
        (Edit("hubspool/local_hub/storage/xet_store.py", "XetStore._check", "xet_hash.proof(part) != proof", "False"),),
        (f"{ACCOUNTS}::test_a_chunk_does_not_open_the_xorb_that_holds_it",),
    ),
    Mutant(
        "hub_file_hash_unchecked",
        "a shard gives other chunks under the name of a file",
        (
            Edit(
                "hubspool/local_hub/storage/xet_store.py",
                "XetStore._check",
                "xet_hash.file_hash(chunks) != entry.hash",
                "False",
            ),
        ),
        (f"{ACCOUNTS}::test_nobody_replaces_the_content_of_a_known_file",),
    ),
    Mutant(
        "hub_pointer_believed",
        "a committed pointer gives the right to its content",
        (
            Edit(
                "hubspool/local_hub/services/repositories.py",
                "Repository._if_held",
                "pointer.sha256 in self.held",
                "True",
            ),
        ),
        (f"{ACCOUNTS}::test_a_pointer_gives_no_right_to_its_content",),
    ),
    Mutant(
        "hub_password_for_every_page",
        "a page on another port writes with the password of the browser",
        (
            Edit(
                "hubspool/local_hub/routes/request_context.py",
                "RequestContext.user",
                "self._is_from_another_page()",
                "False",
            ),
        ),
        (f"{BROWSER}::test_a_page_of_another_origin_writes_nothing_with_the_users_password",),
    ),
    Mutant(
        "unfit_row_takes_its_neighbours",
        "all rows of a part become text where one of them cannot be stored",
        (
            Edit(
                "hubspool/push/encode_all.py",
                "encode_all",
                "failing(0, len(rows), reason)",
                "dict.fromkeys(range(len(rows)), reason)",
            ),
        ),
        (f"{UNIT}/test_encodings.py::test_lines_that_cannot_be_encoded_are_found_in_few_attempts_and_kept_as_text",),
    ),
    Mutant(
        "later_rows_override_files",
        "an image makes a column of images of one that holds text on the Hub",
        (
            Edit(
                "hubspool_templates/schema.py",
                "Schema.extend",
                "whole if _can_read(mine, whole) else mine",
                "whole",
            ),
        ),
        (f"{UNIT}/test_schema.py::test_types_of_files_on_the_hub_become_only_what_datasets_reads_them_as",),
    ),
    Mutant(
        "counts_stay",
        "the numbers of rows in a card stay as they are when rows are added",
        (Edit("hubspool_templates/card.py", "CardUpdater.operations", "card.drop_counts(config)", "pass"),),
        ("tests/datasets/test_existing.py::test_counts_that_somebody_wrote_later_go_with_the_next_rows",),
    ),
    Mutant(
        "key_of_a_form_ignored",
        "a click after a lost answer stores the form again",
        (
            Edit(
                "hubspool_templates/ui/save_button.py",
                "Once.__call__",
                "self._answers.setdefault(key, mine) if key else mine",
                "mine",
            ),
        ),
        (f"{UNIT}/test_gradio_parts.py::test_a_form_is_stored_once_per_key_also_by_clicks_at_the_same_time",),
    ),
]
