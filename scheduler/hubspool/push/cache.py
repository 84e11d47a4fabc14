"""Files of the Hub in the cache that `huggingface_hub` shares, found by the content that a listing names."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from hubspool.client.download import cache_folder
from hubspool.errors import HubspoolError
from hubspool.files import has_content
from hubspool.push.remote import RemoteFile, RemoteRepo
from hubspool.settings import Settings

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.target import Target


def cached_file(api: HfApi, target: Target, file: RemoteFile, *, download: bool = True) -> Path | None:
    """Return a file of a listing from the cache that `huggingface_hub` shares; no request if its content is there.

    Args:
        api: the client.
        target: the repository and the commit of the listing.
        file: the file.
        download: get it if it is not there; None is returned if not.

    Raises:
        HubspoolError: a request failed; or what came does not begin with the content of the listing.
    """
    cache = Path(Settings.from_env().hub_cache).expanduser()
    blob = cache_folder(target, cache) / "blobs" / file.content_id.replace(":", "-")
    if blob.is_file():
        return blob
    if not download:
        return None
    if target.is_bucket:
        new = blob.with_name(f"{blob.name}.{uuid.uuid4().hex}")
        try:
            RemoteRepo(api, target).download(file.path, new)
            _check(new, target, file)
            new.replace(blob)
        finally:
            new.unlink(missing_ok=True)
        return blob
    path = Path(api.hf_hub_download(target.repo_id, file.path, repo_type=target.repo_type, revision=target.revision))
    if (found := path.resolve()).name != file.content_id:
        _check(found, target, file)
    return path


def _check(path: Path, target: Target, file: RemoteFile) -> None:
    if not has_content(path, file.size, file.content_id):
        raise changed_meanwhile(target, file.path)


def changed_meanwhile(target: Target, path: str) -> HubspoolError:
    """Return the error for a file whose content is not, or no longer, what the listing said."""
    return HubspoolError(
        f"{path} of {target.repo_id} was changed while it was read.",
        hint="Read again, from the same cursor if there is one.",
        path=path,
    )
