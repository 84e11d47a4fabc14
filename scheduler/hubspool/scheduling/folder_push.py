"""Pushes what is new in a scheduler's folder or spool, as the scheduler's options say."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from hubspool.errors import PushLockBusyError, SecondLookError
from hubspool.scheduling.defaults import DEFAULTS
from hubspool.scheduling.push_loop import Urgency

if TYPE_CHECKING:
    from collections.abc import Callable

    from hubspool.client.repo_info import CommitInfo
    from hubspool.push.budget import Budget
    from hubspool.push.context import PushContext, PushMemory
    from hubspool.push.defaults import PushLimits
    from hubspool.push.events import CommitEvent, CommitPlan, PushResult
    from hubspool.scheduling.commit_scheduler import CommitScheduler

logger = logging.getLogger(__name__)


def push_folder(scheduler: CommitScheduler) -> CommitInfo | None:
    """Send what is new, once; return the last commit, or None where there was nothing to commit.

    Called by the pushing thread only.

    Raises:
        HubspoolError: a request failed, or another process has been pushing for too long.
        SecondLookError: the push is that of a flush, and segments wait for a second look.
    """
    from hubspool.push.defaults import DEFAULTS as PUSH_DEFAULTS
    from hubspool.push.pusher import Pusher

    worker, runner, tracker, period = scheduler._worker, scheduler._runner, scheduler._tracker, scheduler._period
    limits = scheduler._limits or PUSH_DEFAULTS
    pusher = worker.pusher = worker.pusher or Pusher(scheduler.spool_folder, scheduler._setup.ledger, limits)
    context = _context_of(scheduler, pusher.memory, limits)
    turns, worker.squash.history = worker.turns, scheduler.squash_history
    turns.period, turns.budget = period, context.budget
    final, began = scheduler.is_final_push, time.monotonic()
    patience = DEFAULTS.final_lock_wait if final else DEFAULTS.lock_wait
    requests = worker.removing.before_push(context, final=final)
    try:
        result = pusher.push(context, final=final, lock_timeout=runner.limited(patience))
    finally:
        tracker.note_result(pusher.result, scheduler.left_in_folder())
    if result is None:
        waited = time.monotonic() - (pusher.busy_since or 0.0)
        # A flush must not count on the other process, and a stopped one sends nothing.
        if final or waited > DEFAULTS.late_periods * period:
            raise PushLockBusyError(scheduler.spool_folder, pusher.holder(), waited)
        logger.info("%s: another process is pushing this folder and sends these rows too", scheduler.spool_folder)
        return None
    if not result.pending_files and not scheduler.left_in_folder():
        tracker.note_all_sent(began)
    scheduler.last_commit = result.commit or scheduler.last_commit
    tracker.period = period
    _keep_small(scheduler, context, result)
    worker.removing.after_push(context, requests, runner.loop)
    if result.writers:
        early = turns.seconds_until_next(result.writers, early=True)
        runner.loop.delay_requests(early)
        if (wait := early if worker.was_postponed else turns.seconds_until_next(result.writers)) > 0:
            runner.loop.postpone(wait)
            tracker.period = max(wait, tracker.period)
    if final and result.waits_until:
        raise SecondLookError(scheduler.repo_id, result.waits_until)
    return result.commit


def _keep_small(scheduler: CommitScheduler, context: PushContext, result: PushResult) -> None:
    """Squash the history, join old files and remove what is too old, where the options ask for it and it is due."""
    worker, loop, turns = scheduler._worker, scheduler._runner.loop, scheduler._worker.turns
    if result.commit is not None and not result.in_doubt:
        worker.squash.after_commit(scheduler.api, scheduler.target, result.commit.oid)
    if context.target.is_bucket:
        if (options := scheduler._publishing) is not None and worker.urgency is not Urgency.FINAL:
            report = worker.compaction.after_push(context, loop, options)
            for commit in report.commits:
                scheduler._tracker.note_commit(report.event(commit), commit)
        loop.rest(wait := scheduler.api.session.pauses.get("api", 0.0) - time.monotonic())
        scheduler._tracker.period = max(wait, scheduler._period)
        return
    if not context.is_spool or worker.urgency is Urgency.FINAL:  # somebody waits for it
        return
    if scheduler.compact and turns.may_commit_beside(has_pushed=result.commit is not None):
        report = worker.compaction.after_push(context, loop)
        turns.note_beside(report.all_commits)
        for commit in report.commits:
            scheduler._tracker.note_commit(report.event(commit), commit)
    worker.removing.after_period(context, scheduler.spool_name, scheduler.retain_days, loop)


def shared_budget(scheduler: CommitScheduler) -> Budget:
    """Return the commits that all writers of the scheduler's repository share."""
    from hubspool.push.budget import BOUNDLESS, Budget

    return scheduler.budget or (Budget() if scheduler._setup.has_budget else BOUNDLESS)


