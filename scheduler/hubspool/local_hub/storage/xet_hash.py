"""The hashes of Xet: of a chunk, a xorb, a file, and the proof that an uploader knows the chunks that it names.

All are BLAKE3 with a key that the protocol fixes. Pure functions.

Source: the Xet protocol specification of the Hub's documentation, and what hf_xet sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from blake3 import blake3

from hubspool.local_hub.identifiers import hash_to_text

#: The hash and the unpacked size of one chunk, or of a node above chunks.
Node = tuple[bytes, int]

_CHUNK_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
_NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
_PROOF_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
_NO_KEY = bytes(32)
_MIN_CHILDREN, _MAX_CHILDREN, _MEAN_CHILDREN = 2, 9, 4


def chunk_hash(content: bytes) -> bytes:
    return blake3(content, key=_CHUNK_KEY).digest()


def xorb_hash(chunks: Sequence[Node]) -> bytes:
    """Return the root of the tree above these chunks: the name of the xorb that holds them."""
    level = list(chunks)
    while len(level) > 1:
        level = [_parent(children) for children in _groups(level)]
    return level[0][0] if level else bytes(32)


def _groups(level: list[Node]) -> Iterable[list[Node]]:
    group: list[Node] = []
    for node in level:
        group.append(node)
        ends = len(group) > _MIN_CHILDREN and int.from_bytes(node[0][24:], "little") % _MEAN_CHILDREN == 0
        if ends or len(group) == _MAX_CHILDREN:
            yield group
            group = []
    if group:
        yield group


def _parent(children: list[Node]) -> Node:
    lines = "".join(f"{hash_to_text(name)} : {size}\n" for name, size in children)
    return blake3(lines.encode(), key=_NODE_KEY).digest(), sum(size for _, size in children)


def file_hash(chunks: Sequence[Node]) -> bytes:
    """Return the name of the file that consists of these chunks."""
    return blake3(xorb_hash(chunks), key=_NO_KEY).digest() if chunks else bytes(32)


def proof(chunks: Iterable[Node]) -> bytes:
    """Return what a shard must give with each run of chunks: only who has the chunks knows all their hashes."""
    return blake3(b"".join(name for name, _ in chunks), key=_PROOF_KEY).digest()


def keyed(chunk: bytes, key: bytes) -> bytes:
    """Return a chunk's hash as a deduplication answer tells it: known to those alone who have the chunk."""
    return blake3(chunk, key=key).digest()
