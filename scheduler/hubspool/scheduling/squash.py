"""When the history of a branch is squashed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hubspool.push.remote import RemoteRepo

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.target import Target


@dataclass
class SquashPolicy:
    """Squashes the branch into one commit, and only while our own commit is its head.

    Used by the pushing thread.

    Args:
        history: False: never. True: after each commit, as `huggingface_hub` does. A number N: when the branch has more
            than N commits.
    """

    history: bool | int
    _count: int | None = field(default=None, init=False)

    def after_commit(self, api: HfApi, target: Target, oid: str) -> bool:
        """Squash the branch if it is due; return whether it was.

        Only the writer of the newest commit squashes, so of many writers one does. The commits are counted by listing
        them, and listed again only once our own commits may have reached the number. The new commit names the newest
        parts that they named (`hubspool verify`).

        Args:
            api: the client.
            target: the repository and branch.
            oid: the commit that was just made.
        """
        if self.history is False:
            return False
        if self.history is not True:
            self._count = None if self._count is None else self._count + 1
            if self._count is not None and self._count <= self.history:
                return False
        commits = api.list_repo_commits(target.repo_id, repo_type=target.repo_type, revision=target.revision)
        if self.history is not True:
            self._count = len(commits)
            if self._count <= self.history or commits[0].commit_id != oid:
                return False
        RemoteRepo(api, target).squash(commits)
        self._count = 1
        return True
