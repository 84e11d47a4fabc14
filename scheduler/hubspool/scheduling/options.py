"""The options of `CommitScheduler`, typed for subclasses, and signatures that show them.

A subclass takes ``**options: Unpack[SchedulerOptions]``: type checkers and editors then know each option, `help()` and
`inspect.signature` show all of them, and an unknown one is an error that names the subclass.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from hubspool.client.validation import check_repo_id, split_destination
from hubspool.errors import HFValidationError
from hubspool.scheduling.defaults import DEFAULTS

if TYPE_CHECKING:
    from hubspool.client.patterns import Patterns
    from hubspool.push.events import CommitEvent, CommitPlan, ErrorEvent
    from hubspool.push.publish import CardOf

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishOptions:
    """How the rows of a bucket are published.

    Args:
        to: the dataset.
        inside: the folder of the bucket; empty for all of it.
        seconds: how old the newest publish is when the next one is due.
        private: visibility of the dataset, if it is created.
        card_of: makes its card.

    Raises:
        HFValidationError: `to` is no name of a dataset.
    """

    to: str
    inside: str
    seconds: float
    private: bool
    card_of: CardOf

    def __post_init__(self) -> None:
        check_repo_id(self.to)


class CommonOptions(TypedDict, total=False):
    """Keyword arguments of `CommitScheduler` that no ready-made scheduler gives a default of its own."""

    revision: str | None
    token: str | None
    squash_history: bool | int
    hf_api: Any | None
    on_existing: str
    versioned: Patterns
    restore: bool
    strict: bool
    handle_signals: bool
    exit_budget: float
    state_dir: str | Path | None
    allow_own_space: bool
    commit_message: str | Callable[[CommitPlan], str] | None
    on_before_commit: Callable[[CommitPlan], None] | None
    on_commit: Callable[[CommitEvent], None] | None
    on_error: Callable[[ErrorEvent], None] | None


class SchedulerOptions(CommonOptions, total=False):
    """All keyword arguments of `CommitScheduler` but `repo_id` and `folder_path`; described there."""

    every: float
    path_in_repo: str | None
    repo_type: str | None
    private: bool | None
    allow_patterns: Patterns
    ignore_patterns: Patterns


def full_signature(kind: type) -> inspect.Signature:
    """Return the signature of a scheduler class with the options that its `__init__` passes on to its base class.

    A ``**options`` that is annotated ``Unpack[…]`` is replaced by the base class's keyword arguments; any other
    ``**options`` is kept behind them, because the subclass may take more from it.
    """
    init = kind.__dict__.get("__init__")
    base = kind.__mro__[1]
    if init is None or base is object:
        return inspect.signature(base if init is None else kind)
    parameters = list(inspect.signature(init).parameters.values())[1:]
    rest = [each for each in parameters if each.kind is each.VAR_KEYWORD]
    own = [each for each in parameters if each.kind is not each.VAR_KEYWORD]
    if rest:
        names = {each.name for each in own}
        inherited = [
            each.replace(kind=each.KEYWORD_ONLY)
            for each in full_signature(base).parameters.values()
            if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD) and each.name not in names
        ]
        own += [each for each in inherited if each.default is not each.empty or not _is_closed(rest[0])]
        if not _is_closed(rest[0]):
            own += rest
    return inspect.Signature(own)


def unknown_option(kind: type, given: Mapping[str, object]) -> TypeError | None:
    """Return the error for a keyword argument that `kind` does not have, with the name that was probably meant."""
    parameters = kind.__signature__.parameters  # type: ignore[attr-defined]  # set for each scheduler class
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return None
    for name in given:
        if name not in parameters:
            import difflib

            near = difflib.get_close_matches(name, parameters, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" It has: {', '.join(parameters)}."
            return TypeError(f"{kind.__name__}() got an unexpected keyword argument {name!r}.{hint}")
    return None


def _is_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _is_flag(value: object) -> bool:
    # numpy's bool is no int; its name is that of Python's since numpy 2.
    return value is None or ((isinstance(value, int) or type(value).__name__ in ("bool", "bool_")) and value in (0, 1))


def _is_a(*kinds: Any) -> Callable[[object], bool]:
    return lambda value: value is None or isinstance(value, kinds)


def _are_patterns(value: object) -> bool:
    return _is_a(str)(value) or (isinstance(value, Collection) and all(isinstance(each, str) for each in value))


#: Options of `CommitScheduler`, whether a value is one, and what to give in place of any other.
_CHECKS: list[tuple[str, Callable[[Any], bool], str]] = [
    ("every", lambda v: _is_number(v, 1e-9, DEFAULTS.most_minutes), "Give a number of minutes from 0 to a year."),
    ("exit_budget", lambda v: _is_number(v, 0, DEFAULTS.most_exit_budget), "Give a number of seconds up to a day."),
    ("restore strict handle_signals allow_own_space", _is_flag, "Give True or False."),
    ("private", _is_flag, "Give True or False; None means True."),
    (
        "squash_history",
        lambda v: isinstance(v, bool) or (isinstance(v, int) and v > 0),
        "Give True, False or a number of commits.",
    ),
    ("on_existing", lambda v: v in ("keep_both", "overwrite", "error"), "Use 'keep_both', 'overwrite' or 'error'."),
    ("allow_patterns ignore_patterns versioned", _are_patterns, "Give a glob, such as '*.csv', or a list of globs."),
    ("commit_message", _is_a(str, Callable), "Give a text, or a function of the CommitPlan."),
    ("on_before_commit on_commit on_error", _is_a(Callable), "Give a function that takes one argument."),
    ("state_dir", _is_a(str, os.PathLike), "Give the path of a folder."),
    ("path_in_repo", _is_a(str), "Give a path in the repository, such as 'data'."),
    ("token", _is_a(str, bool), "Give a token as text."),
    ("hf_api", lambda v: v is None or (hasattr(v, "endpoint") and hasattr(v, "token")), "Give an HfApi."),
]


def destination_of(given: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Return id, type and path of the destination; refuse options with which only a later push would fail.

    Args:
        given: the scheduler as ``self``, and its options.

    Raises:
        HFValidationError: a value is unusable.
    """
    for names, is_usable, hint in _CHECKS:
        for name in names.split():
            if not is_usable(given[name]):
                shown = "of another type" if name in ("token", "hf_api") else repr(given[name])
                raise HFValidationError(f"{name} is {shown}.", hint=hint)
    place = split_destination(given["repo_id"], given["repo_type"], given["path_in_repo"])
    if place[1] == "bucket":
        asked = {name: given[name] for name in ("revision", "squash_history")}
        for name, value in {**asked, "retain_days": given["self"].retain_days}.items():
            if value is not None and value is not False:
                raise HFValidationError(f"{name} is {value!r}.", hint="Leave it out: a bucket has no history.")
    return place


def warn_of(every: float, folder: Path, *, is_limited: bool) -> None:
    """Warn of values that work and probably do not do what the caller wants.

    Args:
        every: minutes between two pushes.
        folder: the scheduler's.
        is_limited: whether the Hub limits commits.
    """
    if every < DEFAULTS.few_minutes and is_limited:
        logger.warning(
            "every=%s minutes means up to %d commits an hour; the Hub takes about 128 an hour and repository, from"
            " all writers together",
            every,
            round(60 / every),
        )
    from hubspool.files import disk_of

    disk = disk_of(folder)
    if not disk.is_reliable:
        logger.warning(
            "%s is on a %s mount, where locks and fsync are not reliable; rows may be lost with the mount. Use a"
            " local disk, or at least state_dir=... on one.",
            folder,
            disk.kind,
        )


def _is_closed(rest: inspect.Parameter) -> bool:
    return str(rest.annotation).startswith("Unpack[")
