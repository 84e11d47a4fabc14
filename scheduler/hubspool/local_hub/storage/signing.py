"""Signed, short-lived permissions: CAS tokens and the addresses that clients use without their token."""

from __future__ import annotations

import hashlib
import hmac
import time

TOKEN_SECONDS = 3600  # hf_xet asks for a new one 30 s before the end
LINK_SECONDS = 3600


class Signer:
    """Makes and checks permissions `<expiry>.<mac>`; they outlive a restart because the key is kept in the root."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, *claim: str, seconds: int = LINK_SECONDS) -> str:
        """A permission for `claim` that ends in `seconds`."""
        expiry = str(int(time.time()) + seconds)
        return f"{expiry}.{self._mac(expiry, claim)}"

    def valid(self, permission: str, *claim: str) -> bool:
        """Whether `permission` was signed here for exactly `claim` and has not ended."""
        expiry, _, mac = permission.partition(".")
        if not hmac.compare_digest(self._mac(expiry, claim).encode(), mac.encode()):
            return False
        return int(expiry) > time.time()

    def _mac(self, expiry: str, claim: tuple[str, ...]) -> str:
        return hmac.new(self._key, "\n".join((expiry, *claim)).encode(), hashlib.sha256).hexdigest()
