"""Every snippet of the README and of the documents that it links runs against a local Hub, in the order of the page."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hubspool import HfApi
from hubspool.cli import group
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler, read_rows
from tests.support.environment import clean_environment
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Run by tests/recipes, and by other tests.
ELSEWHERE = {"training_logs.md", "architecture.md", "values.md", "gradio_components.md"}
DOCUMENTS = {"README.md": README} | {
    path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md") if path.name not in ELSEWHERE
}
SETTINGS = [name for row in re.findall(r"^\| `(.*?)` \|", README, re.MULTILINE) for name in row.split("`, `")]
SETTINGS = [name for name in SETTINGS if name.isupper()]
NOT_SERVED = "import gradio\ngradio.Blocks.launch = lambda self, **options: None\n"
#: What a visitor does in the app whose code has this line.
VISITS = {
    'gr.Interface(save, ["text"': "print(save('Solaris', True)); votes.flush()",
    "callback = HubFlaggingCallback": "callback.flag(['abc', 'cba']); callback.scheduler.flush()",
    "logger = ChatLogger": "logger.log([{'role': 'user', 'content': 'hello'}]); logger.scheduler.flush()",
    "async def save": "import asyncio; asyncio.run(save('hello')); notes.flush()",
    "status_panel(votes)": "print([each.value for each in page.blocks.values() if isinstance(each, gr.Button)])",
}


def make_targets() -> set[str]:
    return {*re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)}


class Reader:
    """Somebody who does what a document says, in one folder and against one Hub; `said` is what came out."""

    def __init__(self, hub: LocalHub, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.api = HfApi(endpoint=hub.endpoint, token=hub.token)
        self.said = ""
        self.visited: set[str] = set()
        self.served: list[tuple[subprocess.Popen[str], str]] = []
        (folder / "rows").mkdir()
        (folder / "rows" / "a.csv").write_text("number\n1\n")
        (folder / "rows" / "b.tmp").write_text("half")

    def read(self, text: str) -> None:
        for language, code in re.findall(r"```(\w*)\n(.*?)```", text.replace("your-name/", "local/"), re.DOTALL):
            if language == "sh":
                for line in code.splitlines():
                    self.type(re.sub(r"\s+# .*", "", line))
            else:
                assert language == "python", language
                self.run_python(code)

    def run_python(self, code: str) -> None:
        for line in [line for line in VISITS if line in code]:
            code += "\n" + VISITS[line]
            self.visited.add(line)
        for process, port in self.served:
            assert process.poll() is None
            code = code.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        if "def test_" in code:
            (self.folder / "test_snippet.py").write_text(code)
            pytest_here = ["-m", "pytest", "-c", "/dev/null", "--rootdir", ".", "-p", "no:cacheprovider"]
            self.run(sys.executable, *pytest_here, "test_snippet.py")
        else:
            self.run(sys.executable, "-c", (NOT_SERVED if ".launch(" in code else "") + code)

    def type(self, line: str) -> None:
        program, *arguments = shlex.split(line)
        if program == "make":
            assert {*arguments} <= make_targets()
        elif program == "pip":
            (extra,) = re.findall(r"^install \.\[([\w-]+)\]$", " ".join(arguments))
            assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
        elif arguments[0] == "hub":
            free = ["0" if word == "8000" else word for word in arguments]
            process = subprocess.Popen(
                [sys.executable, "-m", "hubspool.cli", *free],
                cwd=self.folder,
                env=self.environment(),
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            self.served.append((process, process.stdout.readline().strip().rpartition(":")[2]))
            assert self.served[-1][1].isdigit()
        else:
            assert program == "hubspool", line
            self.run(sys.executable, "-m", "hubspool.cli", *arguments)

    def run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=100,
            input=self.hub.token,  # for `hubspool login`
        )
        assert done.returncode == 0, (command[-1], done.stdout[-2000:], done.stderr[-3000:])
        self.said += done.stdout

    def environment(self) -> dict[str, str]:
        return {
            **clean_environment(),
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_TOKEN": self.hub.token,
            "HF_HOME": str(self.folder / "home"),
            "HOME": str(self.folder),
            "GRADIO_ANALYTICS_ENABLED": "False",
        }

    def files(self, repo: str, repo_type: str = "dataset") -> list[str]:
        return self.api.list_repo_files(f"local/{repo}", repo_type=repo_type)

    def rows(self, repo: str) -> list[dict[str, object]]:
        return list(read_rows(f"local/{repo}", api=self.api))


@pytest.fixture
def reader(local_hub: LocalHub, tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "desk"
    folder.mkdir()
    reader = Reader(local_hub, folder)
    yield reader
    for process, _ in reader.served:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_readme_does_what_it_says(reader: Reader) -> None:
    reader.read(README)
    assert reader.visited == {*VISITS}
    assert "1 votes wait" in reader.said
    assert "Solaris True\n" in reader.said
    assert "['Commit film-votes now']" in reader.said
    assert "1 passed" in reader.said
    assert '"pending_bytes":0' in reader.said
    assert "Nothing to send" in reader.said
    assert "is private" in reader.said
    assert reader.rows("film-votes") == [{"film": "Solaris", "liked": True}]
    assert [row["output"] for row in reader.rows("flagged")] == ["cba"]
    assert [row["event"] for row in reader.rows("chats")] == ["conversation"]
    assert reader.rows("notes") == [{"text": "hello"}]
    assert "data/today.jsonl" in reader.files("reports")
    assert [path for path in reader.files("drawings") if path.endswith(".parquet")]
    folder = reader.folder / "fetched"
    archives = [path for path in reader.files("albums") if path.endswith(".zip")]
    fetched = [
        reader.api.hf_hub_download("local/albums", path, repo_type="dataset", local_dir=folder) for path in archives
    ]
    assert {"square.png", "dropped.png"} <= {name for path in fetched for name in zipfile.ZipFile(path).namelist()}
    assert not list((reader.folder / "albums").glob("*.png"))
    assert "runs/first/loss.csv" in reader.files("digits", "model")
    assert "logs/first/loss.csv" in reader.files("runs")
    assert "first/loss.csv" in reader.files("corpus")


def test_the_first_example_has_ten_lines() -> None:
    (code,) = re.findall(r"## Ten lines\n\n```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10


@pytest.mark.timeout(400)
def test_the_uploads_do_what_they_say(reader: Reader) -> None:
    reader.read(DOCUMENTS["uploads.md"])
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
    reader.read(DOCUMENTS["testing.md"])
    assert "1 passed" in reader.said
    assert "{'faults': [{" in reader.said


@pytest.mark.timeout(400)
def test_a_removed_row_stays_away(reader: Reader) -> None:
    reader.read(DOCUMENTS["privacy.md"])
    assert reader.rows("answers") == [{"id": "b2", "text": "No"}]
    assert len(reader.api.list_repo_commits("local/answers", repo_type="dataset")) == 1
    with JsonlScheduler("local/answers", reader.folder / "answers", hf_api=reader.api) as answers:
        answers.append({"id": "c3", "text": "Perhaps"})
    assert {str(row["id"]) for row in reader.rows("answers")} == {"b2", "c3"}


@pytest.mark.timeout(400)
def test_rows_of_other_columns_have_a_config_of_their_own(reader: Reader) -> None:
    reader.read(DOCUMENTS["existing_datasets.md"])
    assert reader.rows("votes") == [{"code": 500, "seconds": 1.5}, {"choice": "left"}]


def test_a_new_folder_in_the_repo_is_read_with_the_old_one(hub_api: HfApi, tmp_path: Path) -> None:
    for year in ("2026", "2027"):
        with JsonlScheduler("local/years", tmp_path / year, path_in_repo=f"data/{year}", hf_api=hub_api) as rows:
            rows.append({"year": year})
    assert {row["year"] for row in read_rows("local/years", api=hub_api)} == {"2026", "2027"}
    card = hub_api.hf_hub_download("local/years", "README.md", repo_type="dataset", local_dir=tmp_path)
    assert {*re.findall(r"data/(\d+)/", Path(card).read_text())} == {"2026", "2027"}


def test_each_document_is_linked_and_run() -> None:
    assert {"README.md", "uploads.md", "testing.md", "privacy.md", "existing_datasets.md", "local_hub.md"} == {
        *DOCUMENTS
    }
    for name in {*DOCUMENTS, *ELSEWHERE} - {"README.md"}:
        assert f"(docs/{name})" in README


def test_the_readme_is_short_and_says_nothing_twice() -> None:
    assert README.count("\n") < 560
    lines = [line for line in README.splitlines() if line.startswith(("#", "| L")) or len(line) > 60]
    assert sorted({*lines}) == sorted(lines)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_each_option_that_is_named_exists(name: str, options: dict[str, set[str]]) -> None:
    text = re.sub(r"```python\n.*?```", "", DOCUMENTS[name], flags=re.DOTALL)
    for command, rest in re.findall(r"hubspool ([a-z][a-z-]+)\b([^`\n#]*)", text):
        if command in options:
            assert {*re.findall(r"--[a-z-]+", rest)} <= options[command], command
    named = {*re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)}
    assert named <= set().union(*options.values())
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


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_contributing_names_what_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = re.findall(r"`make ([\w-]+)", text)
    folders = re.findall(r"^\| `([\w/]+/)` \|", text.partition("<!-- layers -->")[0], re.MULTILINE)
    assert len(targets) > 10
    assert {*targets, *re.findall(r"`make ([\w-]+)`", README)} <= make_targets()
    assert {f"tests/{path.name}/" for path in (ROOT / "tests").iterdir() if any(path.glob("*.py"))} <= {*folders}
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


def test_the_table_of_losses_has_each_case_and_its_result() -> None:
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "losses").glob("cases_*.py")]
    cases = {row for script in scripts for row in re.findall(r'@case\(\s*"(L[^"]+)"', script)}
    rows = re.findall(r"^\| (L\d+(?: \([^)]*\))?): (.*) \|$", README, re.MULTILINE)
    assert {row for row, _ in rows} == cases
    assert [row for row, text in rows if re.search(r"not built|not measured|fails", text)] == []
