"""Finds where a growing file of TFRecord records (TensorBoard's event files) can be cut.

Source of the format: https://www.tensorflow.org/tutorials/load_data/tfrecord (length as uint64, masked crc32c of the
length, data, masked crc32c of the data; little-endian).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from hubspool.files import open_regular

_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4
_BLANK = bytes(_FOOTER_BYTES)


def last_record_end(path: Path, start: int, size: int) -> int:
    """Return the last position in (start, size] at which a whole record ends; `start` if there is none.

    `start` must be 0 or the end of a record. Half a record or zeros, left by a power loss or kill -9, are never
    included; nor is anything after a damaged length, since no reader finds the next record. The checksum of the data is
    only verified if it reads as zeros.
    """
    position = start
    with open_regular(path) as file:
        file.seek(start)
        while (length := _length(file)) is not None:
            end = position + _HEADER.size + length + _FOOTER_BYTES
            if end > size:
                break
            file.seek(length, 1)
            if file.read(_FOOTER_BYTES) == _BLANK:
                file.seek(position + _HEADER.size)
                if _masked_crc(file.read(length)):
                    break
                file.seek(end)
            position = end
    return position


def begins_record(path: Path, position: int) -> bool:
    """Return True if a record begins at `position`; False if another tool has cut the file elsewhere."""
    with open_regular(path) as file:
        file.seek(position)
        return _length(file) is not None


def _length(file: BinaryIO) -> int | None:
    """Read the length of a record; None if it is incomplete or damaged."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    length, crc = _HEADER.unpack(header)
    return int(length) if crc == _masked_crc(header[:8]) else None


def _crc_table() -> list[int]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)  # noqa: PLW2901  the byte becomes its checksum
        table.append(crc)
    return table


_TABLE = _crc_table()


def _masked_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
