"""Many processes, many files, many pushes."""

from __future__ import annotations

from hubspool.local_hub import Fault, RateLimit
from hubspool.scheduling.status import counted
from tests.support.loss_trial import COMMIT, Cases, Outcome, Trial

case = Cases()

TIMED = """
class Timed:
    def __init__(self, lock):
        self.lock, self.held = lock, []
    def __getattr__(self, name):
        return getattr(self.lock, name)
    def acquire(self, *args, **options):
        taken = self.lock.acquire(*args, **options)
        self.began = time.perf_counter()
        return taken
    def release(self):
        self.held.append(time.perf_counter() - self.began)
        self.lock.release()
    __enter__ = acquire
    def __exit__(self, *error):
        self.release()
class Own(CommitScheduler):
    def __init__(self, **options):
        super().__init__(**options)
        self.lock = Timed(self.lock)
"""


@case("L16", "four worker processes on one folder, each with a file of 25 rows of 4 kB, push at the same time")
def four_processes(trial: Trial) -> Outcome:
    done = trial.run("""
children = []
write_end = [os.pipe() for _ in range(4)]
for number in range(4):
    child = os.fork()
    if child == 0:
        scheduler = make()
        scheduler.trigger().result(30)
        with scheduler.lock, (FOLDER / f"{number}.jsonl").open("a") as file:
            for each in range(25):
                file.write(json.dumps({"id": number * 25 + each, "text": os.urandom(2000).hex()}) + "\\n")
        os.write(write_end[number][1], b".")
        for read, _ in write_end:  # all have written
            os.set_inheritable(read, True)
        (FOLDER.parent / f"go-{number}").touch()
        while not all((FOLDER.parent / f"go-{each}").exists() for each in range(4)):
            threading.Event().wait(0.01)
        push = outcome(lambda: scheduler.trigger().result(50))
        if OURS:
            push = outcome(lambda: scheduler.flush(50))
        (FOLDER.parent / f"push-{number}").write_text(push)
        leave()
    children.append(child)
for child in children:
    os.waitpid(child, 0)
say(pushes=[(FOLDER.parent / f"push-{number}").read_text() for number in range(4)],
    size=sum(path.stat().st_size for path in FOLDER.rglob("*.jsonl")))
""")
    kept, sent = trial.kept(100), trial.bytes_sent()
    refused = sum(record.status >= 400 for record in trial.requests(*COMMIT))
    times = sent / done.said["size"]
    return Outcome(
        f"{kept.text}; {counted(trial.commits(), 'commit')}, {refused} refused, {times:.1f} times the payload sent",
        kept.ok and refused == 0 and times < 2.5,  # in a commit, content is in base64
    )


@case("L20", "the lock while a folder of 100,000 files is pushed, one of them new", cheap=False)
def a_large_folder(trial: Trial) -> Outcome:
    count = int(100_000 * trial.scale)
    for number in range(count):
        if number % 1000 == 0:
            (trial.folder / f"{number // 1000:03d}").mkdir()
        (trial.folder / f"{number // 1000:03d}" / f"{number}.txt").touch()
    done = trial.run(
        TIMED
        + """
scheduler = make(Own, allow_patterns="*.jsonl")
scheduler.trigger().result(100)
for each in range(3):
    write(scheduler, f"{each:03d}/new.jsonl", each)
    del scheduler.lock.held[:]
    scheduler.trigger().result(100)
    say(**{str(each): max(scheduler.lock.held)})
leave()
""",
        timeout=400,
    )
    kept = trial.kept(3)
    held = max(done.said[str(each)] for each in range(3))
    return Outcome(f"held for {held * 1000:.0f} ms of {count:,} files; {kept.text}", kept.ok and held < 0.1)


@case("L21", "a push takes as long as 20 periods")
def slow_pushes(trial: Trial) -> Outcome:
    done = trial.run("""
PERIOD = 0.1
go, begun, calls = threading.Event(), threading.Event(), []
class Slow(CommitScheduler):
    def push_to_hub(self):
        calls.append(time.monotonic())
        begun.set()
        go.wait(30)
scheduler = make(Slow, every=PERIOD / 60)
begun.wait(30)
threading.Event().wait(20 * PERIOD)
released = time.monotonic()
go.set()
threading.Event().wait(5 * PERIOD)
say(at_once=sum(released <= call < released + PERIOD / 2 for call in calls))
leave()
""")
    at_once = done.said["at_once"]
    return Outcome(f"{counted(at_once, 'push', 'pushes')} had queued up", at_once <= 2)


@case(
    "L25",
    "8 replicas share a budget of 3 commits in 5 seconds, one row each; no period passes",
    cheap=False,
    no_bucket="no commits to share",
)
def a_shared_budget(trial: Trial) -> Outcome:
    trial.create()
    script = """
schedulers = [make(folder_path=FOLDER / str(each), squash_history=False) for each in range(8)]
for each in schedulers:
    each.trigger().result(30)
say(ready=True)
sys.stdin.readline()
for number, each in enumerate(schedulers):
    write(each, f"{number}.jsonl", number)
futures = [each.trigger() for each in schedulers]
say(pushes=[outcome(lambda: each.result(60)) for each in futures])
leave()
"""
    with trial.start(script) as running:
        running.wait_for("ready")
        trial.hub.faults.add(Fault(route=COMMIT, limit=RateLimit(3, 5), times=None))
        running.tell()
        running.end(120)
    assert trial.hub.faults.hits
    trial.hub.faults.clear()
    return trial.kept(8)
