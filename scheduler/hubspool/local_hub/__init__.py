"""A Hub on this machine, for people without a token or a network, and for tests.

    with LocalHub() as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)

Layers, each of which imports only those to its right: `server`, `app`, `control` → `routes` (HTTP) → `services` (the
Hub's rules) → `storage` (the disk). `faults`, `models`, `limits` and `identifiers` import none of them. Needs the extra
`local-hub`.
"""

from __future__ import annotations

try:
    import dulwich  # noqa: F401 - all of these are needed: the error names the first one that is missing
    import jinja2  # noqa: F401
    import lz4.frame  # noqa: F401
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