def _context_of(scheduler: CommitScheduler, memory: PushMemory, limits: PushLimits) -> PushContext:
    from hubspool.client.patterns import path_filter
    from hubspool.push.context import PushContext, PushHooks

    setup = scheduler._setup
    return PushContext(
        api=scheduler.api,
        target=scheduler.target,
        path_in_repo=scheduler.path_in_repo,
        folder=scheduler.spool_folder,
        is_spool=setup.spool is not None,
        hub_id=setup.hub_id,
        ledger=setup.ledger,
        memory=memory,
        is_chosen=scheduler.chosen_paths(),
        lock=scheduler.limited_lock,
        writer=scheduler._worker.writer_id,
        on_existing=scheduler.on_existing,
        is_versioned=path_filter(scheduler.versioned or []),
        versions_rewritten=scheduler.versions_rewritten,
        period_seconds=scheduler._period,
        keep_local=scheduler.keep_local,
        budget=shared_budget(scheduler),
        encoding=scheduler.encoding,
        retain_days=scheduler.retain_days,
        limits=limits,
        clock=scheduler._clock,
        hooks=PushHooks(
            enter=scheduler._tracker.enter,
            is_turn=partial(_is_turn, scheduler),
            message=partial(_message, scheduler._commit_message),
            before_commit=scheduler._on_before_commit or _nothing,
            additional_operations=scheduler.additional_operations,
            committed=partial(_note_commit, scheduler),
            planned=partial(_note_planned, scheduler),
        ),
    )


def _note_commit(scheduler: CommitScheduler, event: CommitEvent, commit: CommitInfo) -> None:
    if not event.joined:  # `note_beside` counts it
        scheduler._worker.turns.note_commit()
    scheduler._tracker.note_commit(event, commit)
    for path in event.paths if scheduler.spool_name is None else ():
        local = scheduler.folder_path / path.removeprefix(f"{scheduler.path_in_repo}/")
        with suppress(OSError):  # removed since, or no file of the folder
            scheduler.last_uploaded[local] = local.stat().st_mtime


def _is_turn(scheduler: CommitScheduler, writers: int) -> bool:
    """Whether to commit now. Fifty replicas that start together would use up the hour in its first minutes."""
    worker = scheduler._worker
    early = worker.urgency is Urgency.REQUESTED
    wait = 0.0 if scheduler.is_final_push else worker.turns.seconds_until_next(writers, early=early)
    worker.was_postponed = early and wait > 0
    if wait > 0:
        logger.info("%s: %d writers share it; this one may commit in %.0f s", scheduler.repo_id, writers, wait)
    return wait <= 0


def _note_planned(scheduler: CommitScheduler, result: PushResult) -> None:
    scheduler._tracker.note_planned(result)
    scheduler._runner.check_refusal()


def _message(given: str | Callable[[CommitPlan], str] | None, plan: CommitPlan) -> str:
    if given is not None:
        return given(plan) if callable(given) else given
    if not plan.rows_new:
        return "Scheduled commit"
    return f"Add {plan.rows_new} row{'s' if plan.rows_new > 1 else ''}"


def _nothing(plan: CommitPlan) -> None:
    """Stand for a hook that was not given."""
