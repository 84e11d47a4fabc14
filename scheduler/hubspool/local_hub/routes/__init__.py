"""HTTP in and out, one module for each part of the API; what it means is decided by the services."""

from __future__ import annotations

from hubspool.local_hub.routes import commits, discussions, files, git, lfs, page, repos, spaces, xet
from hubspool.local_hub.routes.request_context import Route

_MODULES = (repos, spaces, commits, discussions, files, lfs, xet, git, page)
ALL: list[Route] = [route for module in _MODULES for route in module.ROUTES]
