"""The users of a local Hub, their tokens, and what each token may do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

from hubspool.local_hub.identifiers import is_repo_id, is_repo_name, split_url_path

Role = Literal["read", "write", "none", "fineGrained"]
SYNTAX = "NAME:TOKEN[:read|write|none|fineGrained=REPO,...]"
_RESERVED = frozenset({"api", "models", "datasets", "spaces", "buckets", "lfs", "xet"})  # first parts of addresses


@dataclass(frozen=True)
class User:
    """One access token and its user; several tokens may belong to one name.

    Attributes:
        name: the user's namespace.
        token: the secret of `Authorization: Bearer …`; it is in no repr and no log.
        role: `write` changes everything in the user's namespaces, `read` reads the private repositories there, `none`
            reads public repositories only; `fineGrained` reads and writes the repositories in `repos`, and creates
            none.
        repos: for `fineGrained`: `me/model`, `datasets/me/rows`, `spaces/me/app`, `buckets/me/votes`, in any namespace.
        organizations: further namespaces: the organizations that the user is a member of.
    """

    name: str
    token: str = field(repr=False)
    role: Role = "write"
    repos: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, *self.organizations):
            if not is_repo_name(name) or name in _RESERVED:
                raise ValueError(
                    f"{name!r} is not a name for a user or an organization: use letters, digits, '.', '_' and '-', "
                    f"and none of {', '.join(sorted(_RESERVED))}."
                )
        if not self.token or not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise ValueError(f"The token of user {self.name!r} must be printable ASCII without spaces.")
        if self.role not in get_args(Role):
            raise ValueError(f"{self.role!r} is not a role: use read, write, none or fineGrained=REPO,…")
        if (self.role == "fineGrained") != bool(self.repos):
            raise ValueError(f"User {self.name!r}: the role fineGrained, and no other, names repositories.")
        if wrong := [repo for repo in self.repos if not is_repo_id(split_url_path(repo)[1])]:
            raise ValueError(f"{wrong[0]!r} is not a repository: write me/model, datasets/me/rows or spaces/me/app.")

    @classmethod
    def parse(cls, text: str) -> User:
        """Read `NAME:TOKEN[:ROLE]`; the role is `read`, `write`, `none`, or `fineGrained=REPO[,REPO…]`.

        Raises:
            ValueError: The text has another form. The message does not repeat the token.
        """
        parts = text.split(":")
        if len(parts) not in (2, 3):
            raise ValueError(f"User {parts[0]!r} is not written as {SYNTAX}.")
        role, _, repos = (parts[2] if len(parts) == 3 else "write").partition("=")
        named = tuple(repos.split(",")) if repos else ()
        return cls(parts[0], parts[1], role, named)  # type: ignore[arg-type]  # __post_init__ checks the role

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The user's namespace, and those of the organizations."""
        return (self.name, *self.organizations)

    def may_read(self, repo: str) -> bool:
        """Whether this token reads a private repository, written as in `repos`."""
        if self.role == "fineGrained":
            return repo.lower() in map(str.lower, self.repos)
        return self.role != "none" and repo.split("/")[-2] in self.namespaces

    def may_write(self, repo: str) -> bool:
        """Whether this token changes a repository, written as in `repos`."""
        return self.role in ("write", "fineGrained") and self.may_read(repo)


def read_users(path: Path) -> list[User]:
    """Read a file with one user a line, written as `SYNTAX`; empty lines and lines that begin with `#` do not count.

    Raises:
        ValueError: A line has another form; the message has its number.
        OSError: The file cannot be read.
    """
    users = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                users.append(User.parse(line.strip()))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
    return users


DEFAULT_USER = User("local", "hf_local")


def with_organizations(users: Iterable[User], texts: Iterable[str]) -> list[User]:
    """Return the users with organizations, each written as `NAME:USER[,USER…]`.

    Raises:
        ValueError: A text has another form, or names an unknown user.
    """
    found = list(users)
    for text in texts:
        name, _, members = text.partition(":")
        wanted = members.split(",") if members else []
        if not wanted:
            raise ValueError(f"Organization {name!r} is not written as NAME:USER[,USER...].")
        if unknown := sorted({*wanted} - {user.name for user in found}):
            raise ValueError(f"Organization {name!r} has a member {unknown[0]!r}, who is no user of this Hub.")
        found = [
            replace(user, organizations=(*user.organizations, name)) if user.name in wanted else user for user in found
        ]
    return found


class Accounts:
    """All tokens of a Hub."""

    def __init__(self, users: Iterable[User]) -> None:
        self.users = tuple(users)
        if not self.users:
            raise ValueError("A local Hub needs at least one user, such as 'local:hf_local'.")
        self._by_digest = {_digest(user.token): user for user in self.users}
        names = {user.name for user in self.users}
        if both := sorted(names & {name for user in self.users for name in user.organizations}):
            raise ValueError(f"{both[0]!r} cannot be a user and an organization.")
        every = sorted({name for user in self.users for name in user.namespaces}, key=str.lower)
        if same := [pair for pair in pairwise(every) if pair[0].lower() == pair[1].lower()]:
            raise ValueError("{!r} and {!r} differ in case only, which the Hub does not tell apart.".format(*same[0]))

    def members(self, organization: str) -> list[str]:
        """Return the names of an organization's members, sorted; empty if there is no such organization."""
        return sorted({user.name for user in self.users if organization in user.organizations})

    def by_token(self, token: str) -> User | None:
        """Return the user of a token, or None."""
        # By a digest that nobody can choose, so the time of the look-up tells nothing of the characters of a token.
        return self._by_digest.get(_digest(token))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
