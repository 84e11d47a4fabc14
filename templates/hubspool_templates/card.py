"""The dataset card: front matter that tells `datasets` which files are data, and which columns they have.

This module owns the card's `features`. They come from the rows of each commit, also from rows of other writers:

1. `RowScheduler.additional_operations` (`rows`) reads the new lines of the commit, or lets its `encoding` read them.
2. `Schema.of_row` (`schema`) gives each value its dtype, from the table in `value_kinds`; `Schema.merge` decides what
   two types become.
3. `CardUpdater.operations` (here) merges those columns into the `features` of the card on the Hub, and adds the new
   README.md to the commit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hubspool import CommitOperationAdd, CommitPlan, HfApi, HubspoolError
from hubspool.extending import FrontMatter, RemoteEntryNotFoundError, Target, broken_card, read_text
from hubspool_templates.schema import FieldType, Schema
from hubspool_templates.value_kinds import JSON_DTYPES

_BODY = """
# {title}

{card_sentence} Rows are added while the app or the training run is running, by `hubspool`, which also updates the
fields at the top of this card; the rest of the card is yours to edit.
"""
_SIZES = [
    "n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B", "10B<n<100B",
    "100B<n<1T", "n>1T",
]  # fmt: skip


class OtherColumnsError(HubspoolError):
    """Another writer committed a column of another type meanwhile; `schema` has the columns to encode the rows with."""

    retryable = True

    def __init__(self, schema: Schema) -> None:
        super().__init__("README.md changed meanwhile.", hint="The rows are encoded again at the next attempt.")
        self.schema = schema


class CardUpdater:
    """Adds a new README.md to a commit whose rows have columns that the card on the Hub lacks.

    Not promised: the size tag of a repository with several writers; it is a lower bound until each of them restarts.

    `datasets` loads nothing if a file has a column that the card lacks, but it loads a column of the card that no file
    has. So the card goes into the same commit as the rows. The card is read at the parent of that commit: if another
    replica changed it meanwhile, the Hub refuses the commit (412), and the next try adds to the new card.

    Used by the pushing thread only.

    Args:
        api: the client.
        card_sentence: a sentence for a new card: where the data comes from.
        widenable: dtypes in the card that new rows may widen.
        is_storable: whether files can have a column of a type, where each file keeps its types: the card's types must
            then fit all files.
        features_in_config: also write the columns into the config, the only place where `datasets` looks for the
            columns of a folder of images.
    """

    def __init__(
        self,
        api: HfApi,
        card_sentence: str,
        widenable: frozenset[str] = JSON_DTYPES,
        *,
        is_storable: Callable[[FieldType], bool] | None = None,
        features_in_config: bool = False,
    ) -> None:
        self.api = api
        self.card_sentence = card_sentence
        self.widenable = widenable
        self.is_storable = is_storable
        self.features_in_config = features_in_config
        self.columns = Schema()  # all columns of the dataset, as the card had them at the last call
        self._in_card: object = None  # what the card on the Hub has, while every commit since is ours
        self._rows: int | None = None  # on the Hub
        self._last: tuple[str | None, int] = (None, 0)  # our last commit at the last call, and the rows of that call

    def operations(
        self, target: Target, plan: CommitPlan, files: Mapping[str, str], schema: Schema, own: str | None
    ) -> Iterable[CommitOperationAdd]:
        """Return the new README.md, or nothing if the card on the Hub has all columns.

        Args:
            target: the repository and branch.
            plan: the next commit.
            files: split → glob of its files in the repository.
            schema: the columns of all rows so far, those of `plan` included.
            own: the last commit of this scheduler; if it is `plan.parent`, nobody else changed the card.

        Raises:
            OtherColumnsError: the files of `plan` have columns that no card can have beside the files on the Hub.
        """
        if own != self._last[0]:
            self._rows = (self._rows or 0) + self._last[1]
        if self._rows is None:
            self._rows = self._estimate(target, plan, list(files.values()))
        self._last = (own, plan.rows_new)
        size = self._rows + plan.rows_new
        needed = (dict(files), schema, len(str(size)))
        if own is not None and own == plan.parent and needed == self._in_card:
            return ()
        card = Card(self._read(target, plan), target.repo_id.split("/")[-1], self.card_sentence)
        configs = {card.add_files(re.sub(r"\W", "_", split), glob) for split, glob in files.items()}
        for config in configs:
            known = _schema(card.features(config))
            if self.is_storable is None:
                merged = known.merge(schema, widenable=self.widenable)
            else:
                merged = known.extend(schema)
                fits = Schema({n: kind for n, kind in known.fields.items() if self.is_storable(kind)}).extend(schema)
                if not fits.can_read(schema):
                    raise OtherColumnsError(fits)
            self.columns = merged
            if merged != known:
                card.set_features(config, merged.to_features(), in_config=self.features_in_config)
        card.set_size(size)
        text = card.render()
        self._in_card = needed if text is None else None  # a card that was sent is read once more
        return () if text is None else (CommitOperationAdd("README.md", text.encode()),)

    def _read(self, target: Target, plan: CommitPlan) -> str | None:
        try:
            return read_text(self.api, target, "README.md", plan.parent)
        except UnicodeDecodeError as error:
            raise broken_card(f"README.md is not UTF-8: {error}.") from None

    def _estimate(self, target: Target, plan: CommitPlan, globs: Sequence[str]) -> int:
        """Estimate the number of rows on the Hub from the sizes of its files and of the rows in the plan."""
        suffix = globs[0].rpartition(".")[2]
        total = 0
        for folder in {glob.rpartition("/")[0] for glob in globs}:
            try:
                entries = self.api.list_repo_tree(
                    target.repo_id, folder or None, repo_type=target.repo_type, revision=plan.parent or target.revision
                )
                total += sum(getattr(entry, "size", 0) for entry in entries if entry.path.endswith(suffix))
            except RemoteEntryNotFoundError:
                continue
        return total * plan.rows_new // max(plan.bytes_new, 1)


class Card:
    """A README.md: its front matter and the changes to it.

    Without `configs` `datasets` guesses the data files from all names in the repository, and a stray file beside the
    data makes the dataset fail to load. Without `features` a column that only later files have does the same.

    Not promised: the layout inside the front-matter fields that change. The body and all other fields stay byte for
    byte; comments stay, and so does a config that a person wrote in another notation.

    Args:
        text: the README.md, or None if the repository has none.
        title: heading of a new card.
        card_sentence: a sentence for a new card: where the data comes from.

    Raises:
        HFValidationError: the front matter is not a YAML mapping.
    """

    def __init__(self, text: str | None, title: str = "", card_sentence: str = "") -> None:
        self._front = FrontMatter(text or "")
        self._fields = self._front.fields
        if not text:
            self._front.body = _BODY.format(title=title, card_sentence=card_sentence)

    def add_files(self, split: str, path: str) -> str:
        """Add the files of a split to a config, and return the config's name.

        Nothing is added if a pattern matches the files already: `datasets` would load their rows twice.

        Args:
            split: name of the split.
            path: glob of its files in the repository.
        """
        configs = self._list("configs")
        for config in configs:
            if any(_covers(pattern, path) for pattern in _patterns(config.get("data_files"))):
                return _name_of(config)
        known = next((each for each in configs if _name_of(each) == "default"), None)
        files = (known or {}).get("data_files") or []
        if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
            return "default"  # a person wrote the short notation, and decides which files are data
        entry = next((entry for entry in files if entry.get("split") == split), None)
        if entry is None:
            files = [*files, {"split": split, "path": path}]
        else:
            files = [{**each, "path": [*_patterns([each]), path]} if each is entry else each for each in files]
        config = {**(known or {"config_name": "default"}), "data_files": files}
        if known is None:
            self._front.set("configs", [*configs, config])
        else:
            self._front.set("configs", [config if each is known else each for each in configs])
        return "default"

    def features(self, config_name: str) -> list[dict[str, Any]]:
        """Return the columns of a config; an empty list if the card has none."""
        features = self._info(config_name).get("features") or []
        if not isinstance(features, list) or not all(isinstance(each, dict) and "name" in each for each in features):
            raise broken_card("`features` in README.md is not a list of columns.")
        return features

    def set_features(self, config_name: str, features: Sequence[Mapping[str, Any]], *, in_config: bool = False) -> None:
        """Replace the columns of a config; its other fields stay.

        Args:
            config_name: the config.
            features: the columns.
            in_config: also write them into the config itself.
        """
        if features == self.features(config_name):
            return
        columns = [dict(each) for each in features]
        if in_config:
            configs = self._list("configs")
            new = [{**each, "features": columns} if _name_of(each) == config_name else each for each in configs]
            self._front.set("configs", new)
        info = {**self._info(config_name), "features": columns}
        known = self._fields.get("dataset_info")
        infos = known if isinstance(known, list) else [known] if known else []
        others = [each for each in infos if _name_of(each) != config_name]
        if config_name != "default" or isinstance(known, list) or others:
            info = {"config_name": config_name, **info}
        self._front.set("dataset_info", [*others, info] if isinstance(known, list) or others else info)

    def set_size(self, rows: int) -> None:
        """Set the size tag for a number of rows; a larger tag, or several tags, stay."""
        known = self._fields.get("size_categories") or []
        tag = next((tag for power, tag in enumerate(_SIZES) if rows < 10 ** (power + 3)), _SIZES[-1])
        if known == [] or known in ([smaller] for smaller in _SIZES[: _SIZES.index(tag)]):
            self._front.set("size_categories", [tag])

    def render(self) -> str | None:
        """Return the text of the changed card, or None if nothing changed."""
        return self._front.render()

    def _list(self, name: str) -> list[dict[str, Any]]:
        value = self._fields.get(name) or []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise broken_card(f"`{name}` in README.md is not a list of mappings.")
        return value

    def _info(self, config_name: str) -> dict[str, Any]:
        info = self._fields.get("dataset_info") or {}
        infos = [info] if isinstance(info, dict) else self._list("dataset_info")
        return next((each for each in infos if _name_of(each) == config_name), {})


def _name_of(config: Mapping[str, Any]) -> str:
    return str(config.get("config_name", "default"))


def _schema(features: Sequence[Mapping[str, Any]]) -> Schema:
    try:
        return Schema.of_features(features)
    except (AttributeError, KeyError, TypeError) as error:
        raise broken_card(f"`features` in README.md cannot be read: {error!r}.") from None


def _patterns(files: Any) -> list[str]:
    """Return every path of a config's `data_files`, which may be a text, a list, or splits of either."""
    if isinstance(files, str):
        return [files]
    if isinstance(files, dict):
        return _patterns(files["path"] if "path" in files else list(files.values()))
    return [path for each in files for path in _patterns(each)] if isinstance(files, list) else []


def _covers(pattern: str, path: str) -> bool:
    """Whether the glob `pattern` matches the files of the glob `path`, as `datasets` reads globs."""
    sample = path.replace("[0-9]", "0").replace("*", "x")
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = re.sub(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", lambda m: words.get(m[0]) or _literal(m[0]), pattern)
    return re.fullmatch(expression, sample) is not None


def _literal(text: str) -> str:
    return text.replace("[!", "[^", 1) if len(text) > 1 else re.escape(text)
