"""What all groups of `HfApi`'s calls share: an address, a token and a session."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from hubspool.client.http import HubClient, HubSession
from hubspool.client.target import Target
from hubspool.client.validation import check_repo_type
from hubspool.settings import find_token

if TYPE_CHECKING:
    from hubspool.client.transfer.uploader import Uploader


class ApiContext:
    """Base of each group of calls; the groups know this class and not each other.

    Attributes:
        endpoint: address of the Hub, without a trailing slash.
        token: a token; None looks for one at each call; False sends none.
        session: connections, time-outs and retries.
    """

    endpoint: str
    token: str | bool | None
    session: HubSession

    def client(self, token: str | bool | None = None) -> HubClient:
        """Return the HTTP client of this Hub, for requests that no method covers.

        Args:
            token: a token in place of the object's own; False sends none.

        Raises:
            LocalTokenNotFoundError: `token` is True and there is none.
        """
        return HubClient(self.session, self.endpoint, find_token(self.token if token is None else token))

    def target(self, repo_id: str, repo_type: str | None = None, revision: str | None = None) -> Target:
        """Return a revision of a repository on this Hub, which knows the addresses of its routes.

        Raises:
            HFValidationError: a value that the Hub does not take.
        """
        return Target.of(self.endpoint, repo_id, check_repo_type(repo_type), revision)

    @cached_property
    def _uploader(self) -> Uploader:
        from hubspool.client.transfer.uploader import Uploader

        return Uploader()
