"""The one table of file name suffixes: which media a file holds, and which files are compressed already."""

from __future__ import annotations

from pathlib import PurePath

#: Media → suffixes whose `pathlib.Path` in a row `ParquetScheduler` reads, and suffixes that it stores as a path.
_SUFFIXES = {
    "image": ("bmp gif jpeg jpg png tif tiff webp", "avif heic ico ppm tga"),
    "audio": ("flac m4a mp3 ogg opus wav", "aac aif aiff wma"),
    "video": ("avi mkv mov mp4 webm", "mpeg mpg"),
}
#: The media, named as their features in a dataset card.
MEDIA = frozenset(_SUFFIXES)
#: A common suffix of each media.
COMMON_SUFFIX = {"image": "png", "audio": "wav", "video": "mp4"}
_MEDIA_OF = {suffix: media for media, groups in _SUFFIXES.items() for suffix in " ".join(groups).split()}
_READ_FROM_PATHS = frozenset(suffix for read, _ in _SUFFIXES.values() for suffix in read.split())
_UNCOMPRESSED = frozenset({"aif", "aiff", "bmp", "ico", "ppm", "tga", "tif", "tiff", "wav"})
_OTHERS = frozenset({"7z", "br", "bz2", "gz", "jxl", "parquet", "rar", "xz", "zip", "zst"})
_COMPRESSED = (_MEDIA_OF.keys() - _UNCOMPRESSED) | _OTHERS


def media_of(name: str) -> str | None:
    """Return which media a file of this name holds, in any archive; None for another file."""
    return _MEDIA_OF.get(_suffix(name))


def media_of_path(path: PurePath) -> str | None:
    """Return which media the file of a path in a row holds; None if the row stores the path as text."""
    suffix = _suffix(path.name)
    return _MEDIA_OF[suffix] if suffix in _READ_FROM_PATHS else None


def is_compressed(name: str) -> bool:
    """Whether deflate would only make a file of this name slower to write and to read."""
    return _suffix(name) in _COMPRESSED


def _suffix(name: str) -> str:
    return PurePath(name).suffix[1:].lower()
