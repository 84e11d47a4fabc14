"""A Hub on this machine, for people without a token or a network, and for tests.

    with LocalHub() as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)

Layers, each knowing only the ones to its right: `server`, `app`, `control`, `faults` → `routes` (HTTP) → `services`
(meaning) → `storage` (disk). Needs the extra `local-hub`.
"""

from __future__ import annotations

try:
    import dulwich  # noqa: F401 - all four: what is missing is said once, here
    import pathspec  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'The local Hub needs the package {error.name}. Install it with: pip install "hubspool[local-hub]"',
        name=error.name,
    ) from error

from hubspool.local_hub.faults import Fault, FaultHit, RateLimit
from hubspool.local_hub.models import RequestRecord
from hubspool.local_hub.server import LocalHub, PortInUseError
from hubspool.local_hub.storage.accounts import User
from hubspool.local_hub.storage.durable_files import RootInUseError

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
