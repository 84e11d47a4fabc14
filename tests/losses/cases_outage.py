"""A Hub that is silent, refuses or is away, and files that cannot be sent."""

from __future__ import annotations

import json
import math

from hubspool.local_hub import Fault
from hubspool.scheduling.status import counted
from tests.support.loss_trial import COMMIT, Cases, Outcome, Trial

case = Cases()


@case("L5", "the Hub accepts one request and never answers (time-out set to 2 s where there is one to set)")
def a_silent_hub(trial: Trial) -> Outcome:
    script = """
scheduler = make()
scheduler.trigger().result(30)
say(ready=True)
sys.stdin.readline()
write(scheduler, "data.jsonl", 0)
first = outcome(lambda: scheduler.trigger().result(20))
write(scheduler, "data.jsonl", 1)
second = outcome(lambda: scheduler.trigger().result(10))
say(first=first, second=second)
leave()
"""
    with trial.start(script, environment={"HUBSPOOL_TIMEOUT": "2"}) as running:
        running.wait_for("ready")
        trial.hub.faults.add(Fault(route=("preupload", "bucket-token"), delay=math.inf))
        running.tell()
        said = running.end(60).said
    assert trial.hub.faults.hits
    trial.hub.faults.clear()
    kept = trial.kept(2)
    hangs = "TimeoutError" in (said["first"], said["second"])
    return Outcome(f"{kept.text}; {'hangs for 30 s, as long as we waited' if hangs else 'the push goes on'}", kept.ok)


@case("L6", "1,100 new files at a limit of 1,024 descriptors", cheap=False)
def descriptors(trial: Trial) -> Outcome:
    done = trial.run(
        """
import resource
scheduler = make()
scheduler.trigger().result(30)
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
with scheduler.lock:
    for each in range(1100):
        (FOLDER / f"{each}.jsonl").write_text(json.dumps({"id": each}) + "\\n")
say(push=outcome(lambda: scheduler.trigger().result(120)))
leave()
""",
        timeout=200,
    )
    kept = (
        trial.kept(1100, "files")
        if done.said["push"] == "ok"
        else Outcome(f"{len(trial.files())} of 1100 files", False)
    )
    return Outcome(f"{kept.text} ({done.said['push']})", kept.ok)


@case("L7", "of three files one vanishes as the push has looked at the folder")
def a_file_vanishes(trial: Trial) -> Outcome:
    done = trial.run("""
class Vanishing:
    def __init__(self, lock):
        self.lock = lock
    def __getattr__(self, name):
        return getattr(self.lock, name)
    def __enter__(self):
        return self.lock.__enter__()
    def __exit__(self, *error):
        self.release()
    def release(self):
        self.lock.release()
        if threading.current_thread() is not threading.main_thread():
            (FOLDER / "1.jsonl").unlink(missing_ok=True)
class Own(CommitScheduler):
    def __init__(self, **options):
        super().__init__(**options)
        self.lock = Vanishing(self.lock)
scheduler = make(Own)
scheduler.trigger().result(30)
for each in range(3):
    write(scheduler, f"{each}.jsonl", each)
say(push=outcome(lambda: scheduler.trigger().result(30)))
leave()
""")
    files = trial.files()
    return Outcome(f"{len(files)} of the 2 others ({done.said['push']})", files == ["0.jsonl", "2.jsonl"])


@case("L8", "the repo's .gitignore matches the data", no_bucket="no .gitignore")
def ignored(trial: Trial) -> Outcome:
    trial.create()
    trial.api.upload_file(
        path_or_fileobj=b"*.jsonl\n", path_in_repo=".gitignore", repo_id=trial.repo, repo_type="dataset"
    )
    before = trial.commits()
    done = trial.run("""
scheduler = make()
scheduler.trigger().result(30)
write(scheduler, "data.jsonl", 0)
push = outcome(lambda: scheduler.trigger().result(30))
told = bool(scheduler.status().skipped) if OURS else push != "ok"
say(push=push, told=told)
leave()
""")
    empty, told = trial.commits() - before, done.said["told"]
    return Outcome(f"{counted(empty, 'empty commit')}; {'told' if told else 'counts as uploaded'}", empty == 0 and told)


