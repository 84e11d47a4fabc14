"""Mutants of the rooms around the push: scheduling, spool, client, local Hub, templates."""

from __future__ import annotations

from tests.mutants.killers import DESTINATIONS, KILLERS, LOSSES, REMOVED, UNIT
from tests.support.mutation import Edit, Mutant

ACCOUNTS = "tests/hub/test_hub_two_accounts.py"
BROWSER = "tests/hub/test_hub_browser_safety.py"
AGAIN = "tests/datasets/test_made_again.py"
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
        "bound_name_ignored",
        "rows for a name without a namespace are sent with another account's token",
        (Edit("hubspool/scheduling/repo_setup.py", "RepoSetup._account", "bound not in (None, account)", "False"),),
        (f"{DESTINATIONS}/test_names.py::test_a_name_is_bound_to_the_account_that_it_was_first_sent_with",),
    ),
    Mutant(
        "disk_durability_not_synced",
        'durability="disk" does not wait for the disk',
        (Edit("hubspool/spool/spool.py", "Spool._append", "self._syncs_each", "False"),),
        (f"{UNIT}/test_spool.py::test_disk_durability_syncs_before_write_returns_and_a_failed_sync_keeps_no_row",),
    ),
    Mutant(
        "fork_during_an_import",
        "a fork copies the lock of a module that the pushing thread is importing",
        (Edit("hubspool/fork.py", "Imports.before_fork", "_threads_importing()", "False"),),
        (f"{UNIT}/test_fork_imports.py::test_a_child_can_import_what_the_pushing_thread_was_importing",),
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
        "hub_path_followed",
        "restore writes where a listed path leads, also into .git",
        (Edit("hubspool/scheduling/restore.py", "_local", "local_path(folder, source)", "folder / source"),),
        ("tests/hub/test_hostile_hub.py::test_restore_writes_nowhere_but_into_its_folder",),
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
        "no_final_push_at_exit",
        "the normal end of the process flushes nothing",
        (Edit("hubspool/scheduling/shutdown.py", "ProcessExit.register", "atexit.register(self._at_exit)", ""),),
        (f"{LOSSES}[normal_exit-Trial]",),
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
        "no_shared_worker",
        "a scheduler that is made again in one process has a thread, a spool and a ledger of its own",
        (Edit("hubspool/scheduling/worker.py", "join", "next(iter(_process.like(setup)), None)", "None"),),
        (f"{AGAIN}::test_the_second_one_makes_no_request_and_shares_everything",),
    ),
    Mutant(
        "no_retry",
        "a passing error of the commit request waits for the next period",
        (Edit("hubspool/scheduling/push_runner.py", "PushRunner._push", "self._worker.repeats", "False"),),
        (f"{LOSSES}[passing_errors-Trial]",),
    ),
    Mutant(
        "owner_lock_not_held",
        "the owner of a segment does not lock it",
        (Edit("hubspool/spool/segment_file.py", "_open_locked", "fcntl is not None", "False"),),
        (f"{UNIT}/test_spool.py::test_the_segment_is_locked_while_it_is_written_and_free_after_close",),
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
                "True if private is None else bool(private)",
                "False if private is None else private",
            ),
        ),
        (f"{LOSSES}[private_by_default-Trial]",),
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
        (f"{LOSSES}[subclass-Trial]",),
    ),
    Mutant(
        "refused_segment_left",
        "a segment whose sync failed is not written again",
        (Edit("hubspool/spool/segment_file.py", "EndedSegment.finish", "self._rewrite()", ""),),
        (f"{UNIT}/test_spool.py::test_after_a_failed_sync_the_segment_is_written_anew_and_later_rows_go_to_another",),
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
        "segment_removed_unread",
        "a segment is removed although rows were added since it was scanned",
        (Edit("hubspool/spool/owners.py", "remove_segment", "os.fstat(file.fileno()).st_size != size", "False"),),
        (f"{KILLERS}::test_a_segment_that_grew_since_the_look_is_not_removed",),
    ),
    Mutant(
        "sigterm_kills",
        "no handler for SIGTERM is installed",
        (Edit("hubspool/scheduling/shutdown.py", "ProcessExit.register", "self._install_sigterm()", ""),),
        (f"{LOSSES}[sigterm-Trial]",),
    ),
    Mutant(
        "stop_without_flush",
        "stop ends the thread and leaves the pending rows",
        (Edit("hubspool/scheduling/push_runner.py", "PushRunner.stop", "self.flush(budget)", ""),),
        (f"{LOSSES}[stop-Trial]",),
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
        "turn_not_waited_for",
        "among other writers every period commits",
        (Edit("hubspool/scheduling/folder_push.py", "_is_turn", "wait <= 0", "True"),),
        (
            "tests/hub/test_scheduler_push.py::test_among_other_writers_a_period_waits_for_its_turn_and_a_trigger_takes_a_token",
        ),
    ),
    Mutant(
        "windows_names_taken",
        "the local Hub takes a path that git checks out on no Windows",
        (
            Edit(
                "hubspool/local_hub/services/commit_writer.py",
                "check_path",
                'name.split(b"\\\\")',
                "()",
            ),
        ),
        ("tests/hub/test_as_the_hub.py::test_a_path_that_git_refuses_on_some_machine_is_refused",),
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
        "one_spool_for_all",
        "schedulers of one folder share a spool, whatever their repositories are",
        (Edit("hubspool/spool/destination.py", "SpoolFolder.is_meant_by", IS_FOR, "return True"),),
        (f"{UNIT}/test_spool_destination.py::test_a_name_alone_finds_its_spool_before_and_after_the_account_is_known",),
    ),
    Mutant(
        "spool_uploaded",
        "an upload of a folder takes pending rows for files of the user",
        (Edit("hubspool/client/folder.py", "_walk", "not is_spool(folder / entry.name)", "True"),),
        (f"{DESTINATIONS}/test_folders.py::test_an_upload_of_the_folder_leaves_the_rows_out",),
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
                "hash_to_text(xet_hash.file_hash(chunks)) != entry.hash",
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
                "Repository.describe_blob",
                "pointer.sha256 in self.held",
                "True",
            ),
        ),
        (f"{ACCOUNTS}::test_a_pointer_gives_no_right_to_its_content",),
    ),
    Mutant(
        "hub_bucket_takes_any_hash",
        "who knows the hash of content adds it to a bucket and reads it",
        (
            Edit(
                "hubspool/local_hub/services/repositories.py",
                "BaseRepository.size_of_xet",
                "file in self.held",
                "True",
            ),
        ),
        ("tests/hub/test_buckets.py::test_a_hash_alone_gives_nobody_the_content",),
    ),
    Mutant(
        "hub_bucket_log_without_its_newline",
        "a line that a killed Hub left unfinished spoils the batch after it",
        (
            Edit(
                "hubspool/local_hub/services/buckets.py",
                "Bucket.batch",
                'b"\\n" + change.encode()',
                'change.encode() + b"\\n"',
            ),
        ),
        ("tests/hub/test_buckets.py::test_a_line_that_was_not_finished_counts_for_nothing",),
    ),
    Mutant(
        "batch_believed_by_its_status",
        "a batch that answers 200 counts as applied, whatever its body says",
        (Edit("hubspool/client/buckets.py", "_failures", 'answer["success"] is True', "True"),),
        ("tests/hub/test_client_buckets.py::test_a_success_that_does_not_say_so_is_none",),
    ),
    Mutant(
        "batch_believed_without_account",
        "a batch whose answer names a failure of another path counts as applied",
        (
            Edit(
                "hubspool/client/buckets.py",
                "_failures",
                'Counter(each["path"] for each in failed) - Counter(paths)',
                "Counter()",
            ),
        ),
        (
            "tests/hub/test_client_buckets.py::test_a_success_that_does_not_say_so_is_none",
            "tests/hub/test_bucket_destination.py::test_an_answer_that_does_not_account_for_a_range_leaves_it_in_doubt",
        ),
    ),
    Mutant(
        "batch_believed_without_count",
        "a batch of which an operation neither succeeded nor failed counts as applied",
        (Edit("hubspool/client/buckets.py", "_failures", 'answer["succeeded"] + len(failed) != len(paths)', "False"),),
        ("tests/hub/test_client_buckets.py::test_a_success_that_does_not_say_so_is_none",),
    ),
    Mutant(
        "hub_password_for_every_page",
        "a page on another port writes with the password of the browser",
        (
            Edit(
                "hubspool/local_hub/routes/request_context.py",
                "RequestContext.user",
                "self.is_from_another_page()",
                "False",
            ),
        ),
        (f"{BROWSER}::test_a_page_of_another_origin_writes_nothing_with_the_users_password",),
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
        "hub_cookie_opens_the_api",
        "the cookie of a log-in, which programs at other ports get, opens the API",
        (
            Edit(
                "hubspool/local_hub/routes/request_context.py",
                "RequestContext.user",
                'not self.path.startswith("/api/")',
                "True",
            ),
        ),
        ("tests/hub/test_hub_login.py::test_a_cookie_only_reads_pages",),
    ),
    Mutant(
        "hub_pages_take_all_threads",
        "pages that take long leave no thread for other requests",
        (Edit("hubspool/local_hub/app.py", "HubApp._apply", "route.name in _SLOW", "False"),),
        ("tests/hub/test_hub_stays_up.py::test_pages_that_take_long_leave_room_for_other_requests",),
    ),
    Mutant(
        "failing_not_said",
        "the status does not say that pushes fail",
        (
            Edit(
                "hubspool/scheduling/status_tracker.py",
                "StatusTracker.status",
                "self.state is State.IDLE and self._failures",
                "False",
            ),
        ),
        ("tests/hub/test_what_people_read.py::test_status_and_repr_are_short_blocks",),
    ),
    Mutant(
        "traceback_of_ours",
        "errors of the constructor end with our frames",
        (Edit("hubspool/scheduling/messages.py", "shortened", "not is_expected(error)", "True"),),
        ("tests/hub/test_what_people_read.py::test_flush_and_stop_show_an_error_once_and_no_frames_of_ours",),
    ),
    Mutant(
        "late_commit_not_told",
        "flush returns None for a commit whose answer was lost",
        (Edit("hubspool/push/committer.py", "Committer._note_late_commits", "push_id is not None", "False"),),
        ("tests/hub/test_what_people_read.py::test_flush_returns_a_commit_whose_answer_was_lost",),
    ),
]
