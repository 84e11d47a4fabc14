"""Markers in a bucket: which ranges of segments were published to a dataset, and may be deleted from the bucket.

A marker is ``.hubspool/published/<commit>.json``, and never changes: ``{"repo_id": …, "at": …, "ranges": {segment:
[[start, end], …]}}``, with the time of the commit, file names of segments, and bytes. Writers, recovery and readers
treat such a range as on the Hub, whatever the bucket holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

import orjson

from hubspool.spool.segment_name import RECORDS

#: Folder of the markers.
MARKERS = f"{RECORDS}/published"

#: File name of a segment → ranges of it, in bytes.
Ranges = Mapping[str, Iterable[tuple[int, int]]]


def marker_path(commit: str) -> str:
    """Return the path of the marker of a commit of the dataset."""
    return f"{MARKERS}/{commit}.json"


def marker(repo_id: str, ranges: Ranges, at: str = "") -> bytes:
    """Return the content of the marker for a dataset and what its commit published; the arguments are its fields."""
    found = {name: sorted(ranges[name]) for name in sorted(ranges)}
    return orjson.dumps({"repo_id": repo_id, "at": at, "ranges": found})


@dataclass(frozen=True)
class Marker:
    """What one commit of a dataset published.

    Args:
        repo_id: of the dataset.
        ranges: that its manifest names.
        at: the time of the commit, as ISO 8601 text in UTC; empty if it is not known, or if the commit did not take all
            that was listed, so that the next look goes on.
    """

    repo_id: str
    ranges: Ranges
    at: str = ""

    @classmethod
    def parse(cls, content: bytes) -> Marker:
        """Return the marker that a file of the bucket holds.

        Raises:
            ValueError: it is no marker.
        """
        try:
            found = orjson.loads(content)
            ranges = {
                str(name): [(int(start), int(end)) for start, end in each] for name, each in found["ranges"].items()
            }
            if at := str(found.get("at", "")):
                at = datetime.fromisoformat(at).astimezone(timezone.utc).isoformat()
            return cls(str(found["repo_id"]), ranges, at)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a marker: {error!r}") from None


def uncovered(start: int, end: int, covered: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what is left of the range [start, `end`) without others."""
    left = []
    for first, last in sorted(covered):
        if start < min(first, end):
            left.append((start, min(first, end)))
        start = max(start, last)
    return [*left, (start, end)] if start < end else left


def unpublished(
    ranges: Iterable[tuple[int, int]], covered: Collection[tuple[int, int]], *, is_cut: bool
) -> Iterator[tuple[tuple[int, int], list[tuple[int, int]]]]:
    """Yield each range that a file of the bucket holds and no manifest covers, and what to publish of it.

    Args:
        ranges: of the files of one segment.
        covered: the ranges of that segment that manifests of the dataset name.
        is_cut: a part of a file can be published (JSON Lines). If not, and a part of it is published, nothing more is:
            the list is empty.
    """
    reached = 0  # of what is published of earlier files
    for start, end in sorted(ranges):
        if left := uncovered(start, end, [(min(start, reached), reached), *covered]):
            pieces = left if is_cut or left == [(start, end)] else []
            reached = max(reached, end) if pieces else reached
            yield (start, end), pieces
