"""The examples of docs/frameworks.md."""

from __future__ import annotations

import re

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    """Return the example with this title, for the local Hub's user."""
    (code,) = re.findall(rf'```\w+ title="{re.escape(name)}"\n(.*?)```', PAGE, re.DOTALL)
    return str(code).replace("your-name/", "local/")
