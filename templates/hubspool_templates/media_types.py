"""The one table of file name suffixes: which media a file holds, and which files are compressed already."""

from __future__ import annotations

from pathlib import PurePath

_SUFFIXES = {
    "image": "apng avif bmp gif heic heif ico jfif jpe jpeg jpg jxl png ppm svg tga tif tiff webp",
    "audio": "aac aif aiff flac m4a mp3 oga ogg opus wav wma",
    "video": "avi m4v mkv mov mp4 mpeg mpg webm",
}
#: The media, named as their features in a dataset card.
MEDIA = frozenset(_SUFFIXES)
#: A common suffix of each media.
COMMON_SUFFIX = {"image": "png", "audio": "wav", "video": "mp4"}
_MEDIA_OF = {suffix: media for media, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_UNCOMPRESSED = frozenset({"aif", "aiff", "bmp", "ico", "ppm", "svg", "tga", "tif", "tiff", "wav"})
_OTHERS = frozenset({"7z", "br", "bz2", "gz", "parquet", "rar", "xz", "zip", "zst"})
_COMPRESSED = (_MEDIA_OF.keys() - _UNCOMPRESSED) | _OTHERS


def media_of(name: str) -> str | None:
    """Return which media a file of this name holds; None for another file."""
    return _MEDIA_OF.get(_suffix(name))


def is_compressed(name: str) -> bool:
    """Whether deflate would only make a file of this name slower to write and to read."""
    return _suffix(name) in _COMPRESSED


def _suffix(name: str) -> str:
    return PurePath(name).suffix[1:].lower()
