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
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from hubspool import CommitOperationAdd, CommitPlan, HfApi, HubspoolError
from hubspool.extending import ChangedMeanwhileError, FrontMatter, RemoteRepo, Target, broken_card, read_text
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.existing import (
    SCHEDULERS,
    columns_of_lines,
    covers,
    form_of,
    is_one_schema,
    patterns_of,
    splits_of,
)
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


#: The end of a part's file name, as exact as a glob can be: the glob of "train" must not match files of "train-2".
PART_GLOB = "-".join(["[0-9]" * 8, "*", "[0-9]" * 5, f"p{'[0-9]' * 4}"])
#: The folder of a month. Not ``**``, which matches files beside the folders too: `datasets` would load them twice.
MONTH_GLOB = f"{'[0-9]' * 4}-{'[0-9]' * 2}/"


class OtherColumnsError(ChangedMeanwhileError):
    """Another writer committed a column of another type meanwhile; `schema` has the columns to encode the rows with."""

    def __init__(self, schema: Schema) -> None:
        super().__init__("README.md")
        self.schema = schema


def _other_scheduler(form: str | None) -> str:
    other = f"use {SCHEDULERS[form]}, or " if form in SCHEDULERS else ""
    return f"For these rows {other}name another repository; they stay on the disk (`hubspool flush --from --to`)."


