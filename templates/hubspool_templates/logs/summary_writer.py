"""HubSummaryWriter: a TensorBoard writer whose event files are on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from hubspool.extending import Patterns
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.logs.training_logs import TrainingLogs

W = TypeVar("W", bound="HubSummaryWriter")


class HubSummaryWriter:
    """Writes TensorBoard summaries and sends them to the Hub; replaces `HFSummaryWriter` of huggingface_hub.

    Not promised: `flush` sends nothing; it writes events to the disk, and the background thread sends them every
    `commit_every` minutes. Unlike `HFSummaryWriter`, it creates a missing repository as private unless
    ``repo_private=False``, the end of the ``with`` block closes both the writer and the scheduler, and no model card is
    written: the Hub finds event files by their names.

    Usage::

        with HubSummaryWriter("user/digits") as writer:
            writer.add_scalar("loss", 0.5, 1)

    Args:
        repo_id: the repository, ``user/name``; a name alone belongs to the token's user.
        logdir: the log folder; by default the default of the writer.
        commit_every: minutes between pushes.
        squash_history: as in `CommitScheduler`.
        repo_type, repo_revision, repo_private: type, branch and visibility of the repository.
        path_in_repo: parent folder in the repository; the name of `logdir` is added.
        repo_allow_patterns, repo_ignore_patterns: globs of files to send, or to leave out.
        token: overrides HF_TOKEN and the token file.
        hf_api: client to use.
        options: the options of tensorboardX's `SummaryWriter`, or of torch's if tensorboardX is not installed.

    Raises:
        ImportError: neither tensorboardX nor torch is installed.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        logdir: str | None = None,
        commit_every: float = DEFAULTS.every_minutes,
        squash_history: bool | int = False,
        repo_type: str | None = None,
        repo_revision: str | None = None,
        repo_private: bool | None = None,
        path_in_repo: str | None = "tensorboard",
        repo_allow_patterns: Patterns = "*.tfevents.*",
        repo_ignore_patterns: Patterns = None,
        token: str | None = None,
        hf_api: Any | None = None,
        **options: Any,
    ) -> None:
        self._summary_writer, self.logdir = _writer(logdir, options)
        self.scheduler = TrainingLogs(
            repo_id,
            self.logdir,
            every=commit_every,
            squash_history=squash_history,
            repo_type=repo_type,
            revision=repo_revision,
            private=repo_private,
            path_in_repo="/".join(filter(None, [(path_in_repo or "").strip("/"), Path(self.logdir).name])),
            allow_patterns=repo_allow_patterns,
            ignore_patterns=repo_ignore_patterns or (),
            token=token,
            hf_api=hf_api,
        )
        self.repo_id = repo_id
        self.repo_type = repo_type or "model"
        self.repo_revision = repo_revision

    def __getattr__(self, name: str) -> Any:
        """Forward all other names (`add_scalar`, `add_image`, `flush`, …) to the writer."""
        if name.startswith("__") or name == "_summary_writer":
            raise AttributeError(name)
        return getattr(self._summary_writer, name)

    def close(self) -> None:
        """Close the writer, send the pending events, and stop the scheduler."""
        self._summary_writer.close()
        self.scheduler.stop()

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, *error: Any) -> None:
        self._summary_writer.close()
        self.scheduler.__exit__(*error)


def _writer(logdir: str | None, options: dict[str, Any]) -> tuple[Any, str]:
    """Return a writer and its folder; the two packages name the folder differently."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter as TorchWriter
        except ImportError:
            raise ImportError("HubSummaryWriter needs a writer: pip install tensorboardX") from None
        writer = TorchWriter(log_dir=logdir, **options)
        return writer, str(writer.log_dir)
    writer = SummaryWriter(logdir=logdir, **options)
    return writer, str(writer.logdir)
