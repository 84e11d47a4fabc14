"""What a commit's rows need of the dataset card, and the card that has it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.repo_info import RepoFile
from hubspool.client.target import Target
from hubspool.errors import HFValidationError, RemoteEntryNotFoundError
from hubspool.push.events import CommitPlan
from hubspool.push.remote import RemoteRepo
from hubspool_templates.card import Card
from hubspool_templates.schema import JSON_DTYPES, Schema


class CardKeeper:
    """Makes the card that goes along with rows whose columns the card on the Hub lacks.

    A column that the card lacks keeps the whole dataset from loading, one that no file has yet does not: so the card
    is in the same commit. It is read at the commit's own parent, so that of two replicas with new columns the second
    one is refused (412), reads again, and adds to what the first one wrote.

    Not promised: the size tag of a repo with several writers is a lower bound until each starts again.

    Used by the pushing thread only.

    Args:
        origin: a sentence for a new card: how the data comes to be.
        inferred: dtypes in the card that new rows may widen.
    """

    #: Whether the columns stand in the config too, as `datasets` needs it for archives.
    in_config = False

    def __init__(self, api: HfApi, origin: str, inferred: frozenset[str] = JSON_DTYPES) -> None:
        self.api = api
        self.origin = origin
        self.inferred = inferred
        self._known: object = None  # what the card was seen to hold, while all commits since are ours
        self._rows: int | None = None  # on the Hub
        self._last: tuple[str | None, int] = (None, 0)  # our last commit at the last call, and the rows to come then

    def operations(
        self, target: Target, plan: CommitPlan, files: Mapping[str, str], schema: Schema, own: str | None
    ) -> Iterable[CommitOperationAdd]:
        """Return the new card, or nothing where the one on the Hub will do.

        Args:
            target: the repo and branch.
            plan: the commit to come.
            files: name → glob in the repo of the files that rows of this name are in.
            schema: of all rows that this object has seen, those of `plan` included.
            own: the last commit that this object made; while it is `plan.parent` nobody has touched the card.
        """
        if own != self._last[0]:
            self._rows = (self._rows or 0) + self._last[1]
        if self._rows is None:
            self._rows = self._estimate(target, plan, list(files.values()))
        self._last = (own, plan.rows_new)
        size = self._rows + plan.rows_new
        needed = (dict(files), schema, len(str(size)))
        if own is not None and own == plan.parent and needed == self._known:
            return ()
        at = Target.of(target.endpoint, target.repo_id, target.repo_type, plan.parent or target.revision)
        card = Card(_text(RemoteRepo(self.api, at)), title=target.repo_id.split("/")[-1], origin=self.origin)
        configs = {card.data(re.sub(r"\W", "_", name), glob) for name, glob in files.items()}
        for config in configs:
            there = _schema(card.features(config))
            merged = there.merge(schema, inferred=self.inferred)
            if merged != there:
                card.set_features(config, merged.to_features(), in_config=self.in_config)
        card.set_size(size)
        text = card.render()
        self._known = needed if text is None else None  # a card that was sent is looked at once more
        return () if text is None else (CommitOperationAdd("README.md", text.encode()),)

    def _estimate(self, target: Target, plan: CommitPlan, globs: Iterable[str]) -> int:
        """Guess the number of rows on the Hub from the size of the files and of the rows in the plan."""
        total = 0
        for folder in {glob.rpartition("/")[0] for glob in globs}:
            try:
                entries = self.api.list_repo_tree(
                    target.repo_id, folder or None, repo_type=target.repo_type, revision=plan.parent or target.revision
                )
                suffix = next(iter(globs)).rpartition(".")[2]
                total += sum(e.size for e in entries if isinstance(e, RepoFile) and e.path.endswith(suffix))
            except RemoteEntryNotFoundError:
                continue
        return total * plan.rows_new // max(plan.bytes_new, 1)


def _text(hub: RemoteRepo) -> str | None:
    try:
        return hub.text("README.md")
    except UnicodeDecodeError as error:  # rows must not wait for a card that somebody broke; Card's errors say so too
        raise HFValidationError(f"README.md is not UTF-8: {error}.", hint="Mend it on the Hub.") from None


def _schema(features: Sequence[Mapping[str, Any]]) -> Schema:
    try:
        return Schema.of_features(features)
    except (AttributeError, KeyError, TypeError) as error:
        raise HFValidationError(f"`features` in README.md is broken: {error!r}.", hint="Mend it on the Hub.") from None
