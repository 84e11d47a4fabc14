"""Signs short-lived permissions: Xet tokens, and addresses that clients use without their token."""

from __future__ import annotations

import hashlib
import hmac
import time

from hubspool.local_hub.limits import LIMITS


class Signer:
    """Makes and checks permissions `<expiry>.<mac>`. The key is kept in the root, so they survive a restart."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, *claim: str, seconds: int = LIMITS.link_seconds) -> str:
        """Return a permission for `claim` that ends in `seconds`."""
        expiry = str(int(time.time()) + seconds)
        return f"{expiry}.{self._mac(expiry, claim)}"

    def valid(self, permission: str, *claim: str) -> bool:
        """Whether `permission` was signed with this key for exactly this claim and has not ended."""
        expiry, _, mac = permission.partition(".")
        if not hmac.compare_digest(self._mac(expiry, claim).encode(), mac.encode()):
            return False
        return int(expiry) > time.time()

    def _mac(self, expiry: str, claim: tuple[str, ...]) -> str:
        return hmac.new(self._key, "\n".join((expiry, *claim)).encode(), hashlib.sha256).hexdigest()
