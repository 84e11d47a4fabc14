"""Checks repository ids, paths in repositories and revisions before anything is sent."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hubspool.errors import BadResponseError, HFValidationError, LocalFileError
from hubspool.files import is_spool_folder

REPO_TYPES = ("model", "dataset", "space")
#: What the address of a bucket begins with.
BUCKETS = "hf://buckets/"
#: Folders that the Hub's clients do not upload: git's own, and the one in which clients keep their state.
FORBIDDEN_FOLDERS = frozenset({".git", ".cache"})

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: `FORBIDDEN_FOLDERS`, and git's under its short name on Windows.
_OWNED = FORBIDDEN_FOLDERS | {"git~1"}
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
#: What people give in place of an id: an address of the Hub's pages or of `HfFileSystem`, or one that is mistyped.
_ADDRESS = re.compile(
    r"(?P<scheme>https?://[^/]+/(?:api/)?|hf:/*)?(?:(?P<kind>bucket|dataset|model|space)s?/)?"
    r"(?P<id>[^/]+/[^/@?#]+)(?P<rest>/[^?#]*)?.*"
)


def check_repo_id(repo_id: object) -> str:
    """Return `repo_id`, which must be ``name`` or ``namespace/name`` as the Hub allows it."""
    problem = None
    if not isinstance(repo_id, str):
        problem = f"it is a {type(repo_id).__name__}"
    elif repo_id.count("/") > 1:
        problem = "it has more than one '/'"
    elif not all(_NAME.fullmatch(part) for part in repo_id.split("/")):
        problem = "its parts are letters, digits, '_', '-' and '.', and begin and end with neither '-' nor '.'"
    elif "--" in repo_id or ".." in repo_id:
        problem = "'--' and '..' are not allowed"
    elif repo_id.endswith(".git"):
        problem = "it ends in '.git'"
    elif len(repo_id.split("/")[-1]) > 96:
        problem = "its name is longer than 96 characters"
    if problem is not None:
        hint = _meant(str(repo_id)) or "Use 'name' or 'user/name'."
        raise HFValidationError(f"Not a repository id: {repo_id!r}: {problem}.", hint=hint)
    assert isinstance(repo_id, str)
    return repo_id


def _meant(address: str) -> str | None:
    """Return a sentence with the form of an address that `split_destination` takes; None if there is no better one."""
    found = _ADDRESS.fullmatch(address)
    if found is None or address.startswith(BUCKETS) or not (found["scheme"] or found["kind"]):
        return None
    if found["kind"] != "bucket":
        return f"Its id is {found['id']!r}."
    path = "" if address.startswith("http") else found["rest"] or ""  # a page's has `tree` or `resolve` before it
    return f"The address of a bucket is '{BUCKETS}{found['id']}{path}'."


def address_of(repo_id: str, repo_type: str, path: str = "") -> str:
    """Return what a program gives to reach a repository, its id; of a bucket its address, with the path in it."""
    return "/".join(filter(None, [f"{BUCKETS}{repo_id}", path])) if repo_type == "bucket" else repo_id


def split_destination(
    repo_id: str, repo_type: str | None, path_in_repo: str | None
) -> tuple[str, str | None, str | None]:
    """Return id, type and path of a destination; of ``hf://buckets/OWNER/NAME[/PATH]`` the type is "bucket".

    Args:
        repo_id: of a repository, or the address of a bucket.
        repo_type: of a repository; of a bucket None, or the "dataset" that is the default of schedulers and readers.
        path_in_repo: below the path of the bucket's address.

    Raises:
        HFValidationError: the address lacks the owner or the name, its path leaves the bucket or is hidden, or
            `repo_type` is that of a repository.
    """
    if not isinstance(repo_id, str) or not repo_id.startswith(BUCKETS):
        return repo_id, repo_type, path_in_repo
    parts = repo_id.removeprefix(BUCKETS).rstrip("/").split("/")
    if len(parts) < 2 or not all(parts):
        raise HFValidationError(f"Not the address of a bucket: {repo_id!r}.", hint=f"Use '{BUCKETS}OWNER/NAME/PATH'.")
    if repo_type in ("model", "space"):
        raise HFValidationError(f"repo_type is {repo_type!r}, and {repo_id} is a bucket.", hint="Leave repo_type out.")
    if any(part.startswith(".") for part in parts[2:]):  # read_rows and load_dataset leave hidden folders out
        raise HFValidationError(f"{repo_id!r} has a hidden folder.", hint="Use a folder that does not begin with '.'.")
    inside = "/".join(filter(None, [*parts[2:], (path_in_repo or "").strip("/")]))
    return check_repo_id("/".join(parts[:2])), "bucket", check_path_in_repo(inside) if inside else None


def check_repo_type(repo_type: str | None, *, or_bucket: bool = False) -> str:
    """Return the repository type; None means a model."""
    if repo_type is None:
        return "model"
    if repo_type not in REPO_TYPES and not (or_bucket and repo_type == "bucket"):
        raise HFValidationError(f"Not a repository type: {repo_type!r}.", hint=f"Use one of {', '.join(REPO_TYPES)}.")
    return repo_type


def check_revision(revision: str | None) -> str:
    """Return the revision; None means ``main``."""
    if revision is None:
        return "main"
    if not isinstance(revision, str) or not revision or _CONTROL.search(revision) or revision != revision.strip():
        raise HFValidationError(f"Not a revision: {revision!r}.", hint="Use a branch, a tag or a commit id.")
    return revision


def check_commit_id(commit: str) -> str:
    """Return `commit`, 7 to 40 hexadecimal digits."""
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise HFValidationError(f"Not a commit id: {commit!r}.", hint="Use 7 to 40 hexadecimal digits.")
    return commit


def check_path_in_repo(path: object, *, folder_allowed: bool = False) -> str:
    """Return a path in a repository, without a leading ``./``.

    Args:
        path: relative path, with ``/`` between its parts.
        folder_allowed: whether it may end in ``/``.

    Raises:
        HFValidationError: the path is empty, absolute, leaves the repository, or is in a ``.git`` or ``.cache`` folder.
    """
    if not isinstance(path, str):
        raise _bad_path(path, f"it is a {type(path).__name__}, not a str")
    clean = path[2:] if path.startswith("./") else path
    inner = clean[:-1] if folder_allowed and clean.endswith("/") else clean
    problem = _problem_in_text(inner) or _problem_in_parts(inner.split("/"))
    if problem is not None:
        raise _bad_path(path, problem)
    return clean


def check_listed_path(path: object) -> str:
    """Return a path of an answer of the Hub, which must be one that a git tree can hold.

    Not checked: whether it may be written to the local disk; see `local_path`.

    Raises:
        BadResponseError: it is empty, absolute, leaves the repository, or has a NUL.
    """
    if not isinstance(path, str) or "\0" in path or {"", ".", ".."} & {*path.split("/")}:
        raise BadResponseError(f"The Hub lists {path!r}, which is no path in a repository.", retryable=False)
    return path


def local_path(folder: Path, path: str) -> Path:
    """Return the place of a file of the Hub in a local folder.

    Not guaranteed: that no other program makes a symbolic link of a folder between this check and its use.

    Raises:
        HFValidationError: it is outside of the folder, also through a symbolic link, or where git, clients or
            schedulers keep their own files.
    """
    local = folder / check_path_in_repo(path)
    home = local.parent.resolve()  # the folder's own files are reached through links too
    if not home.is_relative_to(folder.resolve()):
        raise _bad_path(path, f"its folder is {home}, outside of {folder}")
    inside = check_path_in_repo((home.relative_to(folder.resolve()) / local.name).as_posix())
    for part in inside.split("/"):
        plain = part.rstrip(". ").lower()  # as Windows reads it
        if plain in _OWNED or is_spool_folder(plain) or (os.name == "nt" and ":" in part):
            raise _bad_path(path, f"{part} is not for downloads")
    return local


def _problem_in_text(path: str) -> str | None:
    if not path:
        return "it is empty"
    if path.startswith("/"):
        return "it is absolute"
    if "\\" in path:
        return "it has a backslash; parts are separated by '/'"
    if _CONTROL.search(path):
        return "it has a control character"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return None


def _problem_in_parts(parts: list[str]) -> str | None:
    if ".." in parts:
        return "'..' leaves the repository"
    if "" in parts or "." in parts:
        return "it has an empty part or a '.'"
    if len(parts) > 100 or any(len(part) > 255 for part in parts):
        return "it has more than 100 folders, or a name of more than 255 letters"
    forbidden = [part for part in parts if part.lower() in FORBIDDEN_FOLDERS]
    return f"{forbidden[0]}/ is not for data" if forbidden else None


def _bad_path(path: object, problem: str) -> HFValidationError:
    return HFValidationError(
        f"Not a path in a repository: {path!r}: {problem}.",
        hint="Use a relative path such as 'data/train.jsonl'.",
    )


def check_folder(folder: str | Path) -> Path:
    """Return the absolute path of a local folder; a missing one is created.

    Raises:
        HFValidationError: the path is a file.
        LocalFileError: the folder cannot be created.
    """
    path = Path(folder).expanduser().resolve()
    if path.is_file():
        raise HFValidationError(f"folder_path is a file: {path}.", hint="Pass the folder that it is in.", path=path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalFileError(
            f"folder_path {path} cannot be created: {error.strerror}.",
            hint="Choose a folder that this user may write to, on a disk with space.",
            path=path,
        ) from None
    return path
