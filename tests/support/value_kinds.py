"""One value of each class that rows take beside JSON's own, and what a row holds in its place."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd
import pydantic


class Pair(NamedTuple):
    left: int
    right: str


@dataclass
class Point:
    x: float
    tags: set[str]


class Colour(Enum):
    RED = "red"


class Model(pydantic.BaseModel):
    name: str
    size: int | None = None


class Tensor:
    """What rows use of a torch tensor."""

    def tolist(self) -> list[float]:
        return [0.5, 2.0]


class Variable:
    """What rows use of a TensorFlow tensor."""

    def numpy(self) -> Any:
        return np.array([[1], [2]], np.int32)


Kinds = list[tuple[Callable[[], Any], Any]]
#: Each value is made anew: an iterator can be read once.
SCALARS: Kinds = [
    (lambda: pd.NaT, None),
    (lambda: pd.NA, None),
    (lambda: np.datetime64("NaT"), None),
    (lambda: Decimal("1.10"), "1.10"),
    (lambda: Colour.RED, "red"),
    (lambda: UUID(int=5), str(UUID(int=5))),
    (lambda: Path("/a/b"), "/a/b"),
    (lambda: date(2026, 1, 2), "2026-01-02"),
    (lambda: time(1, 2, 3, 4), "01:02:03.000004"),
    (lambda: timedelta(minutes=1), 60.0),
    (lambda: pd.Timedelta("90s"), 90.0),
    (lambda: np.int8(3), 3),
    (lambda: np.float32(0.5), 0.5),
    (lambda: np.bool_(True), True),
    (lambda: np.str_("text"), "text"),
    (lambda: np.array(7), 7),
]
LISTS: Kinds = [
    (lambda: {2, 1}, [1, 2]),
    (lambda: frozenset("a"), ["a"]),
    (lambda: range(3), [0, 1, 2]),
    (lambda: deque([0.5]), [0.5]),
    (lambda: (n * 2 for n in range(3)), [0, 2, 4]),
    (lambda: OrderedDict(a=1).values(), [1]),
    (lambda: (1, 2.5), [1, 2.5]),
    (lambda: np.array([1, 2], ">i8"), [1, 2]),
    (lambda: np.array([[0.5], [1.5]], ">f4"), [[0.5], [1.5]]),
    (lambda: pd.Series([1, pd.NA], dtype="Int64"), [1, None]),
    (lambda: pd.Index(["a", "b"]), ["a", "b"]),
    (Tensor, [0.5, 2.0]),
    (Variable, [[1], [2]]),
]
RECORDS: Kinds = [
    (lambda: Pair(1, "a"), {"left": 1, "right": "a"}),
    (lambda: Point(1.5, {"b", "a"}), {"x": 1.5, "tags": ["a", "b"]}),
    (lambda: Model(name="m"), {"name": "m", "size": None}),
    (lambda: OrderedDict(left=2), {"left": 2}),
    (lambda: MappingProxyType({"x": np.float64(2.5)}), {"x": 2.5}),
    (lambda: {"left": None, "more": [{"y": 1}, {"z": "12"}]}, {"left": None, "more": [{"y": 1}, {"z": "12"}]}),
]
