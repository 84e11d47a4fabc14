"""The pages of docs/: every snippet runs against a local Hub, in the order of the page, and what they name exists."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import click
import pytest
import yaml

from hubspool import HfApi
from hubspool.cli import group
from hubspool.local_hub import Fault
from hubspool_templates import JsonlScheduler, read_rows
from tests.support.paths import ROOT
from tests.support.reader import PAGES, Reader, blocks, make_targets

#: Run by tests/recipes, and by test_architecture.py, test_custom_schedulers.py and test_frameworks.py.
ELSEWHERE = {"training_logs.md", "architecture.md", "custom_schedulers.md", "frameworks.md"}
#: Pages whose snippets a test below runs.
RUN = {
    *("quick_start.md", "feedback.md", "images.md", "chats.md", "archives.md", "replicas.md", "moving.md"),
    *("deploying.md", "uploads.md", "testing.md", "privacy.md", "existing_datasets.md", "local_hub.md", "index.md"),
    *("buckets.md", "README.md", "troubleshooting.md", "years.md", "monitoring.md", "reading.md"),
}
SETTINGS = [
    name for row in re.findall(r"^\| `(.*?)` \|", PAGES["settings.md"], re.MULTILINE) for name in row.split("`, `")
]


@pytest.mark.timeout(400)
def test_the_quick_start_ends_with_rows(reader: Reader) -> None:
    reader.read(PAGES["quick_start.md"])
    assert "Solaris True 20" in reader.said
    assert "is private" in reader.said
    assert len(reader.rows("first-rows")) == 2


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_guides_to_gradio_do_what_they_say(reader: Reader) -> None:
    for page in ("feedback.md", "chats.md"):
        reader.read(PAGES[page])
    assert "Thank you. Pending votes: 1." in reader.said
    assert "Solaris True\n" in reader.said
    assert "['Push film-votes now']" in reader.said
    assert [(row["film"], row["liked"]) for row in reader.rows("film-votes")] == [("Solaris", True)]
    assert [row["output"] for row in reader.rows("flagged")] == ["cba"]
    assert [row["event"] for row in reader.rows("chats") + reader.rows("conversations")] == ["conversation"] * 2


@pytest.mark.timeout(400)
def test_the_guides_to_files_do_what_they_say(reader: Reader) -> None:
    for page in ("images.md", "archives.md"):
        reader.read(PAGES[page])
    assert [path for path in reader.files("drawings") if path.endswith(".parquet")]
    assert [path for path in reader.files("albums") if path.endswith(".zip")]
    assert not list((reader.folder / "albums").glob("*.png"))


@pytest.mark.timeout(400)
def test_replicas_share_a_dataset_and_files_move_over(reader: Reader) -> None:
    for page in ("index.md", "replicas.md", "moving.md", "local_hub.md", "deploying.md"):
        reader.read(PAGES[page])
    assert "['one', 'two']" in reader.said
    assert "data/today.jsonl" in reader.files("reports")
    assert "local\n" in reader.said


@pytest.mark.timeout(400)
def test_rows_go_to_a_bucket_and_come_back(reader: Reader) -> None:
    reader.read(PAGES["buckets.md"])
    assert "['Solaris', 'Stalker']" in reader.said
    assert "Sound: 2 rows in 2 files" in reader.said
    assert sorted(row["film"] for row in reader.rows("votes")) == ["Solaris", "Stalker"]
    assert "Sound: 2 rows in 1 file of local/votes" in reader.said


@pytest.mark.timeout(400)
def test_files_are_joined_and_numbers_are_printed(reader: Reader) -> None:
    tomorrow = format_datetime(datetime.now(timezone.utc) + timedelta(days=1), usegmt=True)
    reader.hub.faults.add(Fault(headers={"Date": tomorrow}, times=None))  # files of today are left alone
    reader.read(PAGES["years.md"])
    reader.hub.faults.clear()
    reader.read(PAGES["monitoring.md"])
    assert "3 files would become 1" in reader.said
    assert "['one', 'three', 'two']" in reader.said
    assert len([path for path in reader.files("years") if path.startswith("data/")]) == 1
    assert "hubspool.rows.pending = 1\n" in reader.said
    assert re.search(r"^hubspool_pending_rows\{.*\} 0$", reader.said, re.MULTILINE)


@pytest.mark.timeout(400)
def test_the_uploads_do_what_they_say(reader: Reader) -> None:
    reader.read(PAGES["uploads.md"])
    files = reader.files("papers")
    assert {"papers.csv", "data/a.csv"} <= {*files}
    assert "data/b.tmp" not in files
    details = [reader.api.get_discussion_details("local/papers", num, repo_type="dataset") for num in (1, 2)]
    assert {pull.title for pull in details} == {"Tidy up", "Upload a.csv with huggingface_hub"}
    assert [path for path in reader.files("shards", "model") if path.endswith(".bin")] == [
        f"shard-{number}.bin" for number in range(3)
    ]
    assert "a.csv" in reader.files("corpus")
    assert "notes.txt" in reader.files("notes", "model")


@pytest.mark.timeout(400)
def test_the_advice_on_testing_does_what_it_says(reader: Reader) -> None:
    reader.read(PAGES["testing.md"])
    assert "1 passed" in reader.said
    assert "{'faults': [{" in reader.said


@pytest.mark.timeout(400)
def test_a_removed_row_stays_away(reader: Reader) -> None:
    reader.read(PAGES["privacy.md"])
    assert reader.rows("answers") == [{"id": "b2", "text": "No"}]
    assert len(reader.api.list_repo_commits("local/answers", repo_type="dataset")) == 1
    with JsonlScheduler("local/answers", reader.folder / "answers", hf_api=reader.api) as answers:
        answers.append({"id": "c3", "text": "Perhaps"})
    assert {str(row["id"]) for row in reader.rows("answers")} == {"b2", "c3"}


@pytest.mark.timeout(400)
def test_rows_of_other_columns_have_a_config_of_their_own(reader: Reader) -> None:
    reader.read(PAGES["existing_datasets.md"])
    assert reader.rows("votes") == [{"choice": "left"}]
    assert list(read_rows("local/votes", reader.api, config="errors")) == [{"code": 500, "seconds": 1.5}]


@pytest.mark.timeout(400)
def test_the_page_on_reading_reads_in_every_way_that_it_names(reader: Reader) -> None:
    reader.read(PAGES["reading.md"])
    said = reader.said.splitlines()
    assert len([line for line in said if line.startswith("{")]) == 3
    assert len([line for line in said if line.startswith("new:")]) == 3
    assert said[-10:-7] == ["with pending rows: 4", "latest: [2, 3, 5]", "sum: 11"]
    assert said[-7].split() == ["id", "score", "note"]  # which rows are the last depends on the writers' ids
    assert said[-4:] == ["datasets: 4", "pandas: 4", "duckdb: [(1, 4)]", "polars: (4, 3)"]
    assert len((reader.folder / "scores.jsonl").read_text().splitlines()) == 3


def test_a_new_folder_in_the_repo_is_read_with_the_old_one(hub_api: HfApi, tmp_path: Path) -> None:
    for year in ("2026", "2027"):
        with JsonlScheduler("local/years", tmp_path / year, path_in_repo=f"data/{year}", hf_api=hub_api) as rows:
            rows.append({"year": year})
    assert {row["year"] for row in read_rows("local/years", api=hub_api)} == {"2026", "2027"}
    card = hub_api.hf_hub_download("local/years", "README.md", repo_type="dataset", local_dir=tmp_path)
    assert {*re.findall(r"data/(\d+)/", Path(card).read_text())} == {"2026", "2027"}


def test_every_page_with_code_is_run() -> None:
    coded = {name for name, text in PAGES.items() if any(language != "text" for language, _ in blocks(text))}
    assert coded - RUN - ELSEWHERE == set()


class AnyTag(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags only MkDocs knows."""


