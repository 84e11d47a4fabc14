"""The numbers of the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CliDefaults:
    """Defaults of options, and limits of checks.

    Args:
        replicas: processes that push, as `doctor` assumes.
        bucket_calls: calls of the API that pushes to buckets make in 5 minutes; half of what a free account has.
        calls_per_push: calls of the API that a push to a bucket takes: the batch, and what fails.
        long_history: commits from which `doctor` warns; a longer history makes clones and listings slow.
        host: address on which `hub` listens; nothing outside this machine can reach this one.
        port: port on which `hub` listens; 0 is any free one, so that several Hubs can run.
        cell_characters: characters of a value that `read --format table` shows.
    """

    replicas: int = 1
    bucket_calls: int = 500
    calls_per_push: int = 2
    long_history: int = 10_000
    host: str = "127.0.0.1"
    port: int = 0
    cell_characters: int = 40


DEFAULTS = CliDefaults()
