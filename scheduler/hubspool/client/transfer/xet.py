"""Sends large files through hf_xet: only chunks that the Hub does not have are sent.

hf_xet gets exactly the described bytes. Rejected: a path, which hf_xet reads to the end that the file has when it opens
it, so an append in between would upload a content that no commit names. hf_xet also computes the sha256 of what it
reads, which is compared with ours. Rejected: passing our digest, which hf_xet trusts without checking.

Source of the protocol: https://huggingface.co/docs/xet, hf_xet 1.8.0.
"""

from __future__ import annotations

import logging
import math
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hubspool import fork
from hubspool.client.defaults import DEFAULTS
from hubspool.client.http import HubClient
from hubspool.client.http_errors import public_url
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.target import Target
from hubspool.client.transfer.options import TransferOptions, TransferReport
from hubspool.errors import (
    BadResponseError,
    HfHubHTTPError,
    HubTimeoutError,
    Outcome,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetTransferError,
)
from hubspool.files import disk_of
from hubspool.settings import Settings

#: Words in hf_xet's general errors that mean the network, the Hub or the token.
_REMOTE = re.compile(r"\b[45]\d\d\b|request|response|connect|timed? ?out|token|unauthorized|forbidden", re.IGNORECASE)
_QUERY = re.compile(r"\?[^\s\"'()]+")

logger = logging.getLogger(__name__)


class _Sessions(fork.ForkAware):
    """The hf_xet sessions of this process, by their options: their threads do not survive a fork."""

    def __init__(self) -> None:
        self.by_options: dict[tuple[bool, bool, str], Any] = {}
        self._of_parents: list[dict[tuple[bool, bool, str], Any]] = []
        fork.register(self)

    def after_fork_in_child(self) -> None:
        """Start without sessions; the parent's are kept, because their end would wait for threads that are gone."""
        self._of_parents.append(self.by_options)
        self.by_options = {}


_sessions = _Sessions()


@dataclass(frozen=True)
class XetToken:
    """Access to a CAS until `expires`, in seconds since 1970."""

    endpoint: str
    value: str = field(repr=False)
    expires: float


class XetTokens:
    """The write tokens of one `HfApi`, kept for each repository and revision until a minute before they expire.

    Threads: any; two threads may fetch a token each for the same revision, and both tokens are valid.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[XetToken | None, float]] = {}  # None: no Xet; valid until

    def get(self, client: HubClient, url: str) -> XetToken | None:
        """Return a token; None if the Hub has no Xet.

        Raises:
            RequestError: the Hub refused (401, 403, an unknown repository or revision) or did not answer.
        """
        key = (url, client.token.value if client.token else "")
        token, until = self._kept.get(key, (None, 0.0))
        if until > self._clock():
            return token
        try:
            answer = client.json("GET", url)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            raise
        except HfHubHTTPError as error:
            if error.status_code != 404:
                raise
            self._kept[key] = None, self._clock() + DEFAULTS.xet_absent_seconds
            return None
        try:
            token = XetToken(str(answer["casUrl"]), str(answer["accessToken"]), float(answer["exp"]))
            client.check_address(token.endpoint)
        except (KeyError, TypeError, ValueError):
            raise BadResponseError(f"{public_url(url)} answered without a usable Xet token.", url=url) from None
        self._kept[key] = token, token.expires - DEFAULTS.token_margin_seconds
        return token

    def drop(self, client: HubClient, url: str) -> None:
        """Forget a token that failed: a Hub that was reset has another store at the same address."""
        self._kept.pop((url, client.token.value if client.token else ""), None)


def is_available(settings: Settings) -> bool:
    """Return whether hf_xet is installed, not switched off, and has room to run.

    It aborts the whole process when the system refuses it memory (`ulimit -v`), which no handler can prevent.
    """
    from importlib.util import find_spec

    return settings.xet and _address_space() >= DEFAULTS.xet_address_bytes and find_spec("hf_xet") is not None


def _address_space() -> float:
    """Return the bytes of memory that this process may map."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def token_url(target: Target, *, create_pr: bool) -> str:
    """Return the address that gives a write token for `target`."""
    if create_pr:  # the revision does not exist yet; the Hub checks write access to the repository
        return f"{target.api_url}/xet-write-token/None?create_pr=1"
    return target.route("xet-write-token")


