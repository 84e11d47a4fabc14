"""Somebody who does what a page of the documentation says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import read_rows
from tests.support.environment import clean_environment
from tests.support.paths import ROOT

#: The README and each page of docs/, by name.
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
SOURCE = "https://github.com/hubspool/hubspool"
NOT_SERVED = "import gradio\ngradio.Blocks.launch = lambda self, **options: None\n"
#: What a visitor does in the app whose code has this line.
VISITS = {
    'return f"Thank you. Pending': "print(save('Solaris', True)); votes.flush()",
    "async def save(film": "import asyncio; print(asyncio.run(save('Solaris', True))); votes.flush()",
    "callback = HubFlaggingCallback": "callback.flag(['abc', 'cba']); callback.scheduler.flush()",
    "page.chatbot.like(logger.like": "logger.log([{'role': 'user', 'content': 'hello'}]); logger.scheduler.flush()",
    "def respond(message, history, request: gr.Request)": "print(respond('hello', [], None)); logger.scheduler.flush()",
    "status_panel(votes)": "print([each.value for each in page.blocks.values() if isinstance(each, gr.Button)])",
}


def make_targets() -> set[str]:
    """The targets of the Makefile."""
    return {*re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)}


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each block of code."""
    return re.findall(r"```(\w+)[^\n]*\n(.*?)```", text, re.DOTALL)


class Reader:
    """Somebody who does what a document says, in one folder and against one Hub; `said` is what came out."""

    def __init__(self, hub: LocalHub, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.api = HfApi(endpoint=hub.endpoint, token=hub.token)
        self.said = ""
        self.served: list[tuple[subprocess.Popen[str], str]] = []
        (folder / "rows").mkdir()
        (folder / "rows" / "a.csv").write_text("number\n1\n")
        (folder / "rows" / "b.tmp").write_text("half")

    def read(self, text: str) -> None:
        for language, code in blocks(text.replace("your-name/", "local/")):
            if language == "text":
                continue
            if language == "sh":
                for line in code.splitlines():
                    self.type(re.sub(r"\s+# .*", "", line))
            else:
                assert language == "python", language
                self.run_python(code)

    def run_python(self, code: str) -> None:
        for line in [line for line in VISITS if line in code]:
            code += "\n" + VISITS[line]
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
        if line == f"git clone {SOURCE} && cd hubspool":
            return
        program, *arguments = shlex.split(line)
        if program == "make":
            assert {word for word in arguments if "=" not in word} <= make_targets()
        elif program == "pip":
            (extra,) = re.findall(rf"^install (?:\.|hubspool)\[([\w-]+)\](?: @ git\+{SOURCE})?$", " ".join(arguments))
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
