"""Where rows go, and the folder on this disk that holds the rows of one destination."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from hubspool.client.target import Target
from hubspool.client.validation import address_of, check_path_in_repo, check_repo_type, check_revision
from hubspool.errors import StateFileError
from hubspool.files import StatePaths, is_spool_folder, write_durably

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Destination:
    """Where rows go, in normal form: two destinations are equal where the same files on the Hub hold their rows.

    Not known here: that a repository was renamed, or that a Hub has a new address. The Hub's `_id` of the repository
    tells that (`SpoolFolder.is_same_on_hub`).

    Args:
        endpoint: address of the Hub, in lower case, without a trailing slash or the default port.
        repo_type: "model", "dataset", "space" or "bucket".
        repo_id: in lower case; without a namespace until the account is known.
        revision: branch.
        path_in_repo: folder in the repository; empty for its root.
        name: the split.
        form: suffix of the files on the Hub ("jsonl", "parquet", "zip"), or "files" for a folder's own files.
    """

    endpoint: str
    repo_type: str
    repo_id: str
    revision: str
    path_in_repo: str
    name: str
    form: str

    @classmethod
    def of(
        cls,
        endpoint: str,
        repo_id: str,
        repo_type: str | None = None,
        revision: str | None = None,
        path_in_repo: str | None = None,
        name: str = "",
        form: str = "files",
    ) -> Destination:
        """Return the normal form of these values.

        Raises:
            HFValidationError: `path_in_repo` leaves the repository, or a value is of no use.
        """
        address = urlsplit(endpoint.strip().lower())
        host = address.netloc.removesuffix(_DEFAULT_PORTS.get(address.scheme, "/"))
        parts = [part for part in (path_in_repo or "").split("/") if part not in ("", ".")]
        return cls(
            endpoint=f"{address.scheme}://{host}{address.path.rstrip('/')}",
            repo_type=check_repo_type(repo_type, or_bucket=True),
            repo_id=repo_id.lower(),
            revision=check_revision(revision),
            path_in_repo=check_path_in_repo("/".join(parts)) if parts else "",
            name=name,
            form=form,
        )

    def folder_name(self, number: int = 0) -> str:
        """Return the name of the spool; `number` tells apart spools whose rows once had the same destination."""
        digest = sha256(orjson.dumps([number, *asdict(self).values()])).hexdigest()
        return f"{self.repo_id.rpartition('/')[2]}-{digest[:8]}.spool"

    def is_target(self, target: Target, path_in_repo: str) -> bool:
        """Return True if files of this destination are below a path of `target`."""
        there = Destination.of(
            target.endpoint, target.repo_id, target.repo_type, target.revision, path_in_repo, self.name, self.form
        )
        return there == self

    @property
    def address(self) -> str:
        """The repository's id; of a bucket its address, with the path in it."""
        return address_of(self.repo_id, self.repo_type, self.path_in_repo)

    def __str__(self) -> str:
        if self.repo_type == "bucket":
            return f"bucket {self.address} ({self.endpoint}, {self.name}, {self.form})"
        path = "/".join(filter(None, (self.path_in_repo, self.name)))
        return f"{self.repo_type} {self.repo_id} ({self.endpoint}, {self.revision}, {path}, {self.form})"


@dataclass(frozen=True)
class SpoolFolder:
    """A spool, as its ``destination.json`` describes it.

    Args:
        path: the folder, which may not exist yet.
        destination: where its rows go.
        given: the repository's id as the program gave it, perhaps without a namespace.
        account: the account that such a name was bound to; its rows are sent with a token of that account only.
        hub_id: the Hub's `_id` of the repository, once seen.
        state_dir: folder that has a folder for the ledger of each spool, if the ledger is not in the spool.
        recipe: the options that make the scheduler again.
        moved_to: the repository that a person sent the pending rows to.
    """

    path: Path
    destination: Destination
    given: str
    account: str | None = None
    hub_id: str | None = None
    state_dir: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    moved_to: str | None = None

    @classmethod
    def read(cls, path: Path) -> SpoolFolder | None:
        """Return the spool at `path`; None if its ``destination.json`` is missing or damaged."""
        with suppress(OSError, ValueError, TypeError):
            fields = orjson.loads(StatePaths(path).destination.read_bytes())
            return cls(path, Destination(**fields.pop("destination")), **fields)
        return None

    @property
    def address(self) -> str:
        """The repository's id as the program gave it; of a bucket its address, with the path in it."""
        there = self.destination
        return there.address if there.repo_type == "bucket" else self.given

    @property
    def selector(self) -> str:
        """What ``--from`` takes for its rows: the repository's id as the program gave it; of a bucket the spool's name.

        A bucket's address would name the rows of other folders too, or lack the folder that the scheduler adds.
        """
        return self.path.name if self.destination.repo_type == "bucket" else self.given

    @property
    def state(self) -> Path:
        """The folder of the ledger and the push lock."""
        return Path(self.state_dir) / self.path.name if self.state_dir else self.path

    def is_meant_by(self, destination: Destination) -> bool:
        """Return True if a program that names `destination` means this spool."""
        return destination in (self.destination, replace(self.destination, repo_id=self.given.lower()))

    def is_same_on_hub(self, hub_id: str, destination: Destination) -> bool:
        """Return True if the rows go to the same files of the repository with this `_id`, whatever its address is.

        The `_id` of a bucket is a time, which two buckets may share: such a spool is one of the same name.
        """
        here, there = self.destination, destination
        if here.repo_type == "bucket" and here.repo_id != there.repo_id:
            return False
        return hub_id == self.hub_id and replace(here, endpoint=there.endpoint, repo_id=there.repo_id) == there

    def save(self) -> None:
        """Write ``destination.json``, and create the folder; does nothing if it says the same already.

        Raises:
            StateFileError: it cannot be written now.
        """
        if SpoolFolder.read(self.path) != self:
            fields = asdict(self)
            del fields["path"]
            path = StatePaths(self.path).destination
            try:
                write_durably(path, orjson.dumps(fields, option=orjson.OPT_INDENT_2))
            except OSError as error:
                raise StateFileError(path, error.strerror or str(error)) from error


def spool_folders(folder: Path) -> list[SpoolFolder]:
    """Return the spools of a folder, in the order of their names."""
    paths = sorted(path for path in folder.glob("*.spool") if is_spool_folder(path.name))
    return [spool for path in paths if (spool := SpoolFolder.read(path)) is not None]


def spool_for(folder: Path, destination: Destination, given: str, state_dir: Path | None = None) -> SpoolFolder:
    """Return the spool of a destination in `folder`, or a new one, which nothing creates until `SpoolFolder.save`.

    Args:
        folder: the scheduler's folder.
        destination: where the rows go.
        given: the repository's id as the program gave it.
        state_dir: as the program gave it, if it did.
    """
    known = [spool for spool in spool_folders(folder) if spool.is_meant_by(destination)]
    # The first is the one of the full name, if a name without a namespace has another spool.
    found = min(known, key=lambda spool: spool.destination != destination, default=None)
    if found is None:
        unused = (folder / destination.folder_name(number) for number in count())
        found = SpoolFolder(next(path for path in unused if SpoolFolder.read(path) is None), destination, given)
    return replace(found, state_dir=str(state_dir.resolve())) if state_dir else found