@dataclass
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
        config: the config of the scheduler's rows; None: that of the files in the repository whose columns they share.
        is_numbered: files of another folder, or with other columns, do not keep the config from having that name: this
            one has a number behind it.
        columns_of: reads the columns of a file of the scheduler's form; raises ValueError if it cannot.
        way_out: returns what to do with rows whose form is not that of the repository's files, which it is given.
    """

    api: HfApi
    card_sentence: str
    widenable: frozenset[str] = JSON_DTYPES
    is_storable: Callable[[FieldType], bool] | None = None
    features_in_config: bool = False
    config: str | None = None
    is_numbered: bool = False
    columns_of: Callable[[Path], Schema] = columns_of_lines
    way_out: Callable[[str | None], str] = _other_scheduler
    #: All columns of the dataset, as the card had them at the last call.
    columns: Schema = field(default_factory=Schema, init=False)
    #: What the card on the Hub has, while every commit since is ours.
    _in_card: object = field(default=None, init=False)
    #: On the Hub.
    _rows: int | None = field(default=None, init=False)
    #: Our last commit at the last call, and the rows of that call.
    _last: tuple[str | None, int] = field(default=(None, 0), init=False)

    def operations(
        self,
        target: Target,
        plan: CommitPlan,
        files: Mapping[str, str],
        schema: Schema,
        own: str | None,
        *,
        after: Iterable[CommitOperationAdd] = (),
    ) -> Iterable[CommitOperationAdd]:
        """Return the new README.md, or nothing if the card on the Hub has all columns.

        Args:
            target: the repository and branch.
            plan: the next commit.
            files: split → glob of its files in the repository.
            schema: the columns of all rows so far, those of `plan` included.
            own: the last commit of this scheduler; if it is `plan.parent`, nobody else changed the card.
            after: what this method of another object has returned for the same commit; the card has it, too.

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
        text = next((each.path_or_fileobj.decode() for each in after if isinstance(each.path_or_fileobj, bytes)), None)
        card = Card(text or self._read(target, plan), target.repo_id.split("/")[-1], self.card_sentence)
        for name, glob in files.items():
            config, known = self.place(card, target, plan.parent, name, glob, schema)
            self.columns = merged = self._merged(known, schema)
            if merged != _schema(card.features(config)):
                card.set_features(config, merged.to_features(), in_config=self.features_in_config)
            card.drop_counts(config)
        card.set_size(size)
        text = card.render()
        self._in_card = needed if text is None else None  # a card that was sent is read once more
        return () if text is None else (CommitOperationAdd("README.md", text.encode()),)

    def columns_before(self, card: Card, target: Target, name: str, glob: str, schema: Schema) -> tuple[str, Schema]:
        """Return the config of new files, and the columns that they have to fit, if each file keeps its types.

        Args:
            card: of the repository; the files are added to it.
            target: the repository and branch.
            name: of the split.
            glob: of the files.
            schema: their columns.
        """
        config, known = self.place(card, target, None, name, glob, schema)
        assert self.is_storable is not None
        return config, Schema({name: kind for name, kind in known.fields.items() if self.is_storable(kind)})

    def _merged(self, known: Schema, schema: Schema) -> Schema:
        if self.is_storable is None:
            return known.merge(schema, widenable=self.widenable)
        fits = Schema({n: kind for n, kind in known.fields.items() if self.is_storable(kind)}).extend(schema)
        if not fits.can_read(schema):
            raise OtherColumnsError(fits)
        return known.extend(schema)

    def place(
        self, card: Card, target: Target, revision: str | None, name: str, glob: str, schema: Schema
    ) -> tuple[str, Schema]:
        """Add a scheduler's files to the card; return their config, and the columns that it has so far.

        What loaded before the first commit loads afterwards with the same rows. So files of the same form whose columns
        make one schema with ours share a config with our files; beside other columns ours get a config of their own.

        Args:
            card: the card at `revision`.
            target, revision: the repository, and the commit that is looked at.
            name: the scheduler's.
            glob: its files.
            schema: the columns of its rows.

        Raises:
            HubspoolError: the files of the repository have another form, and `datasets` reads only one.
        """
        split = re.sub(r"\W", "_", name)
        beside_months = glob.replace(MONTH_GLOB, "")  # where earlier versions put the files
        listed = card.config_of(glob) or card.config_of(beside_months)
        if listed is not None:
            return card.add_files(split, glob, listed), _schema(card.features(listed))
        listed_files = self._at(target, revision).list_files("", recursive=True)
        sizes = {path: file.size for path, file in listed_files.items()}
        paths = [path for path in sizes if not covers(glob, path)]
        first = next(iter(card.configs), "default")
        form = form_of(path for files in card.files(first, paths).values() for path in files)
        if form not in (None, form_of([glob])):
            raise HubspoolError(
                f"{target.repo_id} has {form} files, and these rows are {form_of([glob])}; datasets reads only one"
                " format.",
                hint=self.way_out(form),
            )
        config = self._own(card, glob) or card.default_config
        if len(paths) < len(sizes) and (covering := card.config_of(glob, exact=False)):
            config = covering  # an earlier push decided so
        splits = card.files(config, paths)
        files = [path for files in splits.values() for path in files]
        known: Schema | None = _schema(card.features(config))
        if files and not card.features(config):
            known = self._learned(target, revision, {path: sizes[path] for path in files})
        if len(paths) == len(sizes) and (
            known is None
            or not is_one_schema(known, schema, self.widenable)
            # `datasets` loads a folder of media only if the metadata of all its splits have the same keys and types.
            or (self.features_in_config and any(files for each, files in splits.items() if each != split))
        ):
            if self.config in card.configs and not self.is_numbered:
                raise HubspoolError(
                    f"{target.repo_id} has a config {config!r} whose columns differ from those of the rows.",
                    hint="Pass another config=…; the rows are pending on the disk.",
                )
            config = next(each for each in _numbered(self.config or name) if each not in card.configs)
            known = Schema()
        card.keep_files(split, glob, config, paths)
        return card.add_files(split, glob, config), known or Schema()

    def _own(self, card: Card, glob: str) -> str | None:
        """Return the config that is asked for; with a number behind it, if that one has files of other folders only."""
        if self.config is None or not self.is_numbered:
            return self.config
        names = (each for each in _numbered(self.config) if (has := card.folders(each)) is None or _folder(glob) in has)
        return next(names)

    def _learned(self, target: Target, revision: str | None, sizes: Mapping[str, int]) -> Schema | None:
        """Return the columns of files that the card says nothing of; None if they cannot be read, or are too large.

        `datasets` takes the columns of Parquet files from the first one, and reads the others with them.
        """
        paths = sorted(sizes)
        if form_of(paths) == "Parquet":
            paths = paths[:1]
        if sum(sizes[path] for path in paths) > DEFAULTS.learned_bytes:
            return None
        schema = Schema()
        with tempfile.TemporaryDirectory() as folder:
            for path in paths:
                local = Path(folder, path)
                self._at(target, revision).download(path, local)
                try:
                    schema = schema.merge(self.columns_of(local), widenable=self.widenable)
                except (ValueError, AttributeError, TypeError):
                    return None
                local.unlink()
        return schema

    def _read(self, target: Target, plan: CommitPlan) -> str | None:
        try:
            return read_text(self.api, target, "README.md", plan.parent)
        except UnicodeDecodeError as error:
            raise broken_card(f"README.md is not UTF-8: {error}.") from None

    def _estimate(self, target: Target, plan: CommitPlan, globs: Sequence[str]) -> int:
        """Estimate the number of rows on the Hub from the sizes of its files and of the rows in the plan."""
        suffix = globs[0].rpartition(".")[2]
        total = 0
        for folder in {glob.rpartition(MONTH_GLOB)[0].rstrip("/") for glob in globs}:
            files = self._at(target, plan.parent).list_files(folder, recursive=True).values()
            total += sum(file.size for file in files if file.path.endswith(suffix))
        return total * plan.rows_new // max(plan.bytes_new, 1)

    def _at(self, target: Target, revision: str | None) -> RemoteRepo:
        return RemoteRepo(self.api, replace(target, revision=revision or target.revision))


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

    @property
    def configs(self) -> list[str]:
        """The names of the configs; `datasets` reads all of them as it reads the files of the first one."""
        return [_name_of(each) for each in self._list("configs")]

    @property
    def default_config(self) -> str:
        """The config that `datasets` loads where no name is given: maybe the only one, if others than us wrote it."""
        configs = self._list("configs")
        chosen = [_name_of(each) for each in configs if _name_of(each) == "default" or each.get("default")]
        alone = [_name_of(each) for each in configs if len(configs) == 1 and not _is_ours(_paths(each))]
        return next(iter([*chosen, *alone, "default"]))

    def config_of(self, glob: str, *, exact: bool = True) -> str | None:
        """Return the config whose patterns are, or cover, this glob."""
        for each in self._list("configs"):
            if any(path == glob or (not exact and covers(path, glob)) for path in _paths(each)):
                return _name_of(each)
        return None

    def folders(self, config_name: str) -> set[str] | None:
        """Return the folders of the patterns of a config, without those of months; None if there is no such config."""
        config = self._config(config_name)
        return None if config is None else {_folder(path) for path in _paths(config)}

    def files(self, config_name: str, paths: Iterable[str]) -> dict[str, list[str]]:
        """Return split → files, among all `paths` of the repository, that `datasets` loads for a config."""
        config = self._config(config_name)
        if config is None and self._list("configs"):
            return {}
        if config is not None and config.get("data_files"):
            return {
                split: [path for path in paths if any(covers(each, path) for each in patterns)]
                for split, patterns in _splits(config).items()
            }
        folder = str((config or {}).get("data_dir") or "").strip("/")
        return splits_of([path for path in paths if not folder or path.startswith(f"{folder}/")])

    def loads(self, config_name: str, path: str, *, ours: bool = False) -> bool:
        """Whether `datasets` loads a file for a config; with `ours`, by a pattern of a scheduler's own files."""
        if ours:
            patterns = _paths(self._config(config_name) or {})
            return any(covers(pattern, path) for pattern in patterns if _is_ours([pattern]))
        return any(self.files(config_name, [path]).values())

    def keep_files(self, split: str, glob: str, config_name: str, paths: Sequence[str]) -> None:
        """Name the files that each config loads today, where new files of `glob` would change what it loads.

        Args:
            split: the split of the new files.
            glob: the new files.
            config_name: the config that they are for.
            paths: all other files of the repository.
        """
        for name in self.configs or ["default"]:
            config = self._config(name) or {}
            is_explicit = config.get("data_files") and not config.get("data_dir")
            if is_explicit and (name == config_name or not any(covers(path, glob) for path in _paths(config))):
                continue
            splits = {
                each: patterns_of(
                    each,
                    files,
                    [*(set(paths) - set(files)), *([] if (name, each) == (config_name, split) else [glob])],
                )
                for each, files in self.files(name, paths).items()
            }
            if any(splits.values()):
                self._set_config(name, {"data_files": _entries(splits)})

    def add_files(self, split: str, path: str, config_name: str = "default") -> str:
        """Add the files of a split to a config, and return the config's name.

        Nothing is added if a pattern matches the files already: `datasets` would load their rows twice.

        Args:
            split: name of the split.
            path: glob of its files in the repository.
            config_name: the config, if no pattern matches them.
        """
        if (known := self.config_of(path, exact=False)) is not None:
            return known
        if config_name not in self.configs and (default := self.default_config) in self.configs:
            self._set_config(default, {} if default == "default" else {"default": True})
        splits = _splits(self._config(config_name) or {})
        splits.setdefault(split, []).append(path)
        self._set_config(config_name, {"data_files": _entries(splits)})
        return config_name

    def drop_counts(self, config_name: str) -> None:
        """Remove the numbers of rows and bytes of a config, which `datasets` compares with what it loads."""
        info = self._info(config_name)
        if left := info.keys() & {"splits", "download_size", "dataset_size"}:
            self._set_info(config_name, {name: value for name, value in info.items() if name not in left})

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
        self._set_info(config_name, {**self._info(config_name), "features": columns})

    def _set_info(self, config_name: str, info: Mapping[str, Any]) -> None:
        known = self._fields.get("dataset_info")
        infos = known if isinstance(known, list) else [known] if known else []
        others = [each for each in infos if _name_of(each) != config_name]
        if config_name != "default" or isinstance(known, list) or others:
            info = {"config_name": config_name, **info}
        self._front.set("dataset_info", [*others, info] if isinstance(known, list) or others else info)

    def _set_config(self, config_name: str, fields: Mapping[str, Any]) -> None:
        """Change fields of a config, or add it; paths are those of the repository, so a `data_dir` goes."""
        configs = self._list("configs")
        known = self._config(config_name)
        new = {**(known or {"config_name": config_name}), **fields}
        if "data_files" in fields:
            new.pop("data_dir", None)
        changed = [*configs, new] if known is None else [new if each is known else each for each in configs]
        if changed != configs:
            self._front.set("configs", changed)

    def _config(self, config_name: str) -> dict[str, Any] | None:
        return next((each for each in self._list("configs") if _name_of(each) == config_name), None)

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


