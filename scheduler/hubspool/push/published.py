"""Markers in a bucket: which ranges of segments were published to a dataset, and may be deleted from the bucket.

A marker is ``.hubspool/published/<commit>.json``, and never changes: ``{"repo_id": …, "ranges": {segment: [[start,
end], …]}}``, with the file names of segments and bytes. Writers, recovery and readers treat such a range as on the Hub,
whatever the bucket holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from hubspool.spool.segment_name import RECORDS

#: Folder of the markers.
MARKERS = f"{RECORDS}/published"

#: File name of a segment → ranges of it, in bytes.
Ranges = Mapping[str, Iterable[tuple[int, int]]]


def marker_path(commit: str) -> str:
    """Return the path of the marker of a commit of the dataset."""
    return f"{MARKERS}/{commit}.json"


def marker(repo_id: str, ranges: Ranges) -> bytes:
    """Return the content of the marker for a dataset and what its commit published."""
    return orjson.dumps({"repo_id": repo_id, "ranges": {name: sorted(ranges[name]) for name in sorted(ranges)}})


def parse_marker(content: bytes) -> dict[str, list[tuple[int, int]]]:
    """Return the ranges of a marker.

    Raises:
        ValueError: it is no marker.
    """
    try:
        ranges = orjson.loads(content)["ranges"]
        return {str(name): [(int(start), int(end)) for start, end in ranges[name]] for name in ranges}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a marker: {error!r}") from None
