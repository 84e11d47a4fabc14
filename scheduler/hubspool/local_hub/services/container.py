"""Everything that one local Hub is made of, handed to the routes."""

from __future__ import annotations

from dataclasses import dataclass

from hubspool.local_hub.services.content import Contents
from hubspool.local_hub.services.preview import Counter
from hubspool.local_hub.services.reachable import Reachable
from hubspool.local_hub.services.repositories import Repositories
from hubspool.local_hub.storage.accounts import Accounts
from hubspool.local_hub.storage.durable_files import Disk
from hubspool.local_hub.storage.lfs_store import LfsStore
from hubspool.local_hub.storage.signing import Signer
from hubspool.local_hub.storage.xet_store import XetStore


@dataclass(frozen=True)
class Services:
    """The parts of a running Hub.

    Attributes:
        store_id: Part of the CAS address. Random per root, because a client's cache that remembers chunks of
            a wiped store at the same address fails for ever.
        xet: Whether Xet tokens are given out; without them clients use LFS.
        xet_grants: Whether xorbs go to an address that the client asks for first.
        lfs_part_size: Bytes; larger LFS uploads go in parts of this size when the client knows how.
    """

    disk: Disk
    accounts: Accounts
    signer: Signer
    repositories: Repositories
    contents: Contents
    reachable: Reachable
    counter: Counter
    store_id: str
    xet: bool
    lfs_part_size: int
    xet_grants: bool

    @property
    def xet_contents(self) -> Contents | None:
        """Where listings look for Xet hashes; None when clients are not to use Xet."""
        return self.contents if self.xet else None

    @classmethod
    def open(
        cls, disk: Disk, accounts: Accounts, *, xet: bool, lfs_part_size: int, xet_grants: bool = False
    ) -> Services:
        """Open the folder, which must be locked, and read its indexes."""
        contents = Contents(LfsStore(disk), XetStore(disk))
        return cls(
            disk=disk,
            accounts=accounts,
            signer=Signer(disk.once("secret", 32)),
            repositories=Repositories(disk),
            contents=contents,
            reachable=Reachable(),
            counter=Counter(contents),
            store_id=disk.once("store-id", 8).hex(),
            xet=xet,
            lfs_part_size=lfs_part_size,
            xet_grants=xet_grants,
        )