AnyTag.add_multi_constructor("", lambda *_: None)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), AnyTag)


def test_the_site_has_a_search_and_a_dark_mode_and_no_foreign_fonts() -> None:
    assert "search" in SITE["plugins"]
    assert [palette["scheme"] for palette in SITE["theme"]["palette"]] == ["default", "slate"]
    assert all(palette["toggle"]["name"] for palette in SITE["theme"]["palette"])
    assert SITE["theme"]["font"] is False


def test_every_page_is_in_the_navigation() -> None:
    def pages(entry: object) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        return set().union(*map(pages, entry.values() if isinstance(entry, dict) else entry))  # type: ignore[attr-defined, call-overload]

    assert pages(SITE["nav"]) == {*PAGES} - {"README.md"}


@pytest.mark.parametrize("name", sorted({*PAGES} - {"README.md"}))
def test_links_between_pages_exist(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", PAGES[name], flags=re.DOTALL)):
        assert (ROOT / "docs" / target).exists(), target


@pytest.mark.parametrize("name", sorted(PAGES))
def test_each_option_that_is_named_exists(name: str, options: dict[str, set[str]]) -> None:
    text = re.sub(r"```(python|dockerfile|bash)\b.*?```", "", PAGES[name], flags=re.DOTALL)
    text = re.sub(r"`(?:uvicorn|tensorboard|git|pip|python|srun)\b[^`]*`|\(`--workers[^`]*`\)", "", text)
    for command, rest in re.findall(r"hubspool ([a-z][a-z-]+)\b([^`\n#]*)", text):
        if command in options:
            assert {*re.findall(r"(?<![\w-])--[a-z-]+", rest)} <= options[command], command
    named = {*re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)}
    assert named <= {"--help", *set().union(*options.values())}
    assert {*re.findall(r"`hubspool ([a-z-]+)", text)} <= {*options}


