"""Whole numbers as git's packs and protocol buffers write them: seven bits a byte, the lowest ones first."""

from __future__ import annotations

from mmap import mmap


def read_varint(data: bytes | mmap, position: int) -> tuple[int, int]:
    """Return the number that begins at a position, and the position behind it.

    Raises:
        IndexError: The data ends within the number, or it has more than 10 bytes.
    """
    number = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
    raise IndexError("a number of more than 10 bytes")
