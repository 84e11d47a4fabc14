"""TrainingLogs: a run's log folder on the Hub while the run goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubspool import CommitOperationAdd, CommitScheduler
from hubspool.client.patterns import Patterns
from hubspool.client.target import Target
from hubspool.push.events import CommitPlan
from hubspool.push.lines import Kind, kind_by_name
from hubspool.push.remote import RemoteRepo
from hubspool.scheduling.options import CommonOptions
from hubspool.settings import process_rank

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: What a run writes for people to read.
LOG_PATTERNS = ("*tfevents*", "*.txt", "*.log", "*.csv", "*.tsv", "*.json", "*.jsonl", "*.yaml", "*.yml")
#: What grows line by line. A ``.json`` or ``.yaml`` is rewritten as a whole, and small.
_GROWING = (Kind.TEXT, Kind.TABLE, Kind.JSON_LINES)
#: Paths that a line of ``.gitattributes`` can hold as they are, but for spaces; others stay ordinary files.
_PLAIN = re.compile(r"[\w./=+@,() -]+")
#: Never sent, whatever `allow_patterns` says: a checkpoint caught half-written is worth nothing, and each one is large.
CHECKPOINTS = (
    *("**/checkpoint-*/*", "**/checkpoints/*", "**/checkpoint/*"),
    *("*.ckpt", "*.pt", "*.pth", "*.bin", "*.safetensors", "*.h5", "*.keras", "*.gguf", "*.onnx", "*.distcp"),
)


class TrainingLogs(CommitScheduler):
    """Mirrors a log folder to the Hub during a run: event files, text, CSV, JSON, YAML; never checkpoints.

    Not promised: that a file which is rewritten in place (a ``trainer_state.json``) is seen whole; the next push has it
    whole. An event file is cut at its last whole record and a line file at its last newline, so every commit can be
    read. Only new bytes travel: text logs and tables that are new on the Hub are kept there as large files from their
    first line (one that stands there as an ordinary file stays one, and is sent whole up to 10 MB). An event file of
    more than 1 MiB is sent when it has grown by a sixteenth, or after 30 minutes, or at the end, since each version
    of it counts against the storage of the repo's owner.

    In a distributed run only the process of rank 0 (``RANK``, else ``SLURM_PROCID``) sends: in any other,
    `is_sending` is False, `trigger`, `flush`, `stop` and `status` do nothing, and no file is made nor request.

    Usage::

        with TrainingLogs("user/digits", "runs/first"):
            train()

    Args:
        repo_id: the repo, ``user/name``; a name alone is the token's user's.
        folder: the log folder; made if missing.
        every: minutes between pushes.
        repo_type: of the repo, made if missing.
        path_in_repo: where in the repo the folder stands; ``runs/<folder name>`` by default, where the Hub looks for
            event files.
        allow_patterns: globs of what is sent.
        ignore_patterns: globs of what is left out, besides checkpoints.
        folder_path: the same as `folder`, for those who know it by that name.
        options: those of `CommitScheduler`.
    """

    def __init__(
        self,
        repo_id: str,
        folder: str | Path | None = None,
        *,
        every: float = 5,
        repo_type: str = "model",
        path_in_repo: str | None = None,
        allow_patterns: Patterns = LOG_PATTERNS,
        ignore_patterns: Patterns = (),
        folder_path: str | Path | None = None,
        private: bool | None = None,
        **options: Unpack[CommonOptions],
    ) -> None:
        chosen = folder if folder is not None else folder_path
        if chosen is None:
            raise TypeError("TrainingLogs needs the log folder: TrainingLogs(repo_id, folder)")
        self.is_sending = process_rank() == 0
        ignored = [ignore_patterns] if isinstance(ignore_patterns, str) else list(ignore_patterns or ())
        options.setdefault("commit_message", _message)
        super().__init__(
            repo_id=repo_id,
            folder_path=chosen,
            every=every,
            repo_type=repo_type,
            path_in_repo=f"runs/{Path(chosen).expanduser().resolve().name}" if path_in_repo is None else path_in_repo,
            allow_patterns=allow_patterns,
            ignore_patterns=[*dict.fromkeys([*ignored, *CHECKPOINTS])],
            private=private,
            **options,
        )

    def additional_operations(self, plan: CommitPlan) -> Iterable[CommitOperationAdd]:
        """Add a rule for each text log that is new on the Hub: of a large file only new bytes travel.

        A rule for one that is there already as an ordinary file would leave every git clone with a change that nobody
        made. The Hub writes the same line for each large file that no rule covers.
        """
        begun = [
            path
            for path, (source, start, _) in zip(plan.paths, plan.new, strict=True)
            if start == 0 and kind_by_name(source) in _GROWING and _PLAIN.fullmatch(path)
        ]
        if not begun:
            return ()
        target = self.target
        at = Target.of(target.endpoint, target.repo_id, target.repo_type, plan.parent or target.revision)
        text = RemoteRepo(self.api, at).text(".gitattributes") or ""
        rules = [f"{_pattern(path)} filter=lfs diff=lfs merge=lfs -text" for path in begun]
        missing = [rule for rule in rules if rule not in text.splitlines()]
        if not missing:
            return ()
        return (CommitOperationAdd(".gitattributes", "\n".join([*text.splitlines(), *missing, ""]).encode()),)

    def recipe(self) -> dict[str, Any]:
        """Return the options that make this scheduler again, as JSON values."""
        options = super().recipe()
        return {**options, "ignore_patterns": [p for p in options["ignore_patterns"] if p not in CHECKPOINTS]}


def _pattern(path: str) -> str:
    """Return what matches this path alone; without a slash git would take it for a name in any folder."""
    return (path if "/" in path else f"/{path}").replace(" ", "[[:space:]]")


def _message(plan: CommitPlan) -> str:
    """Name the files: newlines in event files are no rows."""
    names = [path.rpartition("/")[2] for path in plan.paths]
    return f"Log {names[0]}" if len(names) == 1 else f"Log {len(names)} files"