class LocalXetError(XetTransferError):
    """hf_xet failed, and neither the network nor the token is to blame."""


def _session(*, small_appends: bool, global_dedup: bool) -> Any:
    """Return this process's session with these options."""
    import hf_xet

    # hf_xet reads this variable when a session is made.
    key = (small_appends, global_dedup, os.environ.get("HF_XET_HIGH_PERFORMANCE", ""))
    if key not in _sessions.by_options:
        # Telemetry would add a request and 1.7 kB to each transfer, a good part of what a small push sends.
        config = hf_xet.XetConfig().with_config("telemetry.enabled", False)
        config = config.with_config("deduplication.global_dedup_query_enabled", global_dedup)
        if small_appends:
            config = config.with_config("deduplication.min_n_chunks_per_range", 0.0)
        _sessions.by_options[key] = hf_xet.XetSession(config)
    return _sessions.by_options[key]


class _Watch:
    """Aborts an upload that makes no progress, from a thread of its own.

    hf_xet's own time-outs take minutes; `abort` frees the uploading thread within milliseconds. Rejected: an abort from
    hf_xet's progress callback, which is called while the Hub is silent too. It tries to join the thread that it runs
    in, and panics.
    """

    def __init__(self, upload: Any, options: TransferOptions, interrupt: threading.Event) -> None:
        self._upload = upload
        self._options = options
        self._interrupt = interrupt
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hubspool-xet-watch", daemon=True)
        self.reason: str | None = None

    def __enter__(self) -> _Watch:
        # At interpreter exit no thread can start; then the thread that waits for the push limits its time.
        with suppress(RuntimeError):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=1)

    def _watch(self) -> None:
        moved, entries = 0, -1
        since = time.monotonic()
        while not self._done.wait(DEFAULTS.xet_poll_seconds):
            now, group = time.monotonic(), self._upload.progress()
            now_moved, now_entries = _counters(group)
            if now_entries != entries or now_moved - moved >= DEFAULTS.progress_least_bytes:
                moved, entries, since = now_moved, now_entries, now
                if self._options.on_progress is not None:
                    self._options.on_progress(group.total_bytes_completed)
            if self._interrupt.is_set():
                self._abort("was interrupted")
            elif now - since > self._options.stall_timeout:
                self._abort(f"made no progress, or too little, for {self._options.stall_timeout:g} s")

    def _abort(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._done.set()
        self._upload.abort()


def _counters(group: Any) -> tuple[int, int]:
    """Return the bytes that an upload has moved, and the entries of its metadata that the Hub has checked."""
    moved, shard = group.total_bytes_completed + group.total_transfer_bytes_completed, group.shard
    if shard is None:
        return moved, 0
    return moved + shard.total_shard_bytes_upload_completed, shard.total_shard_validation_entries_completed


def upload(
    client: HubClient,
    token: XetToken,
    url: str,
    group: Sequence[CommitOperationAdd],
    options: TransferOptions,
    *,
    global_dedup: bool = True,
) -> TransferReport:
    """Upload one group of contents to the Hub's CAS.

    Nothing becomes visible before a commit names it, so every failure is `Outcome.NOT_APPLIED`.

    Args:
        client: the Hub.
        token: access to its CAS.
        url: address that gives a new token.
        group: the contents.
        options: how to send.
        global_dedup: ask the CAS about the first chunk of each content, and some others, that the local cache lacks.

    Raises:
        HubTimeoutError: less than 32 kB moved in ``options.stall_timeout`` seconds.
        XetTransferError: hf_xet failed; a `LocalXetError` if neither the network nor the token is to blame.
        FileChangedError: a content changed since it was described.
    """
    _warn_of_network_mount(Settings.from_env().xet_cache)
    try:
        upload = _session(small_appends=options.small_appends, global_dedup=global_dedup).new_upload_commit(
            endpoint=token.endpoint,
            token=token.value,
            token_expiry_unix_secs=int(token.expires),
            token_refresh_url=url,
            token_refresh_headers=client.auth_headers,
            custom_headers={"User-Agent": client.session.user_agent},
        )
    except Exception as error:
        if _is_of_hf_xet(error):
            raise _failed(error, token, client) from None
        raise
    with _Watch(upload, options, client.session.interrupt) as watch:
        try:
            return _send(upload, group)
        except BaseException as error:
            with suppress(RuntimeError):  # it is over already
                upload.abort()
            if watch.reason is not None:
                raise _stalled(watch.reason, token.endpoint) from None
            if _is_of_hf_xet(error):
                raise _failed(error, token, client) from None
            raise


@cache
def _warn_of_network_mount(folder: Path) -> None:
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    disk = disk_of(existing)
    if not disk.is_reliable:
        logger.warning(
            "Xet's cache %s is on a network mount (%s): set HF_XET_CACHE to a local folder.", folder, disk.kind
        )


def _send(upload: Any, group: Sequence[CommitOperationAdd]) -> TransferReport:
    import hf_xet

    # Small contents are handed over whole, so hf_xet's threads work on several at once; one stream after the other
    # took 1.4 times as long for 5,000 files. Large ones are streamed: hf_xet chunks a stream as fast as a file.
    waiting: deque[tuple[CommitOperationAdd, Any]] = deque()
    bytes_in_memory = 0

    def settle(limit: int) -> None:
        nonlocal bytes_in_memory
        while bytes_in_memory > limit:
            done, handle = waiting.popleft()
            _note(done, handle.result().xet_info)
            bytes_in_memory -= done.size

    for addition in group:
        if addition.size <= DEFAULTS.xet_whole_bytes:
            content = b"".join(addition.blocks())
            handle = upload.start_upload_bytes(content, sha256=hf_xet.COMPUTE_SHA256, name=addition.path_in_repo)
            waiting.append((addition, handle))
            bytes_in_memory += addition.size
            settle(DEFAULTS.xet_memory_bytes)
            continue
        stream = upload.start_upload_stream(name=addition.path_in_repo, sha256=hf_xet.COMPUTE_SHA256)
        for block in addition.blocks():
            stream.write(block)
        _note(addition, stream.finish().xet_info)
    settle(0)
    metrics = upload.wait_to_finish().dedup_metrics
    return TransferReport(len(group), metrics.total_bytes, metrics.total_bytes_uploaded)


def _note(addition: CommitOperationAdd, info: Any) -> None:
    addition.set_sha256(info.sha256)
    addition.xet_hash = info.hash


def _is_of_hf_xet(error: BaseException) -> bool:
    """Return whether hf_xet raised `error`; it raises builtin classes, as reading a local file does."""
    import hf_xet

    if isinstance(error, (hf_xet.XetAuthenticationError, hf_xet.XetObjectNotFoundError)):
        return True
    return type(error) in (RuntimeError, ConnectionError, TimeoutError, ValueError, OSError) and not getattr(
        error, "filename", None
    )


def _stalled(reason: str, endpoint: str) -> HubTimeoutError:
    return HubTimeoutError(
        f"The Xet upload to {public_url(endpoint)} {reason}.",
        url=public_url(endpoint),
        outcome=Outcome.NOT_APPLIED,
        hint="Nothing was committed; try again later.",
    )


def _failed(error: BaseException, token: XetToken, client: HubClient) -> XetTransferError:
    text = _QUERY.sub("", str(error)).replace(token.value, "***")
    if client.token is not None:
        text = text.replace(client.token.value, "hf_***")
    endpoint = public_url(token.endpoint)
    kind = LocalXetError if _is_local(error) else XetTransferError
    return kind(f"The Xet upload to {endpoint} failed: {text}", url=endpoint)


def _is_local(error: BaseException) -> bool:
    """Return whether something on this machine failed: a full disk, a damaged cache, a defect of hf_xet."""
    import hf_xet

    remote = (ConnectionError, TimeoutError, hf_xet.XetAuthenticationError, hf_xet.XetObjectNotFoundError)
    return not isinstance(error, remote) and not _REMOTE.search(str(error))
