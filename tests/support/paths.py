"""Folders of the repository that tests read, and programs that tests start."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Programs that a test starts as a process of its own.
PROGRAMS = Path(__file__).resolve().parent / "programs"
