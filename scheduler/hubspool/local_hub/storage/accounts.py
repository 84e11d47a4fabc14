"""Who may talk to the local Hub."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

Role = Literal["read", "write", "none"]
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_RESERVED = frozenset({"api", "models", "datasets", "spaces", "lfs", "xet"})  # addresses begin with them


@dataclass(frozen=True)
class User:
    """One access token and whom it stands for; several tokens may share a name.

    Attributes:
        name: The namespace that the user owns.
        token: What clients send as `Authorization: Bearer …`; never shown in a repr or a log.
        role: `write` owns the namespace, `read` sees its private repositories, `none` only what is public.
    """

    name: str
    token: str = field(repr=False)
    role: Role = "write"

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name in _RESERVED:
            raise ValueError(
                f"{self.name!r} is not a user name: use letters, digits, '.', '_' and '-', "
                f"and none of {', '.join(sorted(_RESERVED))}."
            )
        if not self.token or not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise ValueError(f"The token of user {self.name!r} must be printable ASCII without spaces.")
        if self.role not in get_args(Role):
            raise ValueError(f"{self.role!r} is not a role: use read, write or none.")

    @classmethod
    def parse(cls, text: str) -> User:
        """Read `NAME:TOKEN` or `NAME:TOKEN:ROLE`.

        Raises:
            ValueError: With one sentence that says what is wrong; it does not repeat the token.
        """
        parts = text.split(":")
        if len(parts) not in (2, 3):
            raise ValueError(f"User {parts[0]!r} is not written as NAME:TOKEN or NAME:TOKEN:read|write|none.")
        role = parts[2] if len(parts) == 3 else "write"
        return cls(parts[0], parts[1], role)  # type: ignore[arg-type]  # __post_init__ checks the role


DEFAULT_USER = User("local", "hf_local")


class Accounts:
    """The tokens that the Hub knows."""

    def __init__(self, users: Iterable[User]) -> None:
        self.users = tuple(users)
        if not self.users:
            raise ValueError("A local Hub needs at least one user, such as 'local:hf_local'.")

    def by_token(self, token: str) -> User | None:
        """The user of a token; the time that it takes does not depend on how much of it is right."""
        found = None
        for user in self.users:
            if hmac.compare_digest(user.token.encode(), token.encode()):
                found = user
        return found
