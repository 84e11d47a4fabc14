"""The way of contents before their commit: ask how each is to travel, leave out what the Hub has, send the rest.

Asking is done ahead by a thread of its own, what may have stayed as it was is read meanwhile, and hf_xet sends in its
own threads: of a large folder only a few batches are in flight.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice

from hubspool.client.commit import UploadRules, check_limits, fetch_upload_modes, may_exceed_limits
from hubspool.client.http import HubClient
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.target import Target
from hubspool.client.transfer import TransferOptions, TransferReport, Uploader
from hubspool.client.transfer.parallel import ahead

#: The preupload route answers 413 to more.
FILES_PER_PREUPLOAD = 256
_BATCHES_AHEAD = 2


def preupload(
    client: HubClient,
    target: Target,
    additions: Sequence[CommitOperationAdd],
    rules: UploadRules,
    uploader: Uploader,
    options: TransferOptions,
    *,
    free_memory: bool = False,
    one_commit: bool = False,
) -> TransferReport:
    """Bring the large contents of `additions` to the Hub; nothing is committed.

    Args:
        client: The Hub.
        target: Where they go.
        additions: They are changed: upload mode, ids, and with `free_memory` their content is let go.
        rules: What the Hub is told about them.
        uploader: Sends.
        options: How to send; its `on_progress` also hears of bytes that need not travel.
        free_memory: Let go of contents that the Hub has.
        one_commit: They are for one commit: what that cannot carry is refused before anything is sent.

    Raises:
        HFValidationError: One commit cannot carry them.
        RequestError: Asking or sending failed.
        LocalFileError: A content is not what was described.
    """
    asked = _asked(client, target, additions, rules)
    if one_commit and may_exceed_limits(additions):
        asked = (batch for batch in list(asked))
        check_limits(additions)
    elif len(additions) > FILES_PER_PREUPLOAD:
        asked = ahead(asked, _BATCHES_AHEAD)
    passed = _Passed(options)

    def sent(group: Sequence[CommitOperationAdd]) -> None:
        for addition in group:
            addition._is_uploaded = True
            if free_memory:
                addition.release()

    def missing() -> Iterator[CommitOperationAdd]:
        for batch in asked:
            for addition in batch:
                if addition.upload_mode != "lfs" or addition._is_uploaded or addition.should_ignore:
                    passed.add(addition.size)
                elif addition.is_unchanged:
                    passed.add(addition.size)
                    sent([addition])
                else:
                    yield addition

    with closing(asked):  # an error's traceback would keep it, and so its thread, alive
        report = uploader.upload(client, target, missing(), passed.options, create_pr=rules.create_pr, sent=sent)
    if one_commit:
        check_limits(additions)
    return report


def _asked(
    client: HubClient, target: Target, additions: Sequence[CommitOperationAdd], rules: UploadRules
) -> Generator[Sequence[CommitOperationAdd], None, None]:
    """Yield the additions in batches, each once the Hub has said how they are to be sent."""
    stream = iter(additions)
    while batch := list(islice(stream, FILES_PER_PREUPLOAD)):
        unknown = [addition for addition in batch if addition.upload_mode is None]
        if unknown:
            fetch_upload_modes(client, target, unknown, rules)
        yield batch


class _Passed:
    """Adds the bytes that did not have to travel to what a transfer reports."""

    def __init__(self, options: TransferOptions) -> None:
        self._report = options.on_progress
        self._passed = self._sent = 0
        self.options = options if self._report is None else replace(options, on_progress=self._tell)

    def add(self, count: int) -> None:
        self._passed += count
        self._tell(self._sent)

    def _tell(self, sent: int) -> None:
        self._sent = sent
        if self._report is not None:
            self._report(self._passed + sent)
