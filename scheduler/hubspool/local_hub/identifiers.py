"""How repositories, revisions and content are named: in addresses, on the disk and in tokens.

Every layer may import this module.
"""

from __future__ import annotations

import re
import struct
from typing import Literal, get_args

RepoType = Literal["model", "dataset", "space"]
REPO_TYPES: tuple[RepoType, ...] = get_args(RepoType)
AnyType = Literal["model", "dataset", "space", "bucket"]
ALL_TYPES: tuple[AnyType, ...] = get_args(AnyType)
BRANCHES, TAGS, PULLS = "refs/heads/", "refs/tags/", "refs/pr/"
MAIN = f"{BRANCHES}main"
#: Patterns of path segments; the names of their groups are the arguments of a route's handler.
COMMIT_ID = r"[0-9a-f]{40}"
CONTENT_HASH = r"[0-9a-f]{64}"  # a SHA-256, or a Xet hash
EMPTY_FILE = "0" * 64  # the Xet hash of no bytes; nothing is uploaded for it
_REPO_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"


def is_commit_id(text: str) -> bool:
    """Whether a text is a whole commit id (40 hexadecimal digits)."""
    return re.fullmatch(COMMIT_ID, text) is not None


def is_content_hash(text: str) -> bool:
    """Whether a text is a SHA-256 or Xet hash (64 hexadecimal digits)."""
    return re.fullmatch(CONTENT_HASH, text) is not None


def is_repo_name(name: str) -> bool:
    """Whether a text can be one of the two parts of a repository id."""
    return re.fullmatch(_REPO_NAME, name) is not None


def is_repo_id(repo_id: str) -> bool:
    """Whether a text has the form `namespace/name`, so that it can be a path below the root."""
    return re.fullmatch(rf"{_REPO_NAME}/{_REPO_NAME}", repo_id) is not None


def plural(repo_type: AnyType) -> str:
    """Return the name of a type in API addresses and on the disk: `models`, `datasets`, `spaces`, `buckets`."""
    return f"{repo_type}s"


def type_of_plural(name: str) -> AnyType | None:
    """Return the type that `plural` spells as `name`, or None."""
    return next((kind for kind in ALL_TYPES if plural(kind) == name), None)


def url_path(repo_type: AnyType, repo_id: str) -> str:
    """Return a repository's path in the addresses of pages: `me/model`, `datasets/me/rows`, `buckets/me/votes`."""
    return repo_id if repo_type == "model" else f"{plural(repo_type)}/{repo_id}"


def split_url_path(path: str) -> tuple[AnyType, str]:
    """Return the type and the id that `url_path` joined."""
    prefix, _, rest = path.partition("/")
    kind = type_of_plural(prefix)
    return (kind, rest) if kind is not None and "/" in rest else ("model", path)


def host_name(host: str) -> str:
    """Return the name in a header Host, without the port, in lower case."""
    return re.sub(r":\d*$", "", host).strip("[]").rstrip(".").lower()


def hash_to_text(raw: bytes) -> str:
    """Return the text of a Xet hash: each group of eight bytes is a little-endian number in hexadecimal."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))


def hash_from_text(text: str) -> bytes:
    """Return the 32 bytes of a Xet hash: the inverse of `hash_to_text`."""
    return struct.pack("<4Q", *(int(text[i : i + 16], 16) for i in range(0, 64, 16)))
