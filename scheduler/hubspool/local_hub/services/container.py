"""The services of one local Hub, which every request handler gets."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from hubspool.local_hub.services.buckets import Bucket, Buckets
from hubspool.local_hub.services.content import ContentStore
from hubspool.local_hub.services.log_ins import LogIns
from hubspool.local_hub.services.repositories import BaseRepositories, Repositories, Repository
from hubspool.local_hub.storage.accounts import Accounts
from hubspool.local_hub.storage.durable_files import DurableFiles
from hubspool.local_hub.storage.lfs_store import LfsStore
from hubspool.local_hub.storage.signing import Signer
from hubspool.local_hub.storage.xet_store import XetStore


class ServiceContainer:
    """The parts of a running Hub.

    Attributes:
        store_id: part of the address of the Xet store. Random for each root, because a client's cache that knows
            chunks of a deleted store at the same address fails for ever.
        stopping: ends connections that last.

    Args:
        files: folder of the Hub, which must be locked; its indexes are read here.
        accounts: users of the Hub.
        xet: whether clients get Xet tokens; without them they use LFS.
        lfs_part_size: bytes; larger LFS uploads go in parts of this size if the client can do that.
        folder_limit: entries of a folder beyond which a commit is refused; None for any number.
    """

    def __init__(
        self, files: DurableFiles, accounts: Accounts, *, xet: bool, lfs_part_size: int, folder_limit: int | None
    ) -> None:
        self.files = files
        self.accounts = accounts
        self.lfs_part_size = lfs_part_size
        self.signer = Signer(files.random_bytes("secret", 32))
        self.log_ins = LogIns(accounts, self.signer)
        self.store_id = files.random_bytes("store-id", 8).hex()
        self.stopping = threading.Event()
        self.contents = ContentStore(LfsStore(files), XetStore(files), uses_xet=xet)
        self.repositories = Repositories(files, partial(Repository, files, self.contents, folder_limit=folder_limit))
        self.buckets = Buckets(files, partial(Bucket, files, self.contents))

    def kept(self, repo_type: str) -> BaseRepositories[Any]:
        """Return the buckets, or the repositories of all other types."""
        return self.buckets if repo_type == "bucket" else self.repositories
