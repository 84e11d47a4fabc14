"""One folder, several schedulers: two repositories, cells that run again, a cleaner of files, a held lock."""

from __future__ import annotations

import signal

from hubspool.scheduling.status import counted
from tests.support.loss_trial import Cases, Outcome, Trial

case = Cases()

#: `append` of both sides: ours is JsonlScheduler's, the stock one opens a file for each scheduler and appends to it.
ROWS = """
if OURS:
    from hubspool_templates import JsonlScheduler
class Rows:
    def __init__(self, name, **options):
        if OURS:
            self.scheduler = JsonlScheduler(options.pop("repo_id", REPO), FOLDER, every=600, **options)
            self.append = lambda number: self.scheduler.append({"id": number})
        else:
            self.scheduler = make(**options)
            self.append = lambda number: write(self.scheduler, name, number)
"""


@case("L30", "two schedulers share a folder, one for a private repository and one for a public one")
def two_repositories(trial: Trial) -> Outcome:
    trial.create(private=False)
    done = trial.run(
        f"""{ROWS}
private = Rows("private.jsonl", repo_id=REPO + "-private", private=True)
public = Rows("public.jsonl", private=False)
private.append(1)
public.append(0)
for rows in (private, public):
    if OURS:
        outcome(lambda: rows.scheduler.flush(30))
    else:
        outcome(lambda: rows.scheduler.trigger().result(30))
say(ended=True)
leave()
"""
    )
    assert done.said["ended"]
    ids = trial.ids()
    leaked = ids.count(1)
    return Outcome(f"{counted(leaked, 'private row')} in the public one; {ids.count(0)} of 1 row", ids == [0])


@case("L31", "somebody removes the folder while the app runs, then the next push comes")
def removed_folder(trial: Trial) -> Outcome:
    done = trial.run(
        f"""{ROWS}
import shutil
rows = Rows("data.jsonl")
rows.scheduler.trigger().result(30)
for number in range(3):
    rows.append(number)
shutil.rmtree(FOLDER)
push = outcome(lambda: rows.scheduler.flush(30) if OURS else rows.scheduler.trigger().result(30))
say(push=push)
leave()
"""
    )
    kept = trial.kept(3)
    return Outcome(f"{kept.text} ({done.said['push']})", kept.ok)


@case("L32", "a notebook cell makes its scheduler 20 times, and writes a row each time")
def made_again(trial: Trial) -> Outcome:
    done = trial.run(
        f"""{ROWS}
for number in range(20):
    rows = Rows("data.jsonl")
    rows.append(number)
alive = sum("_run_scheduler" in each.name or "hubspool-push" in each.name for each in threading.enumerate())
outcome(lambda: rows.scheduler.flush(30) if OURS else rows.scheduler.trigger().result(30))
say(threads=alive)
leave()
"""
    )
    kept, threads = trial.kept(20), done.said["threads"]
    return Outcome(f"{kept.text}; {counted(threads, 'pushing thread')}", kept.ok and threads == 1)


@case("L33", "SIGTERM while the main thread is inside `with scheduler.lock`, 5 rows pending")
def sigterm_under_the_lock(trial: Trial) -> Outcome:
    script = """
import signal
scheduler = make()
scheduler.trigger().result(30)
write(scheduler, "data.jsonl", *range(5))
with scheduler.lock:
    say(ready=True)
    signal.pause()
"""
    with trial.start(script) as running:
        running.wait_for("ready")
        running.signal(signal.SIGTERM)
        done = running.end(30)
    kept = trial.kept(5)
    return Outcome(f"{kept.text}, exit code {done.code}", kept.ok and done.code in (-15, 143, 0))
