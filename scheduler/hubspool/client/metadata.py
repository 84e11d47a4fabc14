"""The front matter of a README.md: reads it, merges fields into it, keeps its comments and the text below it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from hubspool.client.http import HubClient
from hubspool.client.target import Target
from hubspool.errors import HFValidationError, RemoteEntryNotFoundError

_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
#: Strings that are a boolean or a number in YAML 1.1, which PyYAML and so `datasets` read, but not in YAML 1.2.
_NOT_A_STRING_IN_YAML_1_1 = re.compile(r"(?:yes|no|on|off)|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", re.I)


def fetch_readme(client: HubClient, target: Target) -> str:
    """Return the README.md of a revision; a title where there is none.

    Raises:
        HFValidationError: a Space has none.
    """
    try:
        answer = client.request("GET", target.file_url("README.md"))
    except RemoteEntryNotFoundError:
        if target.repo_type == "space":
            raise HFValidationError(
                f"The Space {target.repo_id} has no README.md.", hint="Upload one with the Space's settings first."
            ) from None
        return f"\n# {target.repo_id.rpartition('/')[2]}\n"
    return answer.content.decode()


def merge_metadata(text: str, metadata: Mapping[str, Any], name: str, *, overwrite: bool) -> str:
    """Return a README.md with `metadata` in its front matter; comments, the order of keys and the text are kept.

    Args:
        text: the README.md.
        metadata: fields to set.
        name: the model's name, used if ``model-index`` has none.
        overwrite: replace values that exist and differ.

    Raises:
        HFValidationError: a value exists and differs, or the front matter is not a YAML mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # long lines stay one line
    found = _FRONT_MATTER.match(text)
    try:
        fields = yaml.load(found[1]) if found else None
    except (YAMLError, ValueError) as error:  # a date with a 13th month is a ValueError
        raise HFValidationError(f"The front matter of README.md is not YAML: {error}.", path="README.md") from None
    fields = {} if fields is None else fields
    if not isinstance(fields, dict):
        raise HFValidationError("The front matter of README.md is not a mapping.", path="README.md")
    for key, value in _for_yaml_1_1(metadata).items():
        if key == "model-index":
            _merge_results(fields, value, name, overwrite=overwrite)
        elif key not in fields or fields[key] != value:
            if fields.get(key) is not None and not overwrite:
                raise _differs(repr(key))
            fields[key] = value
    front = io.StringIO()
    yaml.dump(fields, front)
    return f"---\n{front.getvalue()}---\n{text[found.end() :] if found else text}"


def _for_yaml_1_1(value: Any) -> Any:
    """Return a copy whose strings are quoted where YAML 1.1 would take them for another type."""
    from ruamel.yaml.scalarstring import SingleQuotedScalarString

    if isinstance(value, Mapping):
        return {_for_yaml_1_1(key): _for_yaml_1_1(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_for_yaml_1_1(each) for each in value]
    if isinstance(value, str) and _NOT_A_STRING_IN_YAML_1_1.fullmatch(value):
        return SingleQuotedScalarString(value)
    return value


def _merge_results(fields: dict[str, Any], given: list[dict[str, Any]], name: str, *, overwrite: bool) -> None:
    """Merge ``model-index``: one model, its results, and their metrics, which are one if all but the value is equal."""
    if not fields.get("model-index"):
        fields["model-index"] = [{"name": given[0].get("name", name)}]
    results = fields["model-index"][0].setdefault("results", [])
    for new in given[0].get("results", []):
        same = next((result for result in results if _without(result, "metrics") == _without(new, "metrics")), None)
        if same is None:
            results.append(new)
            continue
        metrics = same.setdefault("metrics", [])
        for metric in new.get("metrics", []):
            known = next((m for m in metrics if _identity(m) == _identity(metric)), None)
            if known is None:
                metrics.append(metric)
            elif known.get("value") != metric.get("value") and not overwrite:
                raise _differs(f"metric {metric.get('name') or metric.get('type')!r}")
            else:
                known.update(metric)


def _identity(metric: Mapping[str, Any]) -> dict[str, Any]:
    return _without(metric, "value", "verified", "verifyToken")


def _without(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in keys}


def _differs(what: str) -> HFValidationError:
    return HFValidationError(f"README.md has another value for {what}.", hint="Pass overwrite=True to replace it.")
