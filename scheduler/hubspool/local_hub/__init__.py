"""A Hub on this machine, for people without a token or a network, and for tests.

    with LocalHub() as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)

Layers, each of which imports only those to its right: `server`, `app`, `control` → `routes` (HTTP) → `services` (the
Hub's rules) → `storage` (the disk). `faults`, `limits` and `identifiers` import none of them. Needs the extra
`local-hub`.
"""

from __future__ import annotations

try:
    from hubspool.local_hub.faults import Fault, FaultHit, RateLimit
    from hubspool.local_hub.request_log import RequestRecord
    from hubspool.local_hub.server import LocalHub, PortInUseError
    from hubspool.local_hub.storage.accounts import User
    from hubspool.local_hub.storage.durable_files import RootInUseError
except ModuleNotFoundError as error:
    raise ImportError(
        f'The local Hub needs the package {error.name}. Install it with: pip install "hubspool[local-hub]"',
        name=error.name,
    ) from error

__all__ = [
    "Fault",
    "FaultHit",
    "LocalHub",
    "PortInUseError",
    "RateLimit",
    "RequestRecord",
    "RootInUseError",
    "User",
]
