"""Large contents to the Hub: through Xet, or through LFS where there is no Xet. Nothing here commits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from hubspool.errors import XetTransferError
from hubspool.operations import CommitOperationAdd
from hubspool.session import HubClient
from hubspool.settings import Settings
from hubspool.target import Target
from hubspool.transfer import lfs, xet
from hubspool.transfer.report import TransferOptions, TransferReport

__all__ = ["TransferOptions", "TransferReport", "Uploader"]

logger = logging.getLogger(__name__)

#: Bounds what is sent again when an upload fails, and what is held for that.
FILES_PER_UPLOAD = 500
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
        report, stream = TransferReport(), iter(additions)
        while True:
            group = _Group(islice(stream, FILES_PER_UPLOAD))
            if group.is_empty:
                return report
            report += self._send(client, target, group, _after(report.total_bytes, options), create_pr=create_pr)
            sent(group.taken)

    def _send(
        self, client: HubClient, target: Target, group: _Group, options: TransferOptions, *, create_pr: bool
    ) -> TransferReport:
        if xet.is_available(Settings.from_env()) and self._clock() >= self._without_xet_until:
            url = xet.token_url(target, create_pr=create_pr)
            report = self._send_xet(client, url, group, options)
            if report is not None:
                return report
        return lfs.upload(client, target, list(group), options)

    def _send_xet(self, client: HubClient, url: str, group: _Group, options: TransferOptions) -> TransferReport | None:
        failures: list[XetTransferError] = []
        while True:
            token = self._tokens.get(client, url)
            if token is None:
                if failures:
                    raise failures[-1]
                return None
            try:
                return xet.upload(client, token, url, group, options, fresh_cache=len(failures) == 2)
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


class _Group:
    """Additions that are sent together; they can be gone through again, from the first one."""

    def __init__(self, stream: Iterator[CommitOperationAdd]) -> None:
        self._stream = stream
        self.taken = list(islice(stream, 1))

    @property
    def is_empty(self) -> bool:
        return not self.taken

    def __iter__(self) -> Iterator[CommitOperationAdd]:
        yield from list(self.taken)
        for addition in self._stream:
            self.taken.append(addition)
            yield addition


def _after(done: int, options: TransferOptions) -> TransferOptions:
    """Return the options of a group that comes after `done` bytes."""
    report = options.on_progress
    return options if report is None or not done else replace(options, on_progress=lambda n: report(done + n))
