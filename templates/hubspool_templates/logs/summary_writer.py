"""HubSummaryWriter: a TensorBoard writer whose event files are on the Hub."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from hubspool.client.patterns import Patterns
from hubspool_templates.logs.training_logs import TrainingLogs

W = TypeVar("W", bound="HubSummaryWriter")


class HubSummaryWriter:
    """Writes TensorBoard summaries and keeps them on the Hub; takes the place of huggingface_hub's `HFSummaryWriter`.

    Not promised: that `flush` sends anything; like the writer's own it only brings events to the disk, which the
    background thread sends every `commit_every` minutes. Unlike there, a repo that has to be made is private unless
    ``repo_private=False``, the end of the ``with`` block closes both the writer and the scheduler, and no model card is
    written: the Hub finds event files by their names.

    Usage::

        with HubSummaryWriter("user/digits") as writer:
            writer.add_scalar("loss", 0.5, 1)

    Args:
        repo_id: the repo, ``user/name``; a name alone is the token's user's.
        logdir: the log folder; the writer's own default otherwise.
        commit_every: minutes between pushes.
        squash_history: as in `CommitScheduler`.
        repo_type, repo_revision, repo_private: of the repo.
        path_in_repo: folder in the repo that gets a folder named like `logdir`.
        repo_allow_patterns, repo_ignore_patterns: globs of what is sent, or left out.
        token: overrides HF_TOKEN and the token file.
        hf_api: client to use.
        options: those of tensorboardX's `SummaryWriter`, or of torch's where that is not installed.

    Raises:
        ImportError: there is neither.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        logdir: str | None = None,
        commit_every: int | float = 5,
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
            repo_type=repo_type or "model",
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
        """Forward everything else (`add_scalar`, `add_image`, `flush`, …) to the writer."""
        if name.startswith("__") or name == "_summary_writer":
            raise AttributeError(name)
        return getattr(self._summary_writer, name)

    def close(self) -> None:
        """Close the writer, send what is left, and end the scheduler."""
        self._summary_writer.close()
        self.scheduler.stop()

    def __enter__(self: W) -> W:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._summary_writer.close()
        self.scheduler.__exit__(exc_type, exc_value, traceback)


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