@pytest.fixture
def options() -> dict[str, set[str]]:
    """The options of each command."""
    context = click.Context(group, **group.context_settings)
    return {
        name: {option for parameter in command.get_params(click.Context(command, context)) for option in parameter.opts}
        for name, command in group.commands.items()
    }


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_read_somewhere(name: str) -> None:
    folders = [ROOT / "scheduler", ROOT / "templates", ROOT / "demo_space"]
    assert any(name in path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))


def test_each_variable_that_settings_reads_is_described() -> None:
    text = (ROOT / "scheduler" / "hubspool" / "settings.py").read_text(encoding="utf-8")
    read = {*re.findall(r"env(?:\.get)?[(,] ?\"?([A-Z_]+)\"|env, \"([A-Z_]+)\"", text)}
    names = {name for pair in read for name in pair if name} | {*re.findall(r"\((HUBSPOOL_\w+|HF_\w+)\)", text)}
    assert names - {"XDG_CACHE_HOME", "HUGGINGFACE_HUB_CACHE", "SPACE_ID"} <= {*SETTINGS}


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_uses_the_words_of_the_glossary(name: str) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`|options: {.*?}", "", PAGES[name], flags=re.DOTALL)
    prose = prose.replace("**recipe**", "")  # a table of the ledger
    found = re.findall(
        r"\b(?:stock|recipes?|waiting|(?:another|same|that|the) form that|(?:another|same) form)\b", prose
    )
    assert found == []


def test_contributing_names_what_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = re.findall(r"`make ([\w-]+)", text)
    folders = re.findall(r"^\| `([\w/]+/)` \|", text.partition("<!-- layers -->")[0], re.MULTILINE)
    assert len(targets) > 10
    assert {*targets} <= make_targets()
    assert {f"tests/{path.name}/" for path in (ROOT / "tests").iterdir() if any(path.glob("*.py"))} <= {*folders}
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


def test_the_table_of_losses_has_each_case_and_its_result() -> None:
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "losses").glob("cases_*.py")]
    cases = {row for script in scripts for row in re.findall(r'@case\(\s*"(L[^"]+)"', script)}
    rows = re.findall(r"^\| (L\d+(?: \([^)]*\))?): (.*) \|$", PAGES["losses.md"], re.MULTILINE)
    assert {row for row, _ in rows} == cases
    in_buckets = re.findall(r"^\| (L\d+(?: \([^)]*\))?) \| (.*) \|$", PAGES["losses.md"], re.MULTILINE)
    assert [row for row, _ in in_buckets] == [row for row, _ in rows]
    assert [row for row, text in (*rows, *in_buckets) if re.search(r"not built|not measured|fails", text)] == []
