"""The dataset card: front matter that tells `datasets` which files are data."""

from __future__ import annotations

from typing import Any

from hubspool.errors import HFValidationError

_FENCE = "---"


def with_config(text: str | None, *, split: str, path: str, title: str, config_name: str = "default") -> str | None:
    """Return the card with a `configs` entry for one split, or None where it has one already.

    Without it `datasets` guesses the data files from all names in the repo, and a stray file beside the data keeps the
    whole dataset from loading. A person's text, and every other field of the front matter, stays as it is.

    Args:
        text: the card as it stands, or None where there is none.
        split: name of the split.
        path: glob of its files, relative to the repo's root.
        title: heading of a new card.

    Raises:
        HFValidationError: the front matter is not a YAML mapping, so nothing can be added to it.
    """
    import yaml

    fields, body = _split(text or "")
    configs = fields.get("configs") or []
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        raise HFValidationError("`configs` in README.md is no list of mappings.", hint="Mend it on the Hub.")
    configs = [dict(config) for config in configs]
    config = next((c for c in configs if c.get("config_name") == config_name), None)
    if config is None:
        config = {"config_name": config_name, "data_files": []}
        configs.append(config)
    files = config.get("data_files") or []
    if not isinstance(files, list):
        return None  # written by a person in the short form: theirs is the say
    entry = next((entry for entry in files if isinstance(entry, dict) and entry.get("split") == split), None)
    if entry is None:
        files = [*files, {"split": split, "path": path}]
    else:
        paths = entry["path"] if isinstance(entry.get("path"), list) else [entry.get("path")]
        if path in paths:
            return None
        files = [{**each, "path": [*paths, path]} if each is entry else each for each in files]
    config["data_files"] = files
    fields["configs"] = configs
    front = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return f"{_FENCE}\n{front}{_FENCE}\n{body or f'{chr(10)}# {title}{chr(10)}'}"


def _split(text: str) -> tuple[dict[str, Any], str]:
    import yaml

    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.startswith(f"{_FENCE}\n"):
        return {}, f"\n{text}" if text else ""
    front, fence, body = text[len(_FENCE) + 1 :].partition(f"\n{_FENCE}")
    if not fence:
        return {}, f"\n{text}"
    try:
        fields = yaml.safe_load(front)
    except yaml.YAMLError as error:
        raise HFValidationError(
            f"The front matter of README.md is not YAML: {error}", hint="Mend it on the Hub."
        ) from None
    if fields is not None and not isinstance(fields, dict):
        raise HFValidationError("The front matter of README.md is not a mapping.", hint="Mend it on the Hub.")
    return dict(fields or {}), body.removeprefix("\n")
