"""Which rows are to be removed everywhere (`hubspool forget`): a file on the Hub for each request, for all replicas.

Such a file never holds the value: it has a random salt, and the SHA-256 of salt, key and value. Who knows or guesses
the value can check that it was removed; nobody can read it there.
"""

from __future__ import annotations

import logging
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson

from hubspool.push.encodings import UNFIT
from hubspool.push.remote import RemoteRepo
from hubspool.spool.segment_name import RECORDS

logger = logging.getLogger(__name__)

#: How far the clocks of replicas may be ahead of the Hub's.
_CLOCKS = timedelta(hours=2)

#: What the form of a text begins with, and that of any other value.
_TEXT, _JSON = "t", "j"
#: Folder of the removals in the repository.
REMOVALS = f"{RECORDS}/forget"


@dataclass(frozen=True)
class Removal:
    """Rows that are to be removed, as a file on the Hub says; or as a function of this program says, without a file.

    Args:
        path: of the file; for a function a random name.
        at: when it was asked for, as the Hub's clock says. Rows of segments that begin on a later day (UTC) stay.
        salt: of the digests.
        where: key → digests of the values that it may have; a row matches if all its keys do.
        is_checked: the second look, an hour later, was made.
        chooses: returns True for a row that is to be removed; None if `where` decides.
        content_id: of the file.
    """

    path: str
    at: datetime
    salt: str = ""
    where: Mapping[str, frozenset[str]] | None = None
    is_checked: bool = False
    chooses: Callable[[Mapping[str, Any]], bool] | None = None
    content_id: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any], at: datetime) -> Removal:
        """Return the removal of the rows that have all these values.

        Args:
            values: key → value. A text that is JSON (`5`, `true`) also means that JSON value; a list has its items.
            at: now, as the Hub's clock says.
        """
        salt = secrets.token_hex(16)
        where = {key: frozenset(_digest(salt, key, form) for form in _forms(value)) for key, value in values.items()}
        return cls(f"{REMOVALS}/{at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}.json", at, salt, where)

    @classmethod
    def by(cls, chooses: Callable[[Mapping[str, Any]], bool], at: datetime) -> Removal:
        """Return the removal of the rows for which a function returns True."""
        return cls(uuid.uuid4().hex, at, chooses=chooses)

    @classmethod
    def read_all(cls, at: RemoteRepo, known: Mapping[str, Removal]) -> dict[str, Removal]:
        """Return path → removal, for all in the repository; `known` are those that were read before."""
        found = {}
        for path, file in at.list_files(REMOVALS).items():
            if path in known and known[path].content_id == file.content_id:
                found[path] = known[path]
                continue
            try:
                found[path] = replace(cls.parse(path, at.content(path)), content_id=file.content_id)
            except (ValueError, KeyError, TypeError, AttributeError) as error:  # rows must not wait for it
                logger.warning("%s is damaged, and removes nothing: %r", path, error)
        return found

    @classmethod
    def parse(cls, path: str, content: bytes) -> Removal:
        """Return the removal that a file on the Hub holds.

        Raises:
            ValueError: it is damaged.
        """
        found = orjson.loads(content)
        where = {key: frozenset(digests) for key, digests in found["where"].items()}
        return cls(path, datetime.fromisoformat(found["at"]), found["salt"], where, found["checked"])

    def content(self) -> bytes:
        """Return the content of its file."""
        where = {key: sorted(digests) for key, digests in (self.where or {}).items()}
        fields = {"at": self.at.isoformat(), "salt": self.salt, "where": where, "checked": self.is_checked}
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Return True if a row is to be removed.

        Raises:
            RuntimeError: the function that chooses raised an error.
        """
        if self.chooses is not None:
            try:
                return bool(self.chooses(row))
            except Exception as error:
                what = f"{error!r} for a row with the columns {', '.join(map(str, row))}"
                raise RuntimeError(f"The function given to forget() raised {what}.") from error
        return any(self._has_all(each) for each in _versions(row)) if self.where else False

    def _has_all(self, row: Mapping[str, Any]) -> bool:
        return all(
            any(_digest(self.salt, key, _form(value)) in digests for value in _values(row, key))
            for key, digests in (self.where or {}).items()
        )

    def reaches(self, day: date) -> bool:
        """Return True if a segment that began on this day may have rows of before the request; clocks may differ."""
        return day <= (self.at + _CLOCKS).date()

    def is_due(self, now: datetime, seconds: float) -> bool:
        """Return True if the second look is to be made, `seconds` after the first: no commit of before can land."""
        return not self.is_checked and now >= self.due_at(seconds)

    def due_at(self, seconds: float) -> datetime:
        """Return the time of the second look."""
        return self.at + timedelta(seconds=seconds)


def _versions(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a row, and the row that is kept in it as text because its format could not store it."""
    yield row
    if isinstance(text := row.get(UNFIT), str) and isinstance(kept := _read(text), dict):
        yield kept


def _values(row: Mapping[str, Any], key: str) -> Iterator[Any]:
    """Yield what a row has at a key: at the key itself, inside a row of a row for a key with dots, and in lists."""
    for name in (key, f"{key}{UNFIT}"):
        if name in row:
            yield from _items(row[name])
    first, dot, rest = key.partition(".")
    for inner in _items(row.get(first)) if dot else ():
        if isinstance(inner, Mapping):
            yield from _values(inner, rest)


def _items(value: Any) -> Iterator[Any]:
    """Yield a value, and if it is a list also what is in it."""
    yield value
    for item in value if isinstance(value, list) else ():
        yield from _items(item)


def _forms(value: Any) -> set[str]:
    """Return the forms of the values that are meant by one: text also means the JSON in it, and JSON also its text."""
    form = _form(value)
    if not isinstance(value, str):
        return {form, _TEXT + form[1:]}
    with suppress(orjson.JSONDecodeError):
        return {form, _form(orjson.loads(value))}
    return {form}


def _form(value: Any) -> str:
    """Return a value as text, with a mark: the text "1.0" is another value than the number, which equals 1."""
    if isinstance(value, str):  # a column that became text has text as JSON
        text = _read(value) if value[:1] == '"' else None
        return _TEXT + (text if isinstance(text, str) else value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        text = orjson.dumps(value, str, orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        text = str(value)
    return _form(text) if text[:1] == '"' else _JSON + text  # a time, for example, is text


def _read(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _digest(salt: str, key: str, form: str) -> str:
    return sha256(f"{salt}\0{key}\0{form}".encode()).hexdigest()
