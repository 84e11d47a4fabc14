"""What a stranger looks at before trusting a project: workflows, policies, metadata of the package."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.reader import SOURCE, make_targets

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github").rglob("*.yml") if path.parent.name != "workflows")


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_exists_and_has_few_rights(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert content["permissions"]["contents"] == "read"
    for step in steps(workflow):
        assert ("run" in step) != ("uses" in step)
        command = step.get("run", "")
        assert {*re.findall(r"make (?:PYTHON=\S+ )?([\w-]+)", command)} <= make_targets()
        assert all((ROOT / path).exists() for path in re.findall(r"(\.ci/[\w.]+)", command))
        assert not step.get("uses") or re.fullmatch(r"[\w-]+/[\w-]+@[\w./-]+", step["uses"])
    assert "secrets." not in workflow.read_text(encoding="utf-8")


def test_the_matrix_and_the_smoke_tests_are_there() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    assert jobs["smoke"]["strategy"]["matrix"]["os"] == ["macos-latest", "windows-latest"]
    assert {"run": "make docs"} in jobs["docs"]["steps"]


def test_a_release_is_published_without_a_token() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert any(step.get("run") == "make build" for step in jobs["build"]["steps"])
    assert [step for step in jobs["publish"]["steps"] if "pypi-publish" in step.get("uses", "")]


@pytest.mark.parametrize("form", [*FORMS, ROOT / ".pre-commit-config.yaml"], ids=lambda path: path.name)
def test_a_form_can_be_read(form: Path) -> None:
    assert yaml.safe_load(form.read_text(encoding="utf-8"))


def test_pre_commit_runs_what_check_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert {hook["id"] for repo in hooks for hook in repo["hooks"]} == {"ruff-check", "ruff-format", "codespell"}


@pytest.mark.parametrize("name", ["SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_a_policy_links_what_exists_and_names_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"[\w.]+@[\w-]+\.\w+", text)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / target).exists(), target


def test_the_package_says_who_and_where() -> None:
    project = PROJECT["project"]
    assert project["authors"] == [{"name": "The hubspool authors"}]
    assert {"Documentation", "Source", "Issues", "Changelog"} <= {*project["urls"]}
    assert project["urls"]["Source"] == SOURCE
    assert all(url.startswith("https://") for url in project["urls"].values())


def test_what_contributors_need_is_no_extra() -> None:
    assert {*PROJECT["project"]["optional-dependencies"]} == {"parquet", "gradio", "local-hub", "all", "demo"}
    assert {"lint", "test", "dev", "docs", "build"} == {*PROJECT["dependency-groups"]}


def test_the_classifiers_are_true() -> None:
    classifiers = PROJECT["project"]["classifiers"]
    minors = re.findall(r"Python :: 3\.(\d+)", "\n".join(classifiers))
    assert minors == ["10", "11", "12", "13"]  # those of constraints.txt, whose versions the tests ran with
    assert PROJECT["project"]["requires-python"] == ">=3.10"
    assert [each for each in classifiers if "Operating System" in each] == ["Operating System :: POSIX :: Linux"]
    assert (ROOT / "scheduler" / "hubspool" / "py.typed").exists()


def test_the_changelog_begins_with_this_version() -> None:
    from hubspool import __version__

    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1] == __version__  # type: ignore[index]
