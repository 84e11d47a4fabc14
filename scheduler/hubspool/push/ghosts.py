"""Ghosts: files at paths of parts that were joined. Which of them may be deleted: all of whose rows are elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from hubspool.files import new_blob_hash
from hubspool.push import rules
from hubspool.push.manifest import HeldPart, Manifests
from hubspool.push.part import Part
from hubspool.push.remote import NamedPart, RemoteFile, RepoReader
from hubspool.spool.segment_name import SegmentName


def removable_ghosts(
    reader: RepoReader, files: Iterable[RemoteFile], manifests: Manifests, named: Mapping[str, NamedPart]
) -> list[str]:
    """Return the paths of those ghosts that have no row which is nowhere else.

    A writer that knows the manifests sends what its ghost has beyond them in its next part; until then the ghost stays.
    One that knows no manifests (version 0.1) does not: `Compactor` takes the rows of its ghost into the joined file.
    Where it cannot (other formats than JSON Lines; a disk that was wiped before the next part was sent), the ghost
    stays. Where rows were removed on purpose, the ghost has them, and is deleted whatever else it has.

    Args:
        reader: of one commit.
        files: at paths that the manifests name.
        manifests: as of that commit.
        named: path of a part → what the newest commit says that names it.
    """
    return [file.path for file in files if not _has_tail(reader, file, manifests, named)]


def is_of_old_replica(file: RemoteFile, what: NamedPart | None) -> bool:
    """Return whether a file of lines was written by a replica that knows no manifests, whose commits name no parts."""
    return file.path.endswith(".jsonl") and (what is None or what.end - what.start != file.size)


def _has_tail(reader: RepoReader, file: RemoteFile, manifests: Manifests, named: Mapping[str, NamedPart]) -> bool:
    held, what = manifests.held(file.path), named.get(file.path)
    assert held is not None
    if what is not None and is_of_old_replica(file, what):
        what = None
    if file.content_id == held.digest or not held.is_whole:
        return False
    start = held.start if held.start is not None else what.start if what else None
    if what is None or start is None:  # no commit that names it is known
        return not file.path.endswith(".jsonl") or (file.size > held.size and _continues(reader, file, held))
    end = held.end(start)
    known = [Part("", 0, "", start, end, 0.0), *_beside(file.path, manifests, named)]
    is_elsewhere = all(stop <= end for _, stop in rules.missing(known, what.end))
    return not is_elsewhere and (not file.path.endswith(".jsonl") or _continues(reader, file, held))


def _beside(path: str, manifests: Manifests, named: Mapping[str, NamedPart]) -> Iterable[Part]:
    """Yield the ranges of the other parts of a segment, in the files of the branch and in joined ones."""
    segment = SegmentName.of_part(path.rpartition("/")[2])
    for other, part in named.items():
        if other != path and SegmentName.of_part(other.rpartition("/")[2]) == segment:
            yield Part("", 0, other, part.start, part.end, 0.0)
    for number, held in manifests.of_segment(str(segment)).items():
        if held.start is not None:
            yield Part("", number, "", held.start, held.end(held.start), 0.0)


def _continues(reader: RepoReader, file: RemoteFile, held: HeldPart) -> bool:
    """Return whether a file of lines begins with what was joined; otherwise a person had changed that before."""
    state = new_blob_hash(held.size) if len(held.digest) == 40 else sha256()
    state.update(reader.read(file.path, 0, held.size))
    return state.hexdigest() == held.digest
