"""How a transfer is shown: one bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stderr
from dataclasses import replace

import pytest

from hubspool.client import progress
from hubspool.client.defaults import DEFAULTS
from hubspool.client.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=[Terminal, io.StringIO], ids=["terminal", "file"])
def stderr(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    stream: io.StringIO = request.param()
    monkeypatch.setattr(progress, "DEFAULTS", replace(DEFAULTS, bar_seconds=0))
    return stream


def show(stderr: io.StringIO) -> None:
    # not with a fixture: pytest puts its own stderr into place after those
    with redirect_stderr(stderr), Progress("Uploading", 4_000_000) as bar:
        for done in (1_000_000, 3_000_000, 2_000_000):
            bar.update(done)


def test_a_terminal_gets_one_bar_that_ends_full(stderr: io.StringIO) -> None:
    show(stderr)
    if stderr.isatty():
        assert "Uploading" in stderr.getvalue()
        assert "4.00M/4.00M" in stderr.getvalue()
        assert "\x1b[32m" in stderr.getvalue()
    else:
        assert stderr.getvalue() == ""


@pytest.mark.parametrize(("value", "shown"), [("1", False), ("0", True)])
def test_the_environment_decides(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch, value: str, shown: bool) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", value)
    show(stderr)
    assert bool(stderr.getvalue()) is shown


def test_without_colour_the_bar_is_plain(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    show(stderr)
    assert "\x1b[32m" not in stderr.getvalue()
    assert stderr.getvalue().isascii()


def test_elsewhere_a_line_is_logged_now_and_then(
    stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "DEFAULTS", replace(DEFAULTS, bar_seconds=0, log_seconds=0))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with caplog.at_level(logging.INFO):
        show(stderr)
    assert [record.message for record in caplog.records] == [
        "Uploading: 1000000 of 4000000 bytes",
        "Uploading: 3000000 of 4000000 bytes",
        "Uploading: 4000000 of 4000000 bytes",
    ]


def test_a_transfer_that_fails_is_not_shown_as_complete(
    stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "DEFAULTS", replace(DEFAULTS, bar_seconds=0, log_seconds=0))
    with (
        caplog.at_level(logging.INFO),
        redirect_stderr(stderr),
        pytest.raises(ValueError, match="broke"),
        Progress("Uploading", 10) as bar,
    ):
        bar.update(5)
        raise ValueError("broke")
    assert "10.0/10.0" not in stderr.getvalue()
    assert "10 of 10" not in caplog.text
