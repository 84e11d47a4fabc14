"""A decoder for LZ4 frames, the compression of Xet chunks.

For Hubs without pyarrow, whose decoder is faster: neither that nor `lz4` is worth a dependency of the local Hub for
60 lines. Running hf_xet against our own CAS was the other way; it kept large content twice and made requests to
itself. Format: the LZ4 frame and block format documents. Checksums are skipped: the caller verifies the sha256 of the
whole file.
"""

from __future__ import annotations

MAGIC = b"\x04\x22\x4d\x18"


def decompress(data: bytes) -> bytes:
    """The content of one frame.

    Raises:
        ValueError: It is not a whole LZ4 frame.
    """
    if data[:4] != MAGIC or len(data) < 7:
        raise ValueError("not an LZ4 frame")
    flags = data[4]
    has_block_checksum, has_size, has_dictionary = flags & 0x10, flags & 0x08, flags & 0x01
    position = 4 + 2 + (8 if has_size else 0) + (4 if has_dictionary else 0) + 1
    out = bytearray()
    try:
        while header := int.from_bytes(data[position : position + 4], "little"):
            size = header & 0x7FFFFFFF
            position += 4
            block = data[position : position + size]
            if len(block) != size:
                raise ValueError("an LZ4 block is cut short")
            if header & 0x80000000:
                out += block
            else:
                _decode_block(block, out)
            position += size + (4 if has_block_checksum else 0)
    except IndexError:
        raise ValueError("an LZ4 block is cut short") from None
    return bytes(out)


def _decode_block(block: bytes, out: bytearray) -> None:
    """Append the block's content to `out`; matches may reach back into earlier blocks."""
    position, end = 0, len(block)
    while position < end:
        token = block[position]
        position += 1
        length = token >> 4
        if length == 15:
            while (more := block[position]) == 255:
                length += 255
                position += 1
            length += more
            position += 1
        out += block[position : position + length]
        position += length
        if position >= end:  # the last sequence has literals only
            return
        offset = block[position] | block[position + 1] << 8
        position += 2
        length = token & 15
        if length == 15:
            while (more := block[position]) == 255:
                length += 255
                position += 1
            length += more
            position += 1
        length += 4
        start = len(out) - offset
        if offset == 0 or start < 0:
            raise ValueError("an LZ4 match points outside the content")
        if offset >= length:
            out += out[start : start + length]
        else:  # the match overlaps what it writes: it repeats its first `offset` bytes
            out += (out[start:] * (length // offset + 1))[:length]
