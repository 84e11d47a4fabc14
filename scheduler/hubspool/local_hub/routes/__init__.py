"""HTTP in and out, one module for each part of the API; what it means is decided by the services."""

from __future__ import annotations

from hubspool.local_hub.routes import commits, files, git, lfs, repos, xet
from hubspool.local_hub.routes.call import Route

ALL: list[Route] = [*repos.ROUTES, *commits.ROUTES, *files.ROUTES, *lfs.ROUTES, *xet.ROUTES, *git.ROUTES]
