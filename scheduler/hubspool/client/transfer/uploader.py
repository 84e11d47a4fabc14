"""Sends large contents to the Hub: in groups, through Xet, or through LFS where Xet cannot be used."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from hubspool.client.defaults import DEFAULTS
from hubspool.client.http import HubClient
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.progress import ProgressSum
from hubspool.client.target import Target
from hubspool.client.transfer import lfs, xet
from hubspool.client.transfer.options import TransferOptions, TransferReport
from hubspool.client.transfer.parallel import for_each
from hubspool.errors import HubTimeoutError, XetTransferError
from hubspool.settings import Settings

logger = logging.getLogger(__name__)


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

        A Hub that refuses a Xet token (401, 403) has refused the upload: LFS is not tried.

        Args:
            client: the Hub.
            target: where the contents go.
            additions: consumed while they are sent, so a generator may still be making them.
            options: how to send.
            create_pr: the contents are for a pull request.
            sent: called with each group once the Hub has it, from the thread that sent it.

        Raises:
            RequestError: the transfer failed; nothing was committed.
            FileChangedError: a content changed since it was described.
        """
        progress = ProgressSum(options.on_progress)
        reports: list[TransferReport] = []

        def send(numbered: tuple[int, _Group]) -> None:
            number, group = numbered
            of_group = replace(options, on_progress=progress.callback(number))
            reports.append(self._send(client, target, group, of_group, create_pr=create_pr))
            sent(group.additions)

        groups = enumerate(_groups(additions))
        first = next(groups, None)
        if first is not None:
            # A single group, as in most pushes of a scheduler, is sent by the caller's own thread.
            for_each(chain([first], groups), send, DEFAULTS.groups_at_once if first[1].is_followed else 1)
        return sum(reports, TransferReport())

    def upload_to_bucket(
        self,
        client: HubClient,
        url: str,
        additions: Sequence[CommitOperationAdd],
        options: TransferOptions | None = None,
    ) -> None:
        """Send contents through Xet, the only way into a bucket; each addition gets its `xet_hash`.

        Args:
            client: the Hub.
            url: address that gives a write token.
            additions: the contents.
            options: how to send.

        Raises:
            RequestError: the transfer failed, or Xet is switched off or not installed.
            FileChangedError: a content changed since it was described.
        """
        if not additions:
            return
        is_small = all(addition.size <= DEFAULTS.small_file_bytes for addition in additions)
        is_ready = xet.is_available(Settings.from_env())
        options = options or TransferOptions()
        if not is_ready or self._try_xet(client, url, additions, options, global_dedup=not is_small) is None:
            raise XetTransferError(
                "A bucket takes files through Xet only, which this Hub or this machine does not have.",
                retryable=False,
                hint="Install hf_xet and unset HF_HUB_DISABLE_XET.",
            )

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
            return self._try_xet(client, url, group.additions, options, global_dedup=True)
        stored = lfs.stored(client, target, group.additions)
        known = [addition for addition in group.additions if addition.sha256 in stored]
        wanted = [addition for addition in group.additions if addition.sha256 not in stored]
        known_bytes = sum(addition.size for addition in known)
        progress = ProgressSum(options.on_progress)
        progress.add(known_bytes)
        options = replace(options, on_progress=progress.callback("wanted"))
        sent = self._try_xet(client, url, wanted, options, global_dedup=False) if wanted else TransferReport()
        return None if sent is None else sent + TransferReport(len(known), known_bytes)

    def _try_xet(
        self,
        client: HubClient,
        url: str,
        additions: Sequence[CommitOperationAdd],
        options: TransferOptions,
        *,
        global_dedup: bool,
    ) -> TransferReport | None:
        failure: XetTransferError | None = None
        while True:
            token = self._tokens.get(client, url)
            if token is None:
                if failure is not None:
                    raise failure
                return None
            try:
                return xet.upload(client, token, url, additions, options, global_dedup=global_dedup)
            except HubTimeoutError:
                self._tokens.drop(client, url)
                raise
            except XetTransferError as error:
                # hf_xet has made its own retries. Another token may help, because this one may belong to a store that
                # is gone; and if the network is not to blame, LFS.
                self._tokens.drop(client, url)
                if failure is None:
                    failure = error
                    continue
                if not (isinstance(failure, xet.LocalXetError) and isinstance(error, xet.LocalXetError)):
                    raise
                logger.warning("Xet does not work on this machine, LFS is used in its place: %s", error)
                self._without_xet_until = self._clock() + DEFAULTS.without_xet_seconds
                return None


@dataclass
class _Group:
    """Additions that are sent together; `is_followed` says that at least one more group exists."""

    additions: list[CommitOperationAdd] = field(default_factory=list)
    size: int = 0
    is_many_small: bool = False
    is_followed: bool = False

    def add(self, addition: CommitOperationAdd) -> None:
        self.additions.append(addition)
        self.size += addition.size

    def has_room_for(self, count: int, size: int) -> bool:
        """Return whether the group keeps its limits; an empty group takes a content of any size."""
        fits = len(self.additions) + count <= DEFAULTS.group_files and self.size + size <= DEFAULTS.group_bytes
        return fits or not self.additions


def _groups(additions: Iterable[CommitOperationAdd]) -> Iterator[_Group]:
    """Yield the groups: small contents together, all others together."""
    small, other = _Group(is_many_small=True), _Group()
    for addition in additions:
        group = small if addition.size <= DEFAULTS.small_file_bytes else other
        if not group.has_room_for(1, addition.size):
            yield replace(group, is_followed=True)
            group.additions, group.size = [], 0
        group.add(addition)
    if len(small.additions) <= DEFAULTS.few_small_files and other.has_room_for(len(small.additions), small.size):
        for addition in small.additions:
            other.add(addition)
        small.additions = []
    left = [group for group in (small, other) if group.additions]
    for group in left:
        yield replace(group, is_followed=group is not left[-1])
