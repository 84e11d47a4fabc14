"""What `hubspool compact` and `hubspool verify` need of the formats and the card of the ready-made schedulers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hubspool.extending import Joiner
from hubspool_templates.archive.zip_joiner import ZipJoiner
from hubspool_templates.card import Card
from hubspool_templates.parquet.parquet_joiner import ParquetJoiner

JOINERS: dict[str, type[Joiner]] = {"parquet": ParquetJoiner, "zip": ZipJoiner}


def configs_of(text: str | None) -> list[tuple[str, frozenset[str], Callable[[str], bool], Callable[[str], bool]]]:
    """Return the configs of a README.md: name, columns, whether it loads a file, whether by a scheduler's pattern.

    The columns are empty where the card has none.

    Raises:
        HFValidationError: a person has to repair the card.
    """
    card = Card(text)
    return [
        (name, frozenset(each["name"] for each in card.features(name)), partial(card.loads, name),
         partial(card.loads, name, ours=True))
        for name in card.configs or ["default"]
    ]  # fmt: skip
