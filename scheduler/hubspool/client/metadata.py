"""The part of `HfApi` that changes the front matter of a README.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hubspool.client.operations import CommitOperationAdd
from hubspool.client.target import Target
from hubspool.client.uploads import CommitApi
from hubspool.errors import HFValidationError, ParentCommitMismatchError, RemoteEntryNotFoundError

_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_ATTEMPTS = 5


class MetadataApi(CommitApi):
    """Calls about metadata; see `hubspool.client.hf_api.HfApi`, which is what users make."""

    def metadata_update(
        self,
        repo_id: str,
        metadata: dict[str, Any],
        *,
        repo_type: str | None = None,
        overwrite: bool = False,
        token: str | bool | None = None,
        commit_message: str | None = None,
        commit_description: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        parent_commit: str | None = None,
    ) -> str:
        """Merge fields into the front matter of README.md, and return the address of the commit.

        A README.md that is missing is made, but not in a Space, which cannot be without one. Without `parent_commit`
        a README.md that somebody else changes at the same time is read again, up to five times.

        Args:
            metadata: Fields to set. Results in ``model-index`` are merged: a metric that is there gets a new value,
                others are added.
            overwrite: Replace values that are there and differ.

        Raises:
            HFValidationError: A value is there and differs, or the front matter is no YAML mapping.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            head = parent_commit or self.repo_info(repo_id, repo_type=repo_type, revision=revision, token=token).sha
            target = self._target(repo_id, repo_type, head)
            text = merged(self._readme(target, token), metadata, repo_id, overwrite=overwrite)
            try:
                info = self.create_commit(
                    repo_id,
                    [CommitOperationAdd("README.md", text.encode())],
                    commit_message=commit_message or "Update metadata with hubspool",
                    commit_description=commit_description,
                    token=token,
                    repo_type=repo_type,
                    revision=revision,
                    create_pr=create_pr,
                    parent_commit=parent_commit if create_pr else head,
                )
            except ParentCommitMismatchError:
                if parent_commit is not None or attempt == _ATTEMPTS:
                    raise
            else:
                return info.pr_url or info.commit_url
        raise AssertionError("every attempt returns or raises")

    def _readme(self, target: Target, token: str | bool | None) -> str:
        try:
            answer = self._client(token).request("GET", target.file_url("README.md"))
        except RemoteEntryNotFoundError:
            if target.repo_type == "space":
                raise HFValidationError(
                    f"The Space {target.repo_id} has no README.md.", hint="Upload one with the Space's settings first."
                ) from None
            return f"\n# {target.repo_id.rpartition('/')[2]}\n"
        return answer.content.decode()


def merged(text: str, metadata: Mapping[str, Any], name: str, *, overwrite: bool) -> str:
    """Return a README.md with `metadata` in its front matter; what stands below it is kept.

    Args:
        text: The README.md as it is.
        metadata: Fields to set.
        name: The model's name, where ``model-index`` does not say it.
        overwrite: Replace values that are there and differ.
    """
    import yaml

    found = _FRONT_MATTER.match(text)
    try:
        fields = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise HFValidationError(f"The front matter of README.md is not YAML: {error}.", path="README.md") from None
    if not isinstance(fields or {}, dict):
        raise HFValidationError("The front matter of README.md is not a mapping.", path="README.md")
    fields = dict(fields or {})
    for key, value in metadata.items():
        if key == "model-index":
            fields[key] = _merged_results(fields.get(key) or [], value, name, overwrite=overwrite)
        elif fields.get(key) not in (None, value) and not overwrite:
            raise _differs(repr(key))
        else:
            fields[key] = value
    front = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n{text[found.end() :] if found else text}"


def _merged_results(
    present: list[dict[str, Any]], given: list[dict[str, Any]], name: str, *, overwrite: bool
) -> list[dict[str, Any]]:
    """Merge ``model-index``: one model, its results, and their metrics told apart by all but their value."""
    model = dict(present[0]) if present else {"name": given[0].get("name", name)}
    present_results = model.get("results", [])
    results = [{**each, "metrics": [dict(metric) for metric in each.get("metrics", [])]} for each in present_results]
    for new in given[0].get("results", []):
        same = next((result for result in results if _without(result, "metrics") == _without(new, "metrics")), None)
        if same is None:
            results.append(new)
            continue
        for metric in new.get("metrics", []):
            known = next((m for m in same["metrics"] if _identity(m) == _identity(metric)), None)
            if known is None:
                same["metrics"].append(metric)
            elif known.get("value") != metric.get("value") and not overwrite:
                raise _differs(f"metric {metric.get('name') or metric.get('type')!r}")
            else:
                known.update(metric)
    return [{**model, "results": results}, *present[1:]]


def _identity(metric: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metric.items() if key not in ("value", "verified", "verifyToken")}


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


def _differs(what: str) -> HFValidationError:
    return HFValidationError(f"README.md has another value for {what}.", hint="Pass overwrite=True to replace it.")
