"""Uploads large files before a commit: asks for the upload modes, skips what the Hub has, sends the rest.

A thread asks for upload modes ahead, files that may be unchanged are hashed meanwhile, and hf_xet sends in its own
threads; of a large folder only a few batches are in flight.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from hubspool.client.defaults import DEFAULTS
from hubspool.client.http import HubClient
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.progress import ProgressSum
from hubspool.client.target import Target
from hubspool.client.transfer.options import TransferOptions, TransferReport
from hubspool.errors import BadResponseError, HFValidationError

if TYPE_CHECKING:
    from hubspool.client.transfer.uploader import Uploader


@dataclass(frozen=True)
class UploadRules:
    """What decides, besides the files, how they are uploaded.

    Attributes:
        create_pr: the files are for a pull request.
        gitignore, gitattributes: texts that come with the same commit and replace those of the Hub.
    """

    create_pr: bool = False
    gitignore: str | None = None
    gitattributes: str | None = None

    @classmethod
    def of(
        cls,
        additions: Sequence[CommitOperationAdd],
        *,
        create_pr: bool | None,
        gitignore: str | None = None,
        gitattributes: str | None = None,
    ) -> UploadRules:
        """Return the given rules; by default the ``.gitignore`` and ``.gitattributes`` among the additions."""
        texts = {".gitignore": gitignore, ".gitattributes": gitattributes}
        for addition in additions:
            if texts.get(addition.path_in_repo, "") is None:
                texts[addition.path_in_repo] = addition.text()
        return cls(bool(create_pr), texts[".gitignore"], texts[".gitattributes"])

    @property
    def texts(self) -> dict[str, str]:
        """The rules as fields of a preupload request."""
        given = {"gitIgnore": self.gitignore, "gitAttributes": self.gitattributes}
        return {name: text for name, text in given.items() if text is not None}


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
    """Upload the large contents of `additions`; nothing is committed.

    Args:
        client: the Hub.
        target: where the files go.
        additions: get their upload mode and ids.
        rules: what decides besides the files.
        uploader: sends the contents.
        options: how to send; its `on_progress` also counts bytes that need not be sent.
        free_memory: drop contents that the Hub has.
        one_commit: the additions are for one commit; more than one commit can carry is refused before anything is sent.

    Raises:
        HFValidationError: one commit cannot carry the additions.
        RequestError: a request failed.
        LocalFileError: a content changed since it was described.
    """
    batches = _asked(client, target, additions, rules)
    if one_commit and may_exceed_limits(additions):
        batches = (batch for batch in list(batches))
        check_limits(additions)
    elif len(additions) > DEFAULTS.preupload_files:
        from hubspool.client.transfer.parallel import ahead

        batches = ahead(batches, DEFAULTS.preupload_batches_ahead)
    progress = ProgressSum(options.on_progress)

    def sent(group: Sequence[CommitOperationAdd]) -> None:
        for addition in group:
            addition.is_uploaded = True
            if free_memory:
                addition.release()

    to_send = _select_missing(batches, progress, sent)
    options = replace(options, on_progress=progress.callback("sent"))
    with closing(batches):  # an error's traceback would keep the generator, and so its thread, alive
        report = uploader.upload(client, target, to_send, options, create_pr=rules.create_pr, sent=sent)
    if one_commit:
        check_limits(additions)
    return report


def _select_missing(
    batches: Iterable[Sequence[CommitOperationAdd]],
    progress: ProgressSum,
    sent: Callable[[Sequence[CommitOperationAdd]], None],
) -> Iterator[CommitOperationAdd]:
    """Yield the large files that the Hub does not have; count the others as done."""
    for addition in chain.from_iterable(batches):
        if addition.upload_mode != "lfs" or addition.is_uploaded or addition.should_ignore:
            progress.add(addition.size)
        elif addition.is_unchanged:
            progress.add(addition.size)
            sent([addition])
        else:
            yield addition


def _asked(
    client: HubClient, target: Target, additions: Sequence[CommitOperationAdd], rules: UploadRules
) -> Generator[Sequence[CommitOperationAdd], None, None]:
    """Yield the additions in batches, each with its upload modes."""
    stream = iter(additions)
    while batch := list(islice(stream, DEFAULTS.preupload_files)):
        unknown = [addition for addition in batch if addition.upload_mode is None]
        if unknown:
            fetch_upload_modes(client, target, unknown, rules)
        yield batch


def fetch_upload_modes(
    client: HubClient, target: Target, batch: Sequence[CommitOperationAdd], rules: UploadRules
) -> None:
    """Ask the Hub for the upload mode of each addition, and set the answers on the additions.

    Args:
        client: the Hub.
        target: where the files go.
        batch: additions without an upload mode, at most ``DEFAULTS.preupload_files``.
        rules: what decides besides the files.
    """
    answer = client.json(
        "POST",
        target.route("preupload"),
        params={"create_pr": "1"} if rules.create_pr else None,
        json={
            "files": [
                {"path": a.path_in_repo, "size": a.size, "sample": base64.b64encode(a.sample).decode()} for a in batch
            ],
            **rules.texts,
        },
    )
    try:
        entries = {entry["path"]: entry for entry in answer["files"]}
        for addition in batch:
            entry = entries[addition.path_in_repo]
            mode = entry["uploadMode"]
            if mode not in ("lfs", "regular"):
                raise BadResponseError(f"Unknown upload mode {mode!r} for {addition.path_in_repo}.")
            addition.set_upload_mode(
                mode if addition.size else "regular",  # LFS storage takes no empty objects
                should_ignore=bool(entry.get("shouldIgnore")),
                remote_oid=entry.get("oid"),
            )
    except (KeyError, TypeError):
        raise BadResponseError("The preupload route did not answer for every file.") from None


def check_limits(additions: Sequence[CommitOperationAdd]) -> None:
    """Check that one commit can carry the additions, whose upload modes must be known.

    Raises:
        HFValidationError: one commit cannot carry them; the hint names the call that can.
    """
    carried = [addition for addition in additions if not addition.should_ignore]
    large = [addition for addition in carried if addition.upload_mode == "lfs"]
    regular = [addition for addition in carried if addition.upload_mode == "regular"]
    # Whether a file is unchanged takes reading it, so that is only asked where it decides.
    if len(large) > DEFAULTS.large_files_per_commit:
        count = sum(not addition.is_unchanged for addition in large)
        if count > DEFAULTS.large_files_per_commit:
            raise _too_much(f"{count} large files; the Hub takes {DEFAULTS.large_files_per_commit}")
    if sum(addition.size for addition in regular) > DEFAULTS.regular_bytes_per_commit:
        size = sum(addition.size for addition in regular if not addition.is_unchanged)
        if size > DEFAULTS.regular_bytes_per_commit:
            raise _too_much(f"{size} bytes of regular files; the Hub takes {DEFAULTS.regular_bytes_per_commit}")


def may_exceed_limits(additions: Sequence[CommitOperationAdd]) -> bool:
    """Return whether `check_limits` could refuse the additions, judged by their number and sizes alone."""
    small = sum(addition.size for addition in additions if addition.size <= DEFAULTS.regular_file_bytes)
    return len(additions) > DEFAULTS.large_files_per_commit or small > DEFAULTS.regular_bytes_per_commit


def _too_much(what: str) -> HFValidationError:
    return HFValidationError(
        f"One commit cannot carry {what}. Nothing was committed.",
        hint="Use upload_large_folder, which makes as many commits as it needs.",
    )
