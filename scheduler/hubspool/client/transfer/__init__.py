"""Large contents to the Hub: through Xet, or through LFS where there is no Xet. Nothing here commits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from hubspool.client.http import HubClient
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.target import Target
from hubspool.client.transfer import lfs, xet
from hubspool.client.transfer.parallel import for_each
from hubspool.client.transfer.report import TransferOptions, TransferReport
from hubspool.errors import XetTransferError
from hubspool.settings import Settings

__all__ = ["TransferOptions", "TransferReport", "Uploader"]

logger = logging.getLogger(__name__)

#: Bounds what is sent again when an upload fails, and what is held for that.
FILES_PER_UPLOAD = 500
#: hf_xet holds a group's new bytes in memory until it has sent them; two groups of 100 MB took 460 MB.
BYTES_PER_UPLOAD = 48 * 1024 * 1024
GROUPS_AT_ONCE = 2
#: hf_xet asks the CAS about the first chunk of each content, which costs more than to send a small one: 5,000 files of
#: 4 kB took 2.8 s with these questions and 0.7 s without. More than a few such, of up to four chunks, are asked about
#: together and as wholes, by the LFS way; of one that only begins like another a machine without Xet's cache sends all.
SMALL_BYTES = 256 * 1024
FEW_FILES = 16
#: Seconds for which LFS is used after hf_xet failed for reasons of this machine.
_WITHOUT_XET_SECONDS = 600.0


class Uploader:
    """Sends large contents for one `HfApi`; all threads may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = xet.XetTokens()
        self._clock = clock
        self._without_xet_until = clock()

    def upload(
        self,
        client: HubClient,
        target: Target,
        additions: Iterable[CommitOperationAdd],
        options: TransferOptions,
        *,
        create_pr: bool = False,
        sent: Callable[[Sequence[CommitOperationAdd]], None] = lambda _: None,
    ) -> TransferReport:
        """Send the contents of `additions` that the Hub does not have, in groups.

        A Hub that refuses a Xet token (401, 403) has refused the upload: LFS is not tried in its place.

        Args:
            client: The Hub.
            target: Where they go.
            additions: Taken as they are sent, so that they may still be in the making.
            options: How to send.
            create_pr: They are for a pull request.
            sent: Told of each group when the Hub has it.

        Raises:
            RequestError: The transfer failed; nothing was committed.
            FileChangedError: A content is not what was described.
        """
        total = _Total(options)

        def send(numbered: tuple[int, _Group]) -> None:
            number, group = numbered
            total.add(self._send(client, target, group, total.options(number), create_pr=create_pr))
            sent(group.additions)

        # Two at a time: while the Hub checks the one the other is read. In turn, 1,000 files of 200 kB took twice
        # as long.
        groups = enumerate(_groups(additions))
        first = next(groups, None)
        if first is not None:
            # One group alone, which is what a scheduler's push mostly is, is sent by the caller's own thread.
            for_each(chain([first], groups), send, GROUPS_AT_ONCE if first[1].is_followed else 1)
        return total.report

    def _send(
        self, client: HubClient, target: Target, group: _Group, options: TransferOptions, *, create_pr: bool
    ) -> TransferReport:
        if xet.is_available(Settings.from_env()) and self._clock() >= self._without_xet_until:
            url = xet.token_url(target, create_pr=create_pr)
            if self._tokens.get(client, url) is not None:
                report = self._send_xet(client, target, url, group, options)
                if report is not None:
                    return report
        return lfs.upload(client, target, group.additions, options)

    def _send_xet(
        self, client: HubClient, target: Target, url: str, group: _Group, options: TransferOptions
    ) -> TransferReport | None:
        if not group.is_many_small:
            return self._try_xet(client, url, group.additions, options, asks=True)
        stored = lfs.stored(client, target, group.additions)
        known = [addition for addition in group.additions if addition.sha256 in stored]
        wanted = [addition for addition in group.additions if addition.sha256 not in stored]
        known_bytes = sum(addition.size for addition in known)
        report = options.on_progress
        if report is not None:
            options = replace(options, on_progress=lambda done: report(known_bytes + done))
            report(known_bytes)
        sent = self._try_xet(client, url, wanted, options, asks=False) if wanted else TransferReport()
        return None if sent is None else sent + TransferReport(len(known), known_bytes)

    def _try_xet(
        self,
        client: HubClient,
        url: str,
        additions: Sequence[CommitOperationAdd],
        options: TransferOptions,
        *,
        asks: bool,
    ) -> TransferReport | None:
        failures: list[XetTransferError] = []
        while True:
            token = self._tokens.get(client, url)
            if token is None:
                if failures:
                    raise failures[-1]
                return None
            try:
                return xet.upload(client, token, url, additions, options, asks=asks, fresh_cache=len(failures) == 2)
            except XetTransferError as error:
                # hf_xet has repeated what can be repeated. What is left to try is another token: this one may be of a
                # store that is gone; and, where the network is not to blame, a cache that is not damaged.
                self._tokens.drop(client, url)
                failures.append(error)
                if len(failures) > 1 and not all(isinstance(each, xet.LocalXetError) for each in failures):
                    raise
                if len(failures) > 2:
                    logger.warning("Xet does not work on this machine, LFS is used in its place: %s", error)
                    self._without_xet_until = self._clock() + _WITHOUT_XET_SECONDS
                    return None


@dataclass
class _Group:
    """Additions that are sent together; `is_followed` where there is at least one more group."""

    additions: list[CommitOperationAdd] = field(default_factory=list)
    size: int = 0
    is_many_small: bool = False
    is_followed: bool = False

    def add(self, addition: CommitOperationAdd) -> None:
        self.additions.append(addition)
        self.size += addition.size

    def has_room_for(self, count: int, size: int) -> bool:
        """Whether the group stays bounded, unless one content alone is larger."""
        fits = len(self.additions) + count <= FILES_PER_UPLOAD and self.size + size <= BYTES_PER_UPLOAD
        return fits or not self.additions


def _groups(additions: Iterable[CommitOperationAdd]) -> Iterator[_Group]:
    """Yield additions that are sent together: many small ones, or others."""
    small, other = _Group(is_many_small=True), _Group()
    for addition in additions:
        group = small if addition.size <= SMALL_BYTES else other
        if not group.has_room_for(1, addition.size):
            yield replace(group, is_followed=True)
            group.additions, group.size = [], 0
        group.add(addition)
    if len(small.additions) <= FEW_FILES and other.has_room_for(len(small.additions), small.size):
        for addition in small.additions:
            other.add(addition)
        small.additions = []
    left = [group for group in (small, other) if group.additions]
    for group in left:
        yield replace(group, is_followed=group is not left[-1])


class _Total:
    """Adds up what the groups of one upload have done; told from several threads."""

    def __init__(self, options: TransferOptions) -> None:
        self.report = TransferReport()
        self._options = options
        self._lock = threading.Lock()
        self._done: dict[int, int] = {}

    def options(self, group: int) -> TransferOptions:
        """Return the options for one group."""
        if self._options.on_progress is None:
            return self._options
        return replace(self._options, on_progress=lambda done: self._tell(group, done))

    def add(self, report: TransferReport) -> None:
        with self._lock:
            self.report += report

    def _tell(self, group: int, done: int) -> None:
        assert self._options.on_progress is not None  # see `options`
        with self._lock:
            self._done[group] = done
            self._options.on_progress(sum(self._done.values()))
