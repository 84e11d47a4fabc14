"""Discussions and pull requests: a file each beside the repository's git files; a pull request also has a ref."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from hubspool.local_hub.services.api_errors import HubError, revision_not_found
from hubspool.local_hub.services.commit_writer import CommitRequest, build
from hubspool.local_hub.services.file_access import title
from hubspool.local_hub.services.refs import changeable
from hubspool.local_hub.services.repositories import Repository, iso
from hubspool.local_hub.storage.durable_files import Disk
from hubspool.local_hub.storage.git_store import PULLS
from hubspool.local_hub.storage.tree_edit import PathConflictError, TreeEdit

_FOLDER = "discussions"


@dataclass
class Discussion:
    """One discussion as it is kept on disk; `events` as the Hub answers them, without those of commits.

    Attributes:
        target: Full name of the ref that a pull request wants to change; None for a discussion.
        base: The commit that the pull request started from.
    """

    num: int
    title: str
    author: str
    status: str
    created_at: str
    target: str | None = None
    base: str | None = None
    merge_commit: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"{PULLS}{self.num}"

    def add_event(self, kind: str, author: str, data: dict[str, Any]) -> dict[str, Any]:
        """Remember what happened; returns it as the Hub answers it."""
        event = {
            "id": secrets.token_hex(12),
            "type": kind,
            "createdAt": iso(time.time()),
            "author": {"name": author},
            "data": data,
        }
        self.events.append(event)
        return event


class Discussions:
    """The discussions of one repository. Thread-safety: as that of `Repository.changing`, which changes run under."""

    def __init__(self, disk: Disk, repo: Repository) -> None:
        self._disk = disk
        self._repo = repo

    def all(self) -> list[Discussion]:
        """Every discussion, newest first."""
        numbers = sorted((int(path.stem) for path in (self._repo.path / _FOLDER).glob("*.json")), reverse=True)
        return [self.get(number) for number in numbers]

    def get(self, num: int) -> Discussion:
        """The discussion with this number.

        Raises:
            HubError: 404.
        """
        try:
            text = (self._repo.path / _FOLDER / f"{num}.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise HubError(404, f"There is no discussion {num}") from None
        return Discussion(**json.loads(text))

    def open(
        self,
        author: str,
        name: str,
        description: str,
        *,
        target: str | None = None,
        request: CommitRequest | None = None,
    ) -> tuple[Discussion, str]:
        """Open a discussion, or a pull request to `target`, with a first commit or as a draft.

        Returns:
            The discussion and the commit that its ref stands at ("" without one).

        Raises:
            HubError: 404 when the target or the commit's parent is not there, otherwise as `commits.build`.
        """
        repo = self._repo
        with repo.changing():
            num = max([0, *(item.num for item in self.all()), *map(int, repo.git.refs(PULLS))]) + 1
            discussion = Discussion(num, name, author, "open", iso(time.time()))
            discussion.add_event("comment", author, _comment(description))
            commit = ""
            if target is not None:
                discussion.target = changeable(target)
                base = repo.revision(request.parent) if request and request.parent else repo.git.ref(discussion.target)
                if base is None:
                    raise revision_not_found(target)
                discussion.base = base
                discussion.status = "open" if request else "draft"
                commit = build(repo, base, request, author) if request else base
                repo.git.set_ref(discussion.ref, commit)
            self._save(discussion)
        return discussion, commit

    def change(self, num: int, change: Callable[[Discussion], dict[str, Any]]) -> dict[str, Any]:
        """Run `change` on a discussion and keep the result; returns what `change` does."""
        with self._repo.changing():
            discussion = self.get(num)
            answer = change(discussion)
            self._save(discussion)
        return answer

    def _save(self, discussion: Discussion) -> None:
        self._disk.write(
            self._repo.path / _FOLDER / f"{discussion.num}.json", json.dumps(asdict(discussion)).encode("utf-8")
        )

    # -- pull requests

    def events(self, discussion: Discussion) -> list[dict[str, Any]]:
        """What happened, oldest first, the commits of the pull request included."""
        commits = []
        head = self._repo.git.ref(discussion.ref) if discussion.target else None
        for record in self._repo.git.history(head) if head else ():
            if record.oid == discussion.base:
                break
            commits.append(
                {
                    "id": record.oid[:24],
                    "type": "commit",
                    "createdAt": iso(record.date),
                    "author": {"name": record.author},
                    "data": {"subject": title(record), "oid": record.oid},
                }
            )
        events = [*discussion.events[:1], *reversed(commits), *discussion.events[1:]]
        return sorted(events, key=lambda event: str(event["createdAt"])[:19])  # commits know no fractions of a second

    def diff(self, discussion: Discussion) -> str:
        """What the pull request changes."""
        git, head = self._repo.git, self._repo.git.ref(discussion.ref)
        assert discussion.base is not None  # a pull request has one
        return git.diff(git.commit(discussion.base).root, git.commit(head).root) if head else ""

    def conflicts(self, discussion: Discussion) -> list[str]:
        """The paths that both the pull request and its target changed, to different content."""
        ours, theirs = self._both_sides(discussion)
        return sorted(path for path in ours if path in theirs and ours[path] != theirs[path])

    def _both_sides(self, discussion: Discussion) -> tuple[dict[str, str | None], dict[str, str | None]]:
        git = self._repo.git
        head = git.ref(discussion.ref)
        target = git.ref(discussion.target) if discussion.target else None
        if head is None or target is None or discussion.base is None or discussion.merge_commit:
            return {}, {}
        base = git.commit(discussion.base).root
        return git.changes(base, git.commit(head).root), git.changes(base, git.commit(target).root)

    def merge(self, num: int, author: str) -> str:
        """Bring the changes of a pull request into its target as one commit; returns it.

        Raises:
            HubError: 400 when it is not open, 404 when the target is gone, 409 when both sides changed a file.
        """
        repo = self._repo
        with repo.changing():
            discussion = self.get(num)
            if discussion.target is None or discussion.status not in ("open", "draft"):
                raise HubError(400, f"{num} is not an open pull request: it is {discussion.status}")
            head = repo.git.ref(discussion.target)
            if head is None:
                raise revision_not_found(discussion.target)
            if conflicts := self.conflicts(discussion):
                raise HubError(409, f"The pull request and its target both changed {', '.join(conflicts)}")
            edit = TreeEdit(repo.git, repo.git.commit(head).root)
            changes, _ = self._both_sides(discussion)
            try:
                for path, blob in sorted(changes.items(), key=lambda item: item[1] is not None):  # removals first
                    if blob is None:
                        edit.remove(path)
                    else:
                        edit.set(path, blob)
            except PathConflictError as error:
                raise HubError(409, f"A file and a folder would both be called {str(error)!r}") from None
            commit = repo.git.add_commit(edit.write(), [head], author, f"{discussion.title} (#{num})")
            # killed before the record says so, the pull request is still open and can be merged again
            repo.git.set_ref(discussion.target, commit)
            discussion.status, discussion.merge_commit = "merged", commit
            discussion.add_event("status-change", author, {"status": "merged"})
            self._save(discussion)
        return commit


def comment_on(author: str, text: str) -> Callable[[Discussion], dict[str, Any]]:
    """Add a comment."""
    return lambda discussion: discussion.add_event("comment", author, _comment(text))


def edit_comment(comment_id: str, text: str, *, hidden: bool, check: Callable[[str], None]) -> Callable[..., Any]:
    """Replace or hide a comment; `check` refuses who may not, given the comment's author."""

    def change(discussion: Discussion) -> dict[str, Any]:
        for event in discussion.events:
            if event["id"] == comment_id and event["type"] == "comment":
                check(event["author"]["name"])
                event["data"] = {**_comment(text), "edited": not hidden, "hidden": hidden}
                return event
        raise HubError(404, f"There is no comment {comment_id}")

    return change


def retitle(author: str, name: str) -> Callable[[Discussion], dict[str, Any]]:
    """Change the title."""

    def change(discussion: Discussion) -> dict[str, Any]:
        before, discussion.title = discussion.title, name
        return discussion.add_event("title-change", author, {"from": before, "to": name})

    return change


def set_status(author: str, status: str, comment: str) -> Callable[[Discussion], dict[str, Any]]:
    """Open or close it.

    Raises:
        HubError: 400 for another status, or when it is merged.
    """

    def change(discussion: Discussion) -> dict[str, Any]:
        if status not in ("open", "closed") or discussion.status == "merged":
            raise HubError(400, f"A discussion that is {discussion.status} cannot become {status!r}")
        if comment:
            discussion.add_event("comment", author, _comment(comment))
        discussion.status = status
        return discussion.add_event("status-change", author, {"status": status})

    return change


def _comment(text: str) -> dict[str, Any]:
    return {"edited": False, "hidden": False, "latest": {"raw": text}}
