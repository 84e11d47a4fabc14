"""What a push reads from a bucket: the files at some paths, the ranges of a segment, the markers of publishes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hubspool.client.buckets import BucketFile
from hubspool.errors import BadResponseError
from hubspool.files import xet_id
from hubspool.push.cache import cached_file
from hubspool.push.published import MARKERS, Marker, uncovered
from hubspool.push.remote import RemoteFile, RemoteRepo
from hubspool.spool.segment_name import RangeName, SegmentName, range_path

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.target import Target

    Ranges = dict[str, list[tuple[int, int]]]

logger = logging.getLogger(__name__)


class RemoteBucket(RemoteRepo):
    """Reads a bucket, which has no commits: `head`, `commit` and what else concerns them must not be called.

    Args:
        api: the client.
        target: the bucket.
        markers: path → the markers that were read before; new ones are added.
    """

    def __init__(self, api: HfApi, target: Target, markers: dict[str, Marker] | None = None) -> None:
        super().__init__(api, target)
        self._markers = {} if markers is None else markers

    def at(self, oid: str) -> RemoteBucket:  # noqa: ARG002  a bucket has one state
        """Return this reader."""
        return self

    def identity(self) -> str:
        """Return when the bucket was created: what its name and address do not change."""
        return self.api.bucket_info(self.target.repo_id).created_at.isoformat()

    def files(self, paths: Sequence[str]) -> dict[str, RemoteFile]:
        """Return path → file for those of `paths` that exist."""
        found = self.api.get_bucket_paths_info(self.target.repo_id, paths) if paths else ()
        return {file.path: _remote(file) for file in found}

    def list_files(self, folder: str, *, recursive: bool = False) -> dict[str, RemoteFile]:
        """Return path → file for all files in a folder; nothing if there is no such folder."""
        return self._listed(f"{folder}/" if folder else "", recursive=recursive)

    def _listed(self, prefix: str, *, recursive: bool = True) -> dict[str, RemoteFile]:
        found = self.api.list_bucket_tree(self.target.repo_id, prefix or None, recursive=recursive)
        return {file.path: _remote(file) for file in found if isinstance(file, BucketFile)}

    def ranges(self, prefix: str, source: str) -> list[tuple[int, int]]:
        """Return the ranges of a segment that files of the bucket, or markers, name, in bytes.

        Args:
            prefix: of the paths in the bucket.
            source: the segment.
        """
        path, segment = PurePosixPath(prefix + range_path(source, 0, 0)), PurePosixPath(source).name
        found = self._listed(str(path.with_name(f"{SegmentName.of(source).stem}-")))
        names = (RangeName.parse(PurePosixPath(path).name) for path in found)
        here = [(name.start, name.end) for name in names if name is not None and str(name.segment) == segment]
        return [*here, *self.published().get(segment, [])]

    def is_published(self, path: str) -> bool:
        """Return whether markers name all bytes that the name of a file tells."""
        name = RangeName.parse(PurePosixPath(path).name)
        return name is not None and not uncovered(name.start, name.end, self.published().get(str(name.segment), ()))

    def published(self) -> Ranges:
        """Return file name of a segment → ranges that markers name, in bytes; reads the markers that are new.

        Raises:
            BadResponseError: a marker cannot be read.
        """
        found: Ranges = {}
        for marker in self.markers():
            for segment, ranges in marker.ranges.items():
                found.setdefault(segment, []).extend(ranges)
        return found

    def markers(self) -> list[Marker]:
        """Return the markers of all datasets; reads those that are new, from the cache of this machine if it has them.

        Raises:
            BadResponseError: a marker cannot be read.
        """
        paths = self._listed(f"{MARKERS}/")
        for path in paths.keys() - self._markers.keys():
            try:
                self._markers[path] = Marker.parse(self._content_of(paths[path]))
            except ValueError as error:
                text = f"{path} of {self.target.repo_id} tells what was published, and is damaged: {error}."
                raise BadResponseError(
                    text, hint="Delete it, and run `hubspool publish`, which writes it again."
                ) from None
        return [self._markers[path] for path in paths]

    def _content_of(self, marker: RemoteFile) -> bytes:
        """Return the content of a marker, which never changes, so that a new process need not ask for all again."""
        try:
            if (path := cached_file(self.api, self.target, marker)) is not None:
                return path.read_bytes()
        except OSError:  # no cache can be written here
            logger.debug("No cache for %s", marker.path, exc_info=True)
        return self.content(marker.path)


def remote_of(api: HfApi, target: Target) -> RemoteRepo:
    """Return what reads a repository or a bucket."""
    return (RemoteBucket if target.is_bucket else RemoteRepo)(api, target)


def _remote(file: BucketFile) -> RemoteFile:
    return RemoteFile(file.path, file.size, xet_id(file.xet_hash))
