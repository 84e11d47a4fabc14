"""TrainingLogs: a run's log folder on the Hub during the run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hubspool import CommitOperationAdd, CommitPlan, CommitScheduler
from hubspool.extending import CommonOptions, LineKind, Patterns, kind_by_name, process_rank, read_text
from hubspool_templates.defaults import DEFAULTS

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Files that a run writes for people to read.
LOG_PATTERNS = (
    *("*tfevents*", "*.txt", "*.log", "*.log.*", "*.csv", "*.tsv", "*.json", "*.jsonl", "*.yaml", "*.yml", "*.toml"),
    *("*.html", "*.ndjson", "*.err", "**/run-*.wandb", "**/slurm-*.out", "**/nohup.out"),
)
#: Files that grow line by line. A ``.json`` or ``.yaml`` is rewritten as a whole, and small.
_GROWING = (LineKind.TEXT, LineKind.TABLE, LineKind.PLAIN_TABLE, LineKind.JSON_LINES)
#: Paths that a line of ``.gitattributes`` can hold unquoted, except for spaces; other files stay ordinary files.
_UNQUOTED = re.compile(r"[\w./=+@,() -]+")
#: Never sent, whatever `allow_patterns` says: a half-written checkpoint is useless, and each one is large; hidden files
#: are settings and secrets, as are files of such names; and what wandb notes of the machine has its name, the user's,
#: and an e-mail address.
NEVER_SENT = (
    *("**/.*", "**/wandb-metadata.json", "**/*credentials.*", "**/*secrets.*", "**/*secret.*"),
    *("**/checkpoint-*/*", "**/checkpoints/*", "**/checkpoint/*"),
    *("*.ckpt", "*.pt", "*.pth", "*.bin", "*.safetensors", "*.h5", "*.keras", "*.gguf", "*.onnx", "*.distcp"),
)


class TrainingLogs(CommitScheduler):
    """Mirrors a log folder to the Hub during a run: event files, text, tables, JSON, YAML, HTML; never checkpoints.

    Not promised: a file that is rewritten in place (a ``trainer_state.json``) may be read half-written; the next push
    sends it whole. An event file is cut at its last whole record and a line file at its last newline, so every commit
    can be read. Only new bytes are sent: text logs and tables that are new on the Hub are stored there as large files
    from their first line (a file that the Hub already stores as an ordinary file stays one, and is sent whole up to
    10 MB). An event file of more than 1 MiB is sent when it has grown by a sixteenth, or after 30 minutes, or at the
    end, since each version of it counts against the storage of the repository's owner. A line file that no longer
    begins with what was committed (a logger's ``metrics.csv`` with a new column) becomes a new version of itself.

    In a distributed run only the process of rank 0 (``RANK``, else ``SLURM_PROCID``) sends. In any other process
    `is_sending` is False, `trigger`, `flush`, `stop` and `status` do nothing, and no file and no request is made.

    Usage::

        with TrainingLogs("user/digits", "runs/first"):
            train()

    Args:
        repo_id: the repository, ``user/name``; a name alone belongs to the token's user.
        folder_path: the log folder; created if it is missing.
        every: minutes between pushes.
        repo_type: type of the repository, a model by default, which is created if it is missing.
        path_in_repo: the folder in the repository; ``runs/<folder name>`` by default, where the Hub looks for event
            files.
        allow_patterns: globs of files to send.
        ignore_patterns: globs of files to leave out, besides checkpoints, hidden files, secrets and
            ``wandb-metadata.json``.
        options: the options of `CommitScheduler`.
    """

    versions_rewritten = True

    def __init__(
        self,
        repo_id: str,
        folder_path: str | Path,
        *,
        every: float = DEFAULTS.every_minutes,
        repo_type: str | None = None,
        path_in_repo: str | None = None,
        allow_patterns: Patterns = LOG_PATTERNS,
        ignore_patterns: Patterns = (),
        private: bool | None = None,
        **options: Unpack[CommonOptions],
    ) -> None:
        self.is_sending = process_rank() == 0
        ignored = [ignore_patterns] if isinstance(ignore_patterns, str) else list(ignore_patterns or ())
        options.setdefault("commit_message", _message)
        super().__init__(
            repo_id=repo_id,
            folder_path=folder_path,
            every=every,
            repo_type=repo_type,
            path_in_repo=f"runs/{Path(folder_path).expanduser().resolve().name}"
            if path_in_repo is None
            else path_in_repo,
            allow_patterns=allow_patterns,
            ignore_patterns=[*dict.fromkeys([*ignored, *NEVER_SENT])],
            private=private,
            **options,
        )

    def additional_operations(self, plan: CommitPlan) -> Iterable[CommitOperationAdd]:
        """Add an LFS rule for each text log that is new on the Hub, so that later pushes send only new bytes.

        A file that the Hub already stores as an ordinary file gets no rule: every git clone would show it as modified.
        The Hub writes the same line for each large file that no rule covers.
        """
        new_logs = [
            path
            for path, (source, start, _) in zip(plan.paths, plan.new, strict=True)
            if start == 0 and kind_by_name(source) in _GROWING and _UNQUOTED.fullmatch(path)
        ]
        if not new_logs:
            return ()
        text = read_text(self.api, self.target, ".gitattributes", plan.parent) or ""
        rules = [f"{_pattern(path)} filter=lfs diff=lfs merge=lfs -text" for path in new_logs]
        missing = [rule for rule in rules if rule not in text.splitlines()]
        if not missing:
            return ()
        return (CommitOperationAdd(".gitattributes", "\n".join([*text.splitlines(), *missing, ""]).encode()),)


def _pattern(path: str) -> str:
    """Return a pattern that matches only this path; git reads a pattern without a slash as a name in any folder."""
    return (path if "/" in path else f"/{path}").replace(" ", "[[:space:]]")


def _message(plan: CommitPlan) -> str:
    """Return a message that names files, not rows: newlines in event files mean nothing."""
    names = [path.rpartition("/")[2] for path in plan.paths]
    return f"Log {names[0]}" if len(names) == 1 else f"Log {len(names)} files"
