"""Merges metadata into the front matter of a README.md."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from hubspool.client.front_matter import FrontMatter
from hubspool.client.http import HubClient
from hubspool.client.target import Target
from hubspool.errors import HFValidationError, RemoteEntryNotFoundError


def fetch_readme(client: HubClient, target: Target) -> str:
    """Return the README.md of a revision; a title where there is none.

    Raises:
        HFValidationError: a Space has none.
    """
    try:
        content = client.content(target.file_url("README.md"))
    except RemoteEntryNotFoundError:
        if target.repo_type == "space":
            raise HFValidationError(
                f"The Space {target.repo_id} has no README.md.", hint="Upload one with the Space's settings first."
            ) from None
        return f"# {target.repo_id.rpartition('/')[2]}\n"
    return content.decode()


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
    front = FrontMatter(text)
    for key, value in metadata.items():
        known = front.fields.get(key)
        if key == "model-index":
            merged = _merge_results(known, value, name, overwrite=overwrite)
        elif known is None or known == value or overwrite:
            merged = value
        else:
            raise _differs(repr(key))
        if key not in front.fields or merged != known:
            front.set(key, merged)
    return front.render() or text


def _merge_results(
    known: list[dict[str, Any]] | None, given: list[dict[str, Any]], name: str, *, overwrite: bool
) -> list[dict[str, Any]]:
    """Merge ``model-index``: one model, its results, and their metrics, which are one if all but the value is equal."""
    index = deepcopy(known) or [{"name": given[0].get("name", name)}]
    results = index[0].setdefault("results", [])
    for new in given[0].get("results", []):
        same = next((result for result in results if _without(result, "metrics") == _without(new, "metrics")), None)
        if same is None:
            results.append(new)
            continue
        metrics = same.setdefault("metrics", [])
        for metric in new.get("metrics", []):
            old = next((each for each in metrics if _identity(each) == _identity(metric)), None)
            if old is None:
                metrics.append(metric)
            elif old.get("value") != metric.get("value") and not overwrite:
                raise _differs(f"metric {metric.get('name') or metric.get('type')!r}")
            else:
                old.update(metric)
    return index


def _identity(metric: Mapping[str, Any]) -> dict[str, Any]:
    return _without(metric, "value", "verified", "verifyToken")


def _without(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in keys}


def _differs(what: str) -> HFValidationError:
    return HFValidationError(f"README.md has another value for {what}.", hint="Pass overwrite=True to replace it.")
