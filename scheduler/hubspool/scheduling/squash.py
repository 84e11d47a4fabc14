"""When to squash a branch's history."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.target import Target


@dataclass
class SquashPolicy:
    """Squashes the branch into one commit, never unless a new commit of ours is its head.

    Args:
        history: False: never. True: after each commit, as huggingface_hub does. A number: when more than so many
            commits have gathered.

    Used by the pushing thread.
    """

    history: bool | int
    _count: int | None = field(default=None, init=False)

    def after_commit(self, api: HfApi, target: Target, oid: str) -> bool:
        """Squash if it is time to; `oid` is the commit that was just made. Returns whether it was.

        Only the writer whose commit is the newest squashes, so that of many writers one does. Commits are counted by
        listing them, and not again before so many of ours were added that the number may be reached.
        """
        if self.history is False:
            return False
        if self.history is not True:
            self._count = None if self._count is None else self._count + 1
            if self._count is not None and self._count <= self.history:
                return False
            commits = api.list_repo_commits(target.repo_id, repo_type=target.repo_type, revision=target.revision)
            self._count = len(commits)
            if self._count <= self.history or commits[0].commit_id != oid:
                return False
        api.super_squash_history(target.repo_id, repo_type=target.repo_type, branch=target.revision)
        self._count = 1
        return True
