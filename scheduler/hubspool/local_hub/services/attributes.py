"""The LFS rules of `.gitattributes` files."""

from __future__ import annotations

import re

from hubspool.local_hub.services.patterns import MatchBudget, PathPattern

LFS = "filter=lfs diff=lfs merge=lfs -text"
_COMMON = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* {more}*.mlmodel *.model *.msgpack *.npy *.npz "
    "*.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite "
    "*.tgz *.wasm *.xz *.zip *.zst *tfevents*"
)
_MEDIA = {
    "Audio files - uncompressed": "*.pcm *.sam *.raw",
    "Audio files - compressed": "*.aac *.flac *.mp3 *.ogg *.wav",
    "Image files - uncompressed": "*.bmp *.gif *.png *.tiff",
    "Image files - compressed": "*.jpg *.jpeg *.webp",
    "Video files - compressed": "*.mp4 *.webm",
}
_SPECIAL = re.compile(r"[*?\[]")


def default_attributes(repo_type: str) -> str:
    """Return the `.gitattributes` of a new repository of this type, as the Hub writes it."""
    lines = [f"{glob} {LFS}" for glob in _COMMON.format(more="*.lz4 *.mds " * (repo_type == "dataset")).split()]
    if repo_type == "dataset":
        for title, globs in _MEDIA.items():
            lines += [f"# {title}", *(f"{glob} {LFS}" for glob in globs.split())]
    return "\n".join(lines) + "\n"


def lfs_rule(path: str) -> str:
    """Return the line that puts exactly this path into LFS."""
    escaped = re.sub(r"([*?\[\]\\])", r"\\\1", path)
    if escaped[0] in '!#"':
        escaped = "\\" + escaped
    return f"{re.sub(r'[ ]', '[[:space:]]', escaped)} {LFS}"


class GitAttributes:
    """The LFS rules of one `.gitattributes`; the last line that matches a path decides.

    Ignores rules of `.gitattributes` files in folders. A repository can have thousands of rules for one path each
    (the Hub writes them), so those are looked up in a dictionary and only patterns are tried in turn.
    """

    def __init__(self, text: str) -> None:
        self._literals: dict[str, tuple[int, bool]] = {}  # a name, or a path that begins with a slash
        self._globs: list[tuple[int, bool, PathPattern]] = []
        for order, line in enumerate(text.splitlines()):
            pattern, *attributes = line.split() or ("#",)
            lfs = _lfs_value(attributes)
            if pattern.startswith("#") or lfs is None:
                continue
            literal = _literal(pattern)
            if literal is not None:
                self._literals["/" + literal.lstrip("/") if "/" in literal else literal] = (order, lfs)
            else:
                self._globs.append((order, lfs, PathPattern(pattern)))

    def is_lfs(self, path: str, budget: MatchBudget) -> bool:
        """Whether `filter=lfs` applies to a path.

        Raises:
            ApiError: as `MatchBudget.spend`.
        """
        no_rule = (-1, False)
        name = path.rpartition("/")[2]
        order, lfs = max(self._literals.get(key, no_rule) for key in (f"/{path}", name))
        for glob_order, glob_lfs, pattern in reversed(self._globs):
            if glob_order < order:
                break
            if not pattern.folders_only and pattern.match(path, budget):
                return glob_lfs
        return lfs


def _lfs_value(attributes: list[str]) -> bool | None:
    """Return True for filter=lfs, False for another filter or none, None if the line has no word about filters."""
    filters = [each for each in attributes if each in ("-filter", "!filter") or each.startswith("filter=")]
    return filters[-1] == "filter=lfs" if filters else None


def _literal(pattern: str) -> str | None:
    """Return the path that a pattern without wildcards matches, or None if it has wildcards."""
    plain = pattern.replace("[[:space:]]", " ")
    unescaped = re.sub(r"\\(.)", "", plain)
    return None if _SPECIAL.search(unescaped) else re.sub(r"\\(.)", r"\1", plain)
