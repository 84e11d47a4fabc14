"""The ways out of a process, and into one: signals, the normal end, stop, with, fork, subclasses."""

from __future__ import annotations

import signal

from hubspool.local_hub import Fault
from tests.support.loss_trial import COMMIT, Cases, Outcome, Trial

case = Cases()


@case("L2", "SIGTERM with 20 rows pending, in a plain script")
def sigterm(trial: Trial) -> Outcome:
    script = """
import signal
scheduler = make()
scheduler.trigger().result(30)
write(scheduler, "data.jsonl", *range(20))
say(ready=True)
signal.pause()
"""
    with trial.start(script) as running:
        running.wait_for("ready")
        running.signal(signal.SIGTERM)
        done = running.end(30)
    kept = trial.kept(20)
    return Outcome(
        f"{kept.text}, exit code {done.code} after {done.seconds:.2f} s", kept.ok and done.code in (-15, 143, 0)
    )


@case("L3", "the script ends normally with two new files of the LFS class")
def normal_exit(trial: Trial) -> Outcome:
    done = trial.run("""
scheduler = make()
scheduler.trigger().result(30)
with scheduler.lock:
    for name in ("a.bin", "b.bin"):
        (FOLDER / name).write_bytes(os.urandom(200_000))
""")
    files = trial.files()
    return Outcome(f"{len(files)} of 2 files, exit code {done.code}", files == ["a.bin", "b.bin"] and done.code == 0)


@case("L9", "stop() with 3 rows pending")
def stop(trial: Trial) -> Outcome:
    done = trial.run("""
scheduler = make()
scheduler.trigger().result(30)
write(scheduler, "data.jsonl", 0, 1, 2)
scheduler.stop()
say(alive=is_alive())
leave()
""")
    kept = trial.kept(3)
    alive = done.said["alive"]
    return Outcome(f"{kept.text}; the thread {'lives on' if alive else 'has ended'}", kept.ok and not alive)


@case("L10", "the body of a `with` raises KeyError, and the Hub refuses the final push")
def failing_with(trial: Trial) -> Outcome:
    script = """
scheduler = make()
scheduler.trigger().result(30)
say(ready=True)
sys.stdin.readline()
def body():
    with scheduler:
        write(scheduler, "data.jsonl", 0)
        raise KeyError("the user's own")
say(raised=outcome(body), alive=is_alive())
leave()
"""
    with trial.start(script) as running:
        running.wait_for("ready")
        trial.hub.faults.add(Fault(route=COMMIT, status=403, times=None))
        running.tell()
        said = running.end(60).said
    assert trial.hub.faults.hits
    return Outcome(
        f"{said['raised']} comes out; the thread {'lives on' if said['alive'] else 'has ended'}",
        said == {"ready": True, "raised": "KeyError", "alive": False},
    )


@case("L15", "fork: the child writes 3 rows and waits for a push of its own")
def fork(trial: Trial) -> Outcome:
    done = trial.run("""
scheduler = make()
scheduler.trigger().result(30)
child = os.fork()
if child == 0:
    write(scheduler, "child.jsonl", 0, 1, 2)
    say(trigger=outcome(lambda: scheduler.trigger().result(15)))
    leave()
os.waitpid(child, 0)
leave()
""")
    kept = trial.kept(3)
    waited = done.said.get("trigger")
    how = "ended" if waited == "ok" else f"{waited} after 15 s"
    return Outcome(f"{kept.text}; trigger().result(): {how}", kept.ok and waited == "ok")


@case("L17", "a subclass sets an attribute, which its push needs, after super().__init__()")
def subclass(trial: Trial) -> Outcome:
    done = trial.run("""
began = threading.Event()
class Own(CommitScheduler):
    def __init__(self, **options):
        super().__init__(**options)
        began.wait(1)  # long enough for a push that does not wait for us
        self.prefix = "own"
    def push_to_hub(self):
        began.set()
        return self.prefix and super().push_to_hub()
scheduler = make(Own)
has_future = hasattr(scheduler, "last_future")
say(first=outcome(lambda: scheduler.last_future.result(30)), has_future=has_future)
leave()
""")
    first = done.said["first"]
    return Outcome(f"first push: {first}", first == "ok" and done.said["has_future"])
