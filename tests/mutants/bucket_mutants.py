"""Mutants of pushes to a bucket."""

from __future__ import annotations

from tests.support.mutation import Edit, Mutant

BUCKET = "hubspool/push/bucket.py"
TESTS = "tests/hub/test_bucket_destination.py"
TIMES = "tests/hub/publishing/test_publish_times.py"
IN_DOUBT = "test_a_range_in_doubt_is_repeated_unchanged_before_the_next_one[JsonlScheduler]"

MUTANTS = [
    Mutant(
        "bucket_intent_missing",
        "a batch leaves before its ranges are in the ledger",
        (Edit(BUCKET, "BucketSender._put", "context.ledger.save(context.key, intents.values())", ""),),
        (f"{TESTS}::{IN_DOUBT}",),
    ),
    Mutant(
        "markers_unread",
        "a range in doubt that was published and deleted is sent again",
        (Edit(BUCKET, "BucketSender._look_up", "context.repo.published()", "{}"),),
        (f"{TESTS}::test_a_range_that_a_marker_names_is_not_sent_again",),
    ),
    Mutant(
        "bucket_second_look_missing",
        "an older version of a file that lands late stays",
        (
            Edit(
                BUCKET,
                "BucketSink.look",
                "found != part.content_id and found in self._doubts[part.source]",
                "False",
            ),
        ),
        (f"{TESTS}::test_an_older_version_that_lands_late_is_replaced_an_hour_later",),
    ),
    Mutant(
        "bucket_foreign_replaced",
        "a file that a person has changed in a bucket is replaced",
        (Edit(BUCKET, "BucketSender._wanted", "not upload.guarded or is_wanted(upload)", "True"),),
        (f"{TESTS}::test_a_file_that_a_person_changed_between_two_pushes_is_not_replaced",),
    ),
    Mutant(
        "bucket_identified_once",
        "a bucket that was deleted and created again between two pushes gets rows",
        (Edit(BUCKET, "BucketSender._send", "memory.identified_at or 0.0", "self.context.clock()"),),
        (f"{TESTS}::test_a_bucket_that_was_created_again_between_two_pushes_is_noticed",),
    ),
    Mutant(
        "bucket_started_over_blindly",
        "flush --from A --to A sends to a bucket what it has",
        (Edit("hubspool/cli/flush.py", "_start_over", "(spool.path / source).exists()", "False"),),
        ("tests/hub/test_bucket_commands.py::test_a_bucket_that_is_named_in_both_gets_what_it_lacks",),
    ),
    Mutant(
        "flush_moves_by_id_alone",
        "flush --from a dataset takes the rows of the bucket with its name",
        (
            Edit(
                "hubspool/cli/flush.py",
                "_Place.is_same",
                "replace(self, repo_id=self.repo_id.lower()) == replace(other, repo_id=other.repo_id.lower())",
                "self.repo_id.lower() == other.repo_id.lower()",
            ),
        ),
        ("tests/hub/test_bucket_commands.py::test_flush_sends_pending_rows_elsewhere",),
    ),
    Mutant(
        "published_read_as_pending",
        "read_rows returns a row that was published as one that is pending",
        (
            Edit(
                "hubspool_templates/reading/pending.py",
                "Waiting._held",
                "repo.published().items() if isinstance(repo, RemoteBucket) else ()",
                "()",
            ),
        ),
        ("tests/hub/test_bucket_commands.py::test_a_range_in_doubt_that_was_published_is_not_read_as_pending",),
    ),
    Mutant(
        "bucket_rate_limit_ignored",
        "pushes to a bucket use up the Hub's rate limit",
        (Edit("hubspool/client/retry.py", "pace", "2 * int(left) > int(quotas[name])", "True"),),
        (f"{TESTS}::test_pushes_stay_under_half_of_the_rate_limit",),
    ),
    Mutant(
        "deleted_without_marker",
        "a file that no marker names is deleted from the bucket",
        (Edit("hubspool/push/publish.py", "Publisher._delete", "marked.get(segment, ())", "covered"),),
        ("tests/hub/publishing/test_publish.py::test_a_file_that_no_marker_names_is_not_deleted",),
    ),
    Mutant(
        "publish_from_an_old_listing",
        "what another publisher has published since the files were listed is published again",
        (
            Edit(
                "hubspool/push/publish.py",
                "Publisher._commit",
                "uncovered(*at, covered[p.segment]) != [at]",
                "False",
            ),
        ),
        ("tests/hub/publishing/test_publish.py::test_what_happens_at_any_step_of_a_publisher_doubles_no_row",),
    ),
    Mutant(
        "marker_missing",
        "no marker says what was published",
        (
            Edit(
                "hubspool/push/publish.py",
                "Publisher._mark",
                "any(uncovered(*each, marked.get(segment, ())) for segment in ranges for each in ranges[segment])",
                "False",
            ),
        ),
        ("tests/hub/publishing/test_publish.py::test_a_file_that_comes_back_is_deleted_again_and_published_once",),
    ),
    Mutant(
        "publish_to_all",
        "a dataset is public because nobody said what it is to be",
        (Edit("hubspool_templates/rows.py", "_publishing", "private is not False", "bool(private)"),),
        (f"{TIMES}::test_nobody_publishes_data_to_all_by_accident",),
    ),
    Mutant(
        "publish_holds_up_pushes",
        "a push that is requested waits until all files are downloaded",
        (Edit("hubspool/scheduling/daily.py", "_DownloadTime.__call__", "self._loop.is_requested", "False"),),
        (f"{TIMES}::test_a_push_that_is_requested_waits_only_for_the_downloads_that_have_begun",),
    ),
    Mutant(
        "unfinished_publish_is_not_due",
        "a publish that an error or a restart ended goes on a period later",
        (Edit("hubspool/push/publish.py", "Publisher._mark", "PurePosixPath(manifest).stem.endswith(_MORE)", "False"),),
        (f"{TIMES}::test_a_publish_that_an_error_ended_goes_on_where_it_was",),
    ),
    Mutant(
        "published_uncompared",
        "bytes that are not those of the bucket's list are published",
        (
            Edit(
                "hubspool/push/publish.py",
                "Publisher._download",
                "xet_contents([path]) != [(piece.file.size, piece.file.content_id)]",
                "False",
            ),
        ),
        ("tests/hub/publishing/test_publish_left.py::test_a_download_with_other_bytes_is_not_published",),
    ),
    Mutant(
        "publish_stopped_by_one_file",
        "a file that cannot be had keeps all later months from the dataset",
        (Edit("hubspool/push/publish.py", "Publisher._attempt", "not self._refused", "True"),),
        ("tests/hub/publishing/test_publish_left.py::test_a_file_that_cannot_be_had_keeps_no_other_month_back",),
    ),
    Mutant(
        "join_outlasts_a_flush",
        "a flush waits until the files of a publish are joined",
        (Edit("hubspool/push/while_going.py", "WhileGoing.__iter__", "not self._may_go_on()", "False"),),
        (f"{TIMES}::test_a_flush_ends_the_join_of_parquet_files",),
    ),
    Mutant(
        "publish_brings_removed_rows_back",
        "rows that were to be removed are published",
        (Edit("hubspool/push/publish.py", "Publisher._without_rows", "removal.reaches(day)", "False"),),
        (
            "tests/hub/publishing/test_publish_left.py::test_rows_that_were_to_be_removed_are_not_published[JsonlScheduler]",
        ),
    ),
    Mutant(
        "publish_misses_a_new_removal",
        "rows that somebody asks to remove during a publish are published",
        (Edit("hubspool/push/publish.py", "Publisher._commit", "self.manifests.removals.keys() != removals", "False"),),
        (
            "tests/hub/publishing/test_publish_left.py::test_a_removal_that_is_asked_for_meanwhile_makes_a_publish_begin_again[jsonl]",
        ),
    ),
    Mutant(
        "deleted_what_the_dataset_lacks",
        "the bucket's copy of rows that the dataset has no more is deleted",
        (Edit("hubspool/push/publish.py", "Publisher._covered", "run.path in files", "True"),),
        ("tests/hub/publishing/test_publish_left.py::test_what_somebody_deleted_from_the_dataset_stays_in_the_bucket",),
    ),
    Mutant(
        "published_files_do_not_fit",
        "files whose columns the dataset cannot have are published as they are",
        (Edit("hubspool_templates/rows.py", "_fitted", "not merged.can_read(schema)", "False"),),
        ("tests/datasets/test_parquet_drift.py::test_a_published_file_keeps_columns_that_have_the_name_for_misfits",),
    ),
    Mutant(
        "misfits_over_other_values",
        "values that fit no column go to one that has other values",
        (Edit("hubspool_templates/parquet/parquet_joiner.py", "refit", "[*new, *others]", "others"),),
        ("tests/datasets/test_parquet_drift.py::test_a_published_file_keeps_columns_that_have_the_name_for_misfits",),
    ),
    Mutant(
        "publish_fails_the_push",
        "what fails in a publish is told as an error of the push",
        (
            Edit(
                "hubspool/client/retry.py",
                "beside_outer",
                "None if outer is None else Caller(outer.pause, seconds_left=outer.seconds_left)",
                "outer",
            ),
        ),
        (f"{TIMES}::test_the_push_does_not_tell_what_fails_in_a_publish",),
    ),
    Mutant(
        "folders_share_a_config",
        "the folders of a bucket become one config of the dataset",
        (Edit("hubspool_templates/rows.py", "published_card", "_config_of(folder)", "None"),),
        ("tests/hub/publishing/test_publish.py::test_each_folder_of_a_bucket_becomes_a_config[JsonlScheduler]",),
    ),
]
