"""What a dataset held before our first commit: the form of its files, their splits, and whether our columns fit.

`datasets` decides on all of these from the names of the files, unless the card names the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import orjson

from hubspool_templates.media_types import media_of
from hubspool_templates.schema import FieldType, Given, Learner, ListOf, Schema

#: Form → suffixes of its files; for each form `datasets` has a reader, and a repository has one form.
_FORMS = {
    "JSON": "json jsonl ndjson", "Parquet": "parquet geoparquet gpq", "CSV": "csv tsv", "text": "txt", "Arrow": "arrow",
    "zip": "zip", "WebDataset": "tar", "XML": "xml", "HDF5": "h5 hdf5", "PDF": "pdf",
}  # fmt: skip
_FORM_OF = {suffix: form for form, suffixes in _FORMS.items() for suffix in suffixes.split()}
#: The class that continues a form.
SCHEDULERS = {"JSON": "JsonlScheduler", "Parquet": "ParquetScheduler", "zip": "ZipScheduler"}
_NO_DATA = {"config.json", "dataset_info.json", "dataset_infos.json", "dummy_data.zip", "dataset_dict.json"}
_METADATA = {"metadata.csv", "metadata.jsonl", "metadata.parquet"}
_SHARD = re.compile(r"data/([^/]*)-\d{5}-of-\d{5}[^/]*\.[^/]*")
#: Split → words in the name of a file, or of a folder, that put it there.
_WORDS = {"train": "train|training", "validation": "validation|valid|dev|val", "test": "test|testing|eval|evaluation"}
_BEFORE, _BEHIND = r"(?:.*/)?(?:[^/]*[-._ 0-9])?", r"[-._ 0-9][^/]*"


def form_of(paths: Iterable[str]) -> str | None:
    """Return the form that `datasets` reads these files as: the most frequent one, Parquet before others."""
    found = [(path, form) for path in paths for form in _forms_of(path)]
    counted = [form for path, form in found if path.rpartition("/")[2] not in _METADATA] or [form for _, form in found]
    return max(counted, key=lambda form: (counted.count(form), form == "Parquet", form == "JSON"), default=None)


def _forms_of(path: str) -> list[str]:
    name = path.rpartition("/")[2].lower()
    if name in _NO_DATA or any(part.startswith((".", "__")) for part in path.split("/")):
        return []
    media = media_of(name)
    return [_FORM_OF[part] for part in name.split(".")[1:] if part in _FORM_OF] or ([media] if media else [])


def splits_of(paths: Collection[str]) -> dict[str, list[str]]:
    """Return split → files, as `datasets` finds them where the card names none; files of other forms are left out."""
    form = form_of(paths)
    files = sorted(path for path in paths if form in _forms_of(path))
    rules: list[Callable[[str], list[str]]] = [
        lambda path: [m[1]] if (m := _SHARD.fullmatch(path)) else [],
        lambda path: [s for s, w in _WORDS.items() if re.fullmatch(f"{_BEFORE}(?:{w})(?:{_BEHIND})?/.*", path)],
        lambda path: [s for s, w in _WORDS.items() if re.fullmatch(f"{_BEFORE}(?:{w}){_BEHIND}", path)],
        lambda _: ["train"],
    ]
    for rule in rules:
        found: dict[str, list[str]] = {}
        for path in files:
            for split in rule(path):
                found.setdefault(split, []).append(path)
        if found:
            break
    return found


def patterns_of(split: str, files: Sequence[str], others: Iterable[str]) -> list[str]:
    """Return patterns that match these files and none of `others`, which may be globs.

    A file that another writer adds later under such a name (``data/train-….jsonl``) should load too.
    """
    others, found, left = list(others), [], list(files)
    for folder, suffix in sorted({(path.rpartition("/")[0], path.rpartition(".")[2]) for path in files}):
        glob = f"{folder}/{split}-*.{suffix}".removeprefix("/")
        if any(covers(glob, path) for path in files) and not any(covers(glob, path) for path in others):
            found.append(glob)
            left = [path for path in left if not covers(glob, path)]
    return [*found, *(re.sub(r"[*?\[]", r"[\g<0>]", path) for path in left)]


def covers(pattern: str, path: str) -> bool:
    """Whether the glob `pattern` matches a file, or the files of the glob `path`, as `datasets` reads globs."""
    sample = path.replace("[0-9]", "0").replace("*", "x")
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = re.sub(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", lambda m: words.get(m[0]) or _literal(m[0]), pattern)
    return re.fullmatch(expression, sample) is not None


def _literal(text: str) -> str:
    return text.replace("[!", "[^", 1) if len(text) > 1 else re.escape(text)


def columns_of_lines(path: Path) -> Schema:
    """Return the columns of a file of JSON lines.

    Raises:
        ValueError, AttributeError: a line is no JSON object.
    """
    learner = Learner()
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                learner.add(orjson.loads(line))
    return learner.schema


def is_one_schema(known: Schema, new: Schema, widenable: frozenset[str]) -> bool:
    """Whether rows of both load from one config with the values that they have: no number becomes text."""
    if not known.fields or not new.fields:
        return True
    merged = known.merge(new, widenable=widenable)
    is_shared = bool(known.fields.keys() & new.fields.keys())
    return is_shared and _keeps(known, merged) and _keeps(new, merged, in_json=True)


def _keeps(kind: FieldType, merged: FieldType, *, in_json: bool = False) -> bool:
    """Whether a column of type `merged` gives values of type `kind` back as they were."""
    if isinstance(kind, Schema) and isinstance(merged, Schema):
        return all(_keeps(inner, merged.fields[name], in_json=in_json) for name, inner in kind.fields.items())
    if isinstance(kind, ListOf) and isinstance(merged, ListOf):
        return _keeps(kind.item, merged.item, in_json=in_json)
    if kind in ("null", merged) or isinstance(merged, Given):
        return True
    before, after = (
        re.sub(r"^u|^large_|[\d\[ ].*", "", each) if isinstance(each, str) else "" for each in (kind, merged)
    )
    return (in_json and after == "json") or (before == after != "") or (before, after) == ("int", "float")
