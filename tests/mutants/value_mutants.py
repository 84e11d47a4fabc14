"""Mutants of what becomes of the values in rows."""

from __future__ import annotations

from tests.mutants.killers import DATASETS, UNIT
from tests.support.mutation import Edit, Mutant

MUTANTS = [
    Mutant(
        "all_rows_unfit",
        "one row that Parquet cannot store makes text of all rows in its file",
        (
            Edit(
                "hubspool/push/payloads.py",
                "encode_all",
                "failing(0, len(rows), reason)",
                "dict.fromkeys(range(len(rows)), reason)",
            ),
        ),
        (
            f"{DATASETS}/test_unfit_rows.py::test_a_row_that_parquet_cannot_store_is_kept_as_text_and_its_neighbours_arrive",
        ),
    ),
    Mutant(
        "junk_taken_for_media",
        "append takes an empty, truncated or other file for an image",
        (
            Edit(
                "hubspool_templates/media_files.py",
                "prepared",
                "check and (problem := problem_of(content, media, name))",
                "False",
            ),
        ),
        (f"{UNIT}/test_media_values.py::test_junk_is_refused_unless_it_is_wanted",),
    ),
    Mutant(
        "keys_that_are_data_kept",
        "a dict column gets a column in the card for each of its keys",
        (
            Edit(
                "hubspool_templates/schema.py",
                "Schema.merge",
                "_count_keys(merged[name]) > DEFAULTS.dict_keys",
                "False",
            ),
        ),
        (f"{UNIT}/test_schema.py::test_a_column_with_more_than_200_keys_is_json",),
    ),
    Mutant(
        "learned_type_wins",
        "a new row changes the type of a column to one as which datasets cannot read the files on the Hub",
        (Edit("hubspool_templates/schema.py", "Schema.extend", "_can_read(mine, whole)", "True"),),
        (f"{UNIT}/test_schema.py::test_types_of_files_on_the_hub_become_only_what_datasets_reads_them_as",),
    ),
    Mutant(
        "unfit_rows_not_counted",
        "nobody is told of rows that are stored only as text",
        (
            Edit(
                "hubspool/scheduling/status_tracker.py",
                "StatusTracker.note_result",
                "UnfitRowsError(len(rows), rows[-1]) if rows else None",
                "None",
            ),
        ),
        (
            f"{DATASETS}/test_unfit_rows.py::test_a_row_that_parquet_cannot_store_is_kept_as_text_and_its_neighbours_arrive",
        ),
    ),
    Mutant(
        "visitors_text_read_as_a_path",
        "a visitor's text that names a file of the app is stored as that file",
        (Edit("hubspool_templates/parquet/media.py", "MediaEncoder._plain", "type(value) is Text", "False"),),
        (f"{UNIT}/test_media_values.py::test_a_text_of_a_visitor_is_no_path",),
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
        ("tests/unit/test_gradio_parts.py::test_a_form_is_stored_once_per_key_also_by_clicks_at_the_same_time",),
    ),
    Mutant(
        "reader_goes_back",
        "an older answer of the Hub takes a reader's cursor back, and rows are read twice",
        (
            Edit(
                "hubspool_templates/reading/cursor.py",
                "Position.moved_to",
                "max(self, other, key=lambda each: each.number)",
                "other",
            ),
        ),
        (f"{DATASETS}/test_cursor.py::test_an_older_answer_never_takes_a_cursor_back",),
    ),
    Mutant(
        "reader_reads_ghosts",
        "a part that lands after it was joined is read beside the joined file",
        (
            Edit(
                "hubspool_templates/reading/plan.py",
                "pieces_of",
                "alone.first - run.first in range(len(run.sizes))",
                "False",
            ),
        ),
        (f"{DATASETS}/test_compaction.py::test_a_part_that_lands_after_its_join_is_deleted_by_the_next_push",),
    ),
    Mutant(
        "reader_guesses_splits_of_a_bucket",
        "the first file of the split train hides the rows of a scheduler with another name",
        (
            Edit(
                "hubspool_templates/reading/plan.py",
                "NoCard.files",
                "split_of(path)",
                "None",
            ),
        ),
        (f"{DATASETS}/test_bucket_reading.py::test_a_scheduler_of_another_name_hides_no_rows[JsonlScheduler]",),
    ),
    Mutant(
        "writer_ids_without_their_time",
        "after a restart the last row of a key is that of either process, by chance",
        (
            Edit(
                "hubspool/spool/segment_name.py",
                "new_writer_id",
                "time.time_ns() // 1_000_000",
                "2**44 - time.time_ns() // 1_000_000",
            ),
        ),
        (f"{DATASETS}/test_reading.py::test_an_app_that_was_restarted_is_read_in_the_order_of_time",),
    ),
    Mutant(
        "reader_takes_sent_rows_for_pending",
        "rows that a push sends between the look at the disk and the look at the Hub are read twice",
        (Edit("hubspool/push/backlog.py", "PendingSegments.lines", "ranges.append((start, end))", ""),),
        (f"{DATASETS}/test_pending.py::test_a_push_between_the_look_at_the_disk_and_the_hub_changes_nothing",),
    ),
]
