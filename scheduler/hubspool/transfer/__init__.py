"""Large contents to the Hub: through Xet, or through LFS where there is no Xet. Nothing here commits."""

from __future__ import annotations

from collections.abc import Sequence

from hubspool.operations import CommitOperationAdd
from hubspool.session import HubClient
from hubspool.settings import Settings
from hubspool.target import Target
from hubspool.transfer import lfs, xet
from hubspool.transfer.report import TransferOptions, TransferReport

__all__ = ["TransferOptions", "TransferReport", "Uploader"]


class Uploader:
    """Sends large contents for one `HfApi`; all threads may use it."""

    def __init__(self) -> None:
        self._tokens = xet.XetTokens()

    def upload(
        self,
        client: HubClient,
        target: Target,
        additions: Sequence[CommitOperationAdd],
        options: TransferOptions,
        *,
        create_pr: bool = False,
    ) -> TransferReport:
        """Send the contents of `additions` that the Hub does not have.

        A Hub that refuses a Xet token (401, 403) has refused the upload: LFS is not tried in its place.

        Raises:
            RequestError: The transfer failed; nothing was committed.
            FileChangedError: A content is not what was described.
        """
        if not additions:
            return TransferReport()
        if xet.is_available(Settings.from_env()):
            url = xet.token_url(target, create_pr=create_pr)
            report = xet.upload(client, self._tokens, url, additions, options)
            if report is not None:
                return report
        return lfs.upload(client, target, additions, options)
