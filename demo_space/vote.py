"""Checks of texts: through the API a caller may send anything."""

from __future__ import annotations

from tab import refusal

TEXT_LIMIT = 2_000  # characters that a visitor may enter
OUTPUT_LIMIT = 20 * TEXT_LIMIT  # characters of one result; one character of the text can become many
LABEL_LIMIT = 100  # characters of a label


def check(input_text: str, output_1: str, output_2: str, user_choice: int) -> None:
    """Refuses a vote that would be a useless row."""
    limits = {"input_text": TEXT_LIMIT, "output_1": OUTPUT_LIMIT, "output_2": OUTPUT_LIMIT}
    for (name, limit), text in zip(limits.items(), (input_text, output_1, output_2), strict=True):
        if not isinstance(text, str) or not text.strip():
            raise refusal(f"{name} is empty: a vote needs the text and both results.")
        check_text(name, text, limit)
    if isinstance(user_choice, bool) or user_choice not in (1, 2):
        raise refusal(f"user_choice is {user_choice!r}: it must be 1 or 2.")


def check_label(what: str, label: str) -> str:
    """Returns a label without spaces around it; refuses one that is empty or too long."""
    if not (label := label.strip()):
        raise refusal(f"Please write {what}: the label is empty.")
    check_text("The label", label, LABEL_LIMIT)
    return label


def check_text(name: str, text: str, limit: int) -> None:
    """Refuses a text that is too long, or that no file can store."""
    if len(text) > limit:
        raise refusal(f"{name} has {len(text):,} characters; at most {limit:,} are allowed.")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise refusal(f"{name} holds half a character (a lone surrogate), which no file can store.")
