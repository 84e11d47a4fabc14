"""The options of `CommitScheduler`, typed for subclasses, and signatures that show them.

A subclass takes ``**options: Unpack[SchedulerOptions]``: type checkers and editors then know each option, `help()` and
`inspect.signature` show all of them, and an unknown one is an error that names the subclass.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from hubspool.scheduling.defaults import DEFAULTS

if TYPE_CHECKING:
    from hubspool.client.patterns import Patterns
    from hubspool.push.events import CommitEvent, CommitPlan, ErrorEvent

logger = logging.getLogger(__name__)


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


def check_options(kind: type, given: Mapping[str, object]) -> None:
    """Refuse keyword arguments that `kind` does not have, with the name that was probably meant.

    Raises:
        TypeError: one is unknown.
    """
    parameters = kind.__signature__.parameters  # type: ignore[attr-defined]  # set for each scheduler class
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    for name in given:
        if name not in parameters:
            import difflib

            near = difflib.get_close_matches(name, parameters, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" It has: {', '.join(parameters)}."
            raise TypeError(f"{kind.__name__}() got an unexpected keyword argument {name!r}.{hint}")


def warn_of(every: float, folder: Path, *, is_local: bool) -> None:
    """Warn of values that work and probably do not do what the caller wants.

    Args:
        every: minutes between two pushes.
        folder: the scheduler's.
        is_local: whether the Hub is on this machine.
    """
    if every < DEFAULTS.few_minutes and not is_local:
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
