"""Log-ins of browsers: a cookie in place of the token.

Browsers send a cookie to every port of a machine, so to other programs, too. It therefore holds no token, and
`RequestContext.user` accepts it for GET outside ``/api/`` only.
"""

from __future__ import annotations

import secrets
import threading
import time

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.api_errors import ApiError
from hubspool.local_hub.storage.accounts import Accounts, User
from hubspool.local_hub.storage.lru import LruCache
from hubspool.local_hub.storage.signing import Signer


class LogIns:
    """Makes and checks the cookies of log-ins.

    A session ends after `HubLimits.session_seconds`, with its token, and at the log-out. Not guaranteed: a log-out is
    forgotten when the Hub stops; the session then ends by its time.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self, accounts: Accounts, signer: Signer) -> None:
        self._accounts, self._signer = accounts, signer
        self._ended: LruCache[str, bool] = LruCache(LIMITS.ended_sessions)
        self._lock = threading.Lock()  # else guesses at the same time would not count
        self._failed: LruCache[str, list[float]] = LruCache(LIMITS.ended_sessions)

    def begin(self, token: str, address: str, port: int) -> str:
        """Return the cookie's value for a token.

        Args:
            token: what the person typed.
            address: where the request comes from.
            port: of this Hub.

        Raises:
            ApiError: 401 for an unknown token, 429 after too many of them from this address.
        """
        with self._lock:
            now = time.monotonic()
            failed = [at for at in self._failed.get(address) or () if at > now - LIMITS.failed_seconds]
            if len(failed) >= LIMITS.failed_log_ins:
                wait = {"Retry-After": str(int(LIMITS.failed_seconds))}
                raise ApiError(429, "Too many wrong tokens: wait a minute", headers=wait)
            user = self._accounts.by_token(token.strip())
            if user is None:
                self._failed.put(address, [*failed, now])
                raise ApiError(401, "No user of this Hub has this token")
        session = secrets.token_hex(8)
        return f"{session}.{self._signer.sign(*_claim(session, user, port), seconds=LIMITS.session_seconds)}"

    def user(self, value: str, port: int) -> User | None:
        """Return the user of a cookie's value, or None."""
        session, _, permission = value.partition(".")
        if not permission or self._ended.get(session):
            return None
        users = self._accounts.users
        return next((user for user in users if self._signer.valid(permission, *_claim(session, user, port))), None)

    def end(self, value: str, port: int) -> None:
        """Refuse a cookie's value from now on. Only a valid one is remembered: others would push it out of the list."""
        if self.user(value, port) is not None:
            self._ended.put(value.partition(".")[0], True)


def _claim(session: str, user: User, port: int) -> tuple[str, ...]:
    return ("session", session, user.token, str(port))