def _is_ours(patterns: Sequence[str]) -> bool:
    """Whether all patterns are those of a scheduler's own files."""
    return bool(patterns) and all(PART_GLOB in pattern for pattern in patterns)


def _paths(config: Mapping[str, Any]) -> list[str]:
    return [path for paths in _splits(config).values() for path in paths]


def _folder(pattern: str) -> str:
    return pattern.replace(MONTH_GLOB, "").rpartition("/")[0]


def _numbered(name: str) -> Iterator[str]:
    """Yield the name alone, and with 2, 3, … behind it."""
    return (f"{name}-{number}" if number > 1 else name for number in count(1))


def _name_of(config: Mapping[str, Any]) -> str:
    return str(config.get("config_name", "default"))


def _schema(features: Sequence[Mapping[str, Any]]) -> Schema:
    try:
        return Schema.of_features(features)
    except (AttributeError, KeyError, TypeError) as error:
        raise broken_card(f"`features` in README.md cannot be read: {error!r}.") from None


def _splits(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return split → patterns of a config; `data_files` may be a text, a list, or splits of either."""
    files = config.get("data_files") or []
    if isinstance(files, dict):
        files = [{"split": split, "path": paths} for split, paths in files.items()]
    if not isinstance(files, str | list):
        raise broken_card("`data_files` in README.md names no files.")
    found: dict[str, list[str]] = {}
    for entry in [files] if isinstance(files, str) else files:
        split, paths = (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else ("train", entry)
        known = found.setdefault(str(split or "train"), [])
        known += [
            path
            for path in ([paths] if isinstance(paths, str) else paths if isinstance(paths, list) else [])
            if isinstance(path, str)
        ]
    folder = str(config.get("data_dir") or "").strip("/")
    return {split: [f"{folder}/{path}" for path in paths] for split, paths in found.items()} if folder else found


def _entries(splits: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return split → patterns as the card writes them."""
    return [
        {"split": split, "path": paths[0] if len(paths) == 1 else [*paths]} for split, paths in splits.items() if paths
    ]