@case("L13", "repo_type='space': the rows of one Space go to another one", no_bucket="buckets are of one type")
def a_space(trial: Trial) -> Outcome:
    trial.create(repo_type="space", space_sdk="gradio")
    script = """
scheduler = make(repo_type="space")
write(scheduler, "data.jsonl", 0)
scheduler.trigger().result(30)
leave()
"""
    trial.run(script)
    ids = trial.ids("space")
    trial.hub.requests.clear()
    itself = trial.run(script, SPACE_ID=trial.repo)
    commits = len(trial.requests(*COMMIT))
    refused = "not started" if itself.code else "started"
    return Outcome(
        f"{len(ids)} of 1 row; on the Space that it runs in: {refused}, {counted(commits, 'commit')}",
        ids == [0] and itself.code == 1 and commits == 0,
    )


@case("L14", "the Hub is away when the app starts, and comes back")
def away_at_the_start(trial: Trial) -> Outcome:
    trial.hub.faults.add(Fault(drop=True, times=None))
    script = """
scheduler = make()
write(scheduler, "data.jsonl", 0, 1, 2)
say(started=True)
sys.stdin.readline()
say(push=outcome(lambda: scheduler.trigger().result(30)))
leave()
"""
    with trial.start(script) as running:
        try:
            running.wait_for("started")
            started = True
        except RuntimeError:
            started = False
        assert trial.hub.faults.hits
        trial.hub.faults.clear()
        if started:
            running.tell()
        running.end(60)
    kept = trial.kept(3)
    return Outcome(f"the app {'starts' if started else 'does not start'}; {kept.text}", started and kept.ok)


#: With what the Hub says to them.
STATUSES = {
    429: "You have been rate limited",
    409: "Another commit is in progress",
    412: "The branch was updated since you opened this page. Please refresh and try again.",
    500: "Internal error",
    503: "Service unavailable",
}


@case("L19", "the commit request meets 429, 409, 412, 500 and 503, once each; nobody waits for the next period")
def passing_errors(trial: Trial) -> Outcome:
    script = """
scheduler = make()
scheduler.trigger().result(30)
say(ready=True)
for each, line in enumerate(sys.stdin):
    write(scheduler, f"{each}.jsonl", each)
    say(**{line.strip(): outcome(lambda: scheduler.trigger().result(50))})
leave()
"""
    arrived = 0
    with trial.start(script) as running:
        running.wait_for("ready")
        for number, (status, said) in enumerate(STATUSES.items()):
            trial.hub.faults.add(Fault(route=COMMIT, status=status, body=json.dumps({"error": said})))
            running.tell(str(status))
            running.wait_for(str(status))
            arrived += number in trial.ids()
    assert len(trial.hub.faults.hits) >= len(STATUSES)
    kept = trial.kept(len(STATUSES))
    return Outcome(f"{arrived} of {len(STATUSES)} pushes arrive", arrived == len(STATUSES) and kept.ok)


@case("L23", "the Hub refuses a push with 403: what an operator can find out")
def errors_are_shown(trial: Trial) -> Outcome:
    script = """
events = []
scheduler = make(on_error=events.append) if OURS else make()
scheduler.trigger().result(30)
say(ready=True)
sys.stdin.readline()
write(scheduler, "data.jsonl", 0)
outcome(lambda: scheduler.trigger().result(30))
say(status=(scheduler.status().last_error or "") if OURS else "", events=len(events))
leave()
"""
    with trial.start(script) as running:
        running.wait_for("ready")
        trial.hub.faults.add(Fault(route=COMMIT, status=403, body='{"error": "the quota is used up"}', times=None))
        running.tell()
        done = running.end(60)
    assert trial.hub.faults.hits
    says = "https://huggingface.co/settings/tokens" in done.log
    asked = "quota" in done.said["status"]
    return Outcome(
        f"log {'with' if says else 'without'} the next step; status() {'says why' if asked else 'does not exist'};"
        f" {counted(done.said['events'], 'call')} of on_error",
        says and asked and done.said["events"] > 0,
    )
