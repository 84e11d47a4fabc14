"""Reads the scalars of TensorBoard's event files, and lays them out as charts.

The format is that of TFRecord (see `hubspool.push.tfrecord`) around protocol buffers; of these, only the fields of
scalars are read: https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/summary.proto
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.storage.varint import read_varint

_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 630, 10, 190  # of the plot in a drawing of 640 by 220
Points = list[tuple[int, float]]


@dataclass(frozen=True)
class Chart:
    """A curve over steps, in the coordinates of a drawing of 640 by 220.

    Attributes:
        ticks_x, ticks_y: numbers on the axes, as text, and where they are.
        points: as SVG writes them.
        steps: the first and the last step, as text.
    """

    tag: str
    count: int
    last: str
    steps: str
    ticks_x: list[tuple[str, float]]
    ticks_y: list[tuple[str, float]]
    points: str


def charts(content: bytes) -> list[Chart]:
    """Return a chart for each of the first scalars; a file that breaks off is read up to there."""
    found: dict[str, Points] = {}
    try:
        for event in _records(content):
            for tag, step, value in _scalars(event):
                if math.isfinite(value) and (tag in found or len(found) < LIMITS.preview_charts):
                    found.setdefault(tag, []).append((step, value))
    except (struct.error, IndexError, UnicodeDecodeError):
        pass  # damaged from here on
    return [_chart(tag, points) for tag, points in sorted(found.items())]


def _records(content: bytes) -> Iterator[bytes]:
    position = 0
    while position + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        end = position + 12 + length
        if end > len(content):
            return
        yield content[position + 12 : end]
        position = end + 4


def _scalars(event: bytes) -> Iterator[tuple[str, int, float]]:
    fields = list(_fields(event))
    step = next((value for number, value in reversed(fields) if number == 2 and isinstance(value, int)), 0)
    for summary in (value for number, value in fields if number == 5 and isinstance(value, bytes)):
        for number, value in _fields(summary):
            if number == 1 and isinstance(value, bytes):
                members = dict(_fields(value))
                tag, scalar = members.get(1), members.get(2)
                if scalar is None and isinstance(tensor := members.get(8), bytes):
                    values = dict(_fields(tensor))
                    scalar = values.get(5, values.get(4))
                if isinstance(tag, bytes) and isinstance(scalar, bytes) and len(scalar) == 4:
                    yield tag.decode(), step, struct.unpack("<f", scalar)[0]


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protocol buffer: whole numbers, and the bytes of everything else."""
    position = 0
    while position < len(message):
        key, position = read_varint(message, position)
        if key & 7 in (1, 5):
            size = 8 if key & 7 == 1 else 4
        else:
            size, position = read_varint(message, position)
        if key & 7 == 0:
            yield key >> 3, size
        else:
            yield key >> 3, message[position : position + size]
            position += size


def _chart(tag: str, points: Points) -> Chart:
    x, x_low, x_high = _axis([float(step) for step, _ in points])
    y, y_low, y_high = _axis([value for _, value in points])

    def place_x(step: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (step - x_low) / (x_high - x_low), 1)

    def place_y(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (value - y_low) / (y_high - y_low), 1)

    shown = points[:: math.ceil(len(points) / LIMITS.preview_points)]
    return Chart(
        tag,
        len(points),
        f"{points[-1][1]:.4g}",
        f"{points[0][0]:,} to {points[-1][0]:,}",
        [(f"{tick:.6g}", place_x(tick)) for tick in x],
        [(f"{tick:.6g}", place_y(tick)) for tick in y],
        " ".join(f"{place_x(step)},{place_y(value)}" for step, value in shown),
    )


def _axis(values: list[float]) -> tuple[list[float], float, float]:
    """Return round numbers in the range of values, and the range."""
    low, high = min(values), max(values)
    if low == high:
        margin = abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    ticks = [number * step for number in range(first, first + 12) if number * step <= high + step * 1e-9]
    return ticks, low, high
