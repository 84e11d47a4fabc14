"""Pull requests: a ref with commits, and a JSON file beside the repository's git files."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from hubspool.local_hub.identifiers import PULLS
from hubspool.local_hub.services.api_errors import ApiError, revision_not_found
from hubspool.local_hub.services.commit_writer import FileChange, ParsedCommit, build
from hubspool.local_hub.services.refs import changeable
from hubspool.local_hub.services.repositories import Repository, iso

_FOLDER = "discussions"  # the Hub's own word, in addresses too


@dataclass
class PullRequest:
    """One pull request, as its file holds it.

    Attributes:
        status: `draft` (opened without a commit), `open` or `merged`.
        target: full name of the ref that it is merged into.
        base: the commit that it started from.
        events: the opening comment and the merge, in the form of the Hub's answers; commits are read from git.
    """

    num: int
    title: str
    author: str
    status: str
    created_at: str
    target: str
    base: str
    merge_commit: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"{PULLS}{self.num}"

    def add_event(self, kind: str, author: str, data: dict[str, Any]) -> None:
        """Append an event that happens now."""
        self.events.append(_event(secrets.token_hex(12), kind, time.time(), author, data))

    def add_comment(self, author: str, text: str) -> None:
        """Append a comment."""
        self.add_event("comment", author, {"edited": False, "hidden": False, "latest": {"raw": text}})


class PullRequests:
    """The pull requests of one repository.

    Thread-safety: any thread may call; changes run under `Repository.changing`.
    """

    def __init__(self, repo: Repository) -> None:
        self._repo = repo

    def get(self, num: int) -> PullRequest:
        """Return the pull request with this number.

        Raises:
            ApiError: 404.
        """
        try:
            text = (self._repo.path / _FOLDER / f"{num}.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ApiError(404, f"There is no pull request {num}") from None
        return PullRequest(**json.loads(text))

    def open(
        self, author: str, name: str, description: str, *, target: str, commit: ParsedCommit | None = None
    ) -> tuple[PullRequest, str]:
        """Open a pull request for `target`, with a first commit or as a draft.

        Returns:
            The pull request, and the commit of its ref.

        Raises:
            ApiError: 404 if there is no such target or parent commit; otherwise as `commit_writer.build`.
        """
        repo, ref = self._repo, changeable(target)
        with repo.changing():
            kept = (path.stem for path in (repo.path / _FOLDER).glob("*.json"))
            num = max([0, *map(int, kept), *map(int, repo.git.refs(PULLS))]) + 1
            base = repo.revision(commit.parent) if commit and commit.parent else repo.git.ref(ref)
            if base is None:
                raise revision_not_found(target)
            pull = PullRequest(num, name, author, "open" if commit else "draft", iso(time.time()), ref, base)
            pull.add_comment(author, description)
            head = build(repo, base, commit, author) if commit else base
            repo.git.set_ref(pull.ref, head)
            self._save(pull)
        return pull, head

    def _save(self, pull: PullRequest) -> None:
        self._repo.files.write(self._repo.path / _FOLDER / f"{pull.num}.json", json.dumps(asdict(pull)).encode())

    def events(self, pull: PullRequest) -> list[dict[str, Any]]:
        """Return what happened, oldest first, with the commits of the pull request."""
        commits = []
        head = self._repo.git.ref(pull.ref)
        for record in self._repo.git.history(head) if head else ():
            if record.oid == pull.base:
                break
            data = {"subject": record.title, "oid": record.oid}
            commits.append(_event(record.oid[:24], "commit", record.date, record.author, data))
        events = [*pull.events[:1], *reversed(commits), *pull.events[1:]]
        return sorted(events, key=lambda event: str(event["createdAt"])[:19])  # git keeps whole seconds of a commit

    def diff(self, pull: PullRequest) -> str:
        """Return the changes of a pull request in the format of `git diff`."""
        git, head = self._repo.git, self._repo.git.ref(pull.ref)
        return git.diff(git.commit(pull.base).root, git.commit(head).root) if head else ""

    def conflicts(self, pull: PullRequest) -> list[str]:
        """Return the paths that the pull request and its target both changed, to different content."""
        ours, theirs = self._changes(pull)
        return sorted(path for path in ours if path in theirs and ours[path] != theirs[path])

    def _changes(self, pull: PullRequest) -> tuple[dict[str, str | None], dict[str, str | None]]:
        """Return the changes since the base: of the pull request, and of its target."""
        git = self._repo.git
        head, target = git.ref(pull.ref), git.ref(pull.target)
        if head is None or target is None or pull.merge_commit:
            return {}, {}
        base = git.commit(pull.base).root
        return git.changes(base, git.commit(head).root), git.changes(base, git.commit(target).root)

    def merge(self, num: int, author: str, comment: str = "") -> None:
        """Commit the changes of a pull request to its target, as one commit.

        Raises:
            ApiError: 400 if it is not open, 404 if the target was deleted, 409 if both sides changed a file,
                422 if a file of one side has the path of a folder of the other.
        """
        repo = self._repo
        with repo.changing():
            pull = self.get(num)
            if pull.status not in ("open", "draft"):
                raise ApiError(400, f"{num} is not an open pull request: it is {pull.status}")
            head = repo.git.ref(pull.target)
            if head is None:
                raise revision_not_found(pull.target)
            if conflicts := self.conflicts(pull):
                raise ApiError(409, f"The pull request and its target both changed {', '.join(conflicts)}")
            ours, theirs = self._changes(pull)
            changes = [FileChange(path, blob) for path, blob in ours.items() if path not in theirs]
            changes.sort(key=lambda change: change.blob is not None)  # removals first: a folder may take a file's path
            commit = build(repo, head, ParsedCommit(f"{pull.title} (#{num})", changes=changes), author)
            # after a kill between these two writes the pull request is still open and can be merged again
            repo.git.set_ref(pull.target, commit)
            pull.status, pull.merge_commit = "merged", commit
            pull.add_event("status-change", author, {"status": "merged"})
            if comment:
                pull.add_comment(author, comment)
            self._save(pull)


def _event(event_id: str, kind: str, seconds: float, author: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return an event in the form of the Hub's answers; `seconds` is a Unix time."""
    described = {"id": event_id, "type": kind, "createdAt": iso(seconds), "author": {"name": author}}
    return {**described, "data": data}
