"""The two libraries that the arena compares, and sample texts on which they mostly differ."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass

from anyascii import anyascii
from text_unidecode import unidecode

SAMPLES = {
    "Amharic": "ሰላም ለዓለም",
    "Arabic": "مرحبا بالعالم",
    "Chinese": "北京欢迎你",
    "Georgian": "გამარჯობა, როგორ ხარ?",
    "Greek": "Καλημέρα κόσμε, ευχαριστώ!",
    "Hindi": "आपका स्वागत है",
    "Japanese": "こんにちは世界",
    "Korean": "안녕하세요 세계",
    "Russian": "Съешь ещё этих мягких булок",
    "Thai": "สวัสดีชาวโลก",
}
LIBRARIES = {"anyascii": anyascii, "text-unidecode": unidecode}


@dataclass(frozen=True)
class Pair:
    """Two romanisations of one text, in the order on the page."""

    output_1: str
    output_2: str

    @property
    def agree(self) -> bool:
        """Whether both look the same on a page, so that there is nothing to choose."""
        return self.output_1.strip() == self.output_2.strip()


def romanise(text: str, *, swapped: bool = False) -> Pair:
    """Both romanisations of `text`, text-unidecode first if `swapped`."""
    first, second = (library(text) for library in LIBRARIES.values())
    return Pair(second, first) if swapped else Pair(first, second)


def script_of(text: str) -> str:
    """The script of most letters, by the first word of their Unicode names."""
    names = Counter(unicodedata.name(char, "OTHER").split()[0].split("-")[0] for char in text if char.isalpha())
    found = names.most_common(1)[0][0].title() if names else "Other"
    return "Chinese" if found == "Cjk" else found


def winner_of(text: str, output_1: str, output_2: str, choice: int) -> str | None:
    """The library of the chosen result; None if the two libraries do not give these results."""
    better = Pair(output_1, output_2) if choice == 1 else Pair(output_2, output_1)
    results = romanise(text), romanise(text, swapped=True)
    return None if better.agree else dict(zip(results, LIBRARIES, strict=True)).get(better)
