"""Every mutant still matches the code; how the code is formatted does not matter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.mutants.catalog import MUTANTS
from tests.support.mutation import Edit, Mutant, NoMatchError
from tests.support.paths import ROOT

SOURCE = '''
class Sender:
    def send(self, rows):
        """Send rows."""
        if (rows
                and self.ready):  # a comment
            self.save(
                rows,
            )
        return self.post(rows)

def other():
    return 1
'''


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_matches_the_code(mutant: Mutant) -> None:
    sources = {edit.file: edit.path(ROOT).read_text(encoding="utf-8") for edit in mutant.edits}
    for edit in mutant.edits:
        sources[edit.file] = edit.applied(sources[edit.file])
    for name, source in sources.items():
        compile(source, name, "exec")


def test_names_are_unique() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names))


def edit(old: str, new: str, function: str = "Sender.send") -> Edit:
    return Edit("hubspool/sender.py", function, old, new)


@pytest.mark.timeout(300)
def test_the_tests_that_must_fail_exist() -> None:
    named = sorted({test for mutant in MUTANTS for test in mutant.killed_by})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", *named]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr


def test_an_expression_is_replaced_however_it_is_formatted() -> None:
    assert "if False:" in edit("rows and self.ready", "False").applied(SOURCE)


def test_a_statement_is_removed_or_moved() -> None:
    assert "self.save" not in edit("self.save(rows)", "").applied(SOURCE)
    assert "return None\n" in edit("return self.post(rows)", "self.post(rows)\nreturn None").applied(SOURCE) + "\n"


def test_code_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(NoMatchError, match=r"nearest code is in line 7: 'self.save\(rows\)'"):
        edit("self.save(row)", "").applied(SOURCE)


def test_code_that_has_moved_is_told_with_its_new_function() -> None:
    with pytest.raises(NoMatchError, match="it is in other"):
        edit("return 1", "").applied(SOURCE)
    with pytest.raises(NoMatchError, match=r"no such function; its functions with similar names: Sender\.send"):
        edit("return 2", "", "Sender.sent").applied(SOURCE)


def test_code_that_is_there_more_than_once_is_refused() -> None:
    with pytest.raises(NoMatchError, match="'rows' is there 3 times"):
        edit("rows", "[]").applied(SOURCE)
