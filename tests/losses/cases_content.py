"""What reaches the Hub: the same names again, unchanged times, half lines, growth, lost answers."""

from __future__ import annotations

import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet

from hubspool.local_hub import Fault
from hubspool.scheduling.status import counted
from tests.support.loss_trial import COMMIT, Cases, Outcome, Trial

case = Cases()


@case("L1", "the app starts again on a fresh disk and writes the same file name")
def restart_on_a_fresh_disk(trial: Trial) -> Outcome:
    script = """
scheduler = make()
write(scheduler, "data.jsonl", *map(int, sys.argv[1:] or os.environ["IDS"].split()))
scheduler.trigger().result(30)
leave()
"""
    trial.run(script, IDS="0 1 2")
    shutil.rmtree(trial.folder)
    trial.run(script, IDS="3")
    return trial.kept(4)


@case("L4", "rows collected in memory are written to a shard and committed; the first commit request gets a 503")
def rows_in_memory(trial: Trial) -> Outcome:
    """Stock: the recipe of the well-known Parquet scheduler, which empties its list before the upload."""
    script = """
if OURS:
    from hubspool_templates import JsonlScheduler
    scheduler = JsonlScheduler(REPO, FOLDER, every=600)
    append = scheduler.append
else:
    import uuid
    class Shards(CommitScheduler):
        def push_to_hub(self):
            with self.lock:
                rows, waiting[:] = list(waiting), []
            if rows:
                content = "".join(json.dumps(row) + "\\n" for row in rows).encode()
                self.api.upload_file(repo_id=REPO, repo_type="dataset", path_or_fileobj=content,
                                     path_in_repo=f"data/{uuid.uuid4()}.jsonl")
    waiting = []
    append = waiting.append
    scheduler = make(Shards)
scheduler.trigger().result(30)
for each in range(3):
    append({"id": each})
say(ready=True)
sys.stdin.readline()
outcome(lambda: scheduler.trigger().result(40))
append({"id": 3})
outcome(lambda: scheduler.trigger().result(40))
leave()
"""
    with trial.start(script) as running:
        running.wait_for("ready")
        trial.hub.faults.add(Fault(route=COMMIT, status=503))
        running.tell()
        running.end(90)
    assert trial.hub.faults.hits
    return trial.kept(4)


@case("L4 (Parquet, zip)", "the same with rows for Parquet files, and with files for zip archives", cheap=False)
def ready_made_archives(trial: Trial) -> Outcome:
    """Stock: the well-known Parquet recipe, and the archives of the Hub's own guide, which removes what it has sent."""
    script = """
KIND = os.environ["KIND"]
if OURS:
    from hubspool_templates import ParquetScheduler, ZipScheduler
    ready_made = ParquetScheduler if KIND == "parquet" else ZipScheduler
    scheduler = ready_made(REPO, FOLDER / KIND, every=600, path_in_repo=KIND)
else:
    import io, uuid, zipfile
    import pyarrow, pyarrow.parquet
    class Archives(CommitScheduler):
        def push_to_hub(self):
            content = io.BytesIO()
            if KIND == "parquet":
                with self.lock:
                    taken, waiting[:] = list(waiting), []
                pyarrow.parquet.write_table(pyarrow.Table.from_pylist(taken), content)
            else:
                taken = list(self.folder_path.glob("*.txt"))
                with zipfile.ZipFile(content, "w") as archive:
                    for path in taken:
                        archive.write(path, path.name)
            if taken:
                self.api.upload_file(repo_id=REPO, repo_type="dataset", path_or_fileobj=content.getvalue(),
                                     path_in_repo=f"{KIND}/{uuid.uuid4()}.{KIND}")
            for path in taken if KIND == "zip" else []:
                path.unlink()
    waiting = []
    scheduler = make(Archives, folder_path=FOLDER / KIND)

def store(number):
    if KIND == "zip":
        hidden = FOLDER / f"{number}.tmp"
        hidden.write_text(str(number))
        hidden.rename(FOLDER / KIND / f"{number}.txt")
    else:
        (scheduler.append if OURS else waiting.append)({"id": number})
scheduler.trigger().result(30)
for each in range(3):
    store(each)
say(ready=True)
sys.stdin.readline()
outcome(lambda: scheduler.trigger().result(40))
store(3)
outcome(lambda: scheduler.trigger().result(40))
leave()
"""
    found: dict[str, list[int]] = {"parquet": [], "zip": []}
    for kind, ids in found.items():
        trial.hub.faults.clear()
        with trial.start(script, environment={"KIND": kind}) as running:
            running.wait_for("ready")
            refused = trial.hub.faults.add(Fault(route=COMMIT, status=503))
            running.tell()
            running.end(90)
        assert refused in [hit.fault for hit in trial.hub.faults.hits]
        for path in [path for path in trial.files() if path.endswith(f".{kind}")]:
            content = io.BytesIO(trial.content(path))
            if kind == "parquet":
                ids.extend(pyarrow.parquet.read_table(content)["id"].to_pylist())
            else:
                names = zipfile.ZipFile(content).namelist()
                ids.extend(int(Path(name).stem) for name in names if name.endswith(".txt"))
        trial.delete()  # one repository has one form
    kept = {kind: len(set(ids) & {*range(4)}) for kind, ids in found.items()}
    whole = all(sorted(ids) == [*range(4)] for ids in found.values())
    return Outcome(f"{kept['parquet']} of 4 rows, {kept['zip']} of 4 files", whole)


@case("L11", "a file is replaced by another one of equal size, and its times are restored")
def restored_times(trial: Trial) -> Outcome:
    trial.run("""
scheduler = make()
path = FOLDER / "state.bin"
with scheduler.lock:
    path.write_bytes(b"old content")
scheduler.trigger().result(30)
stat = path.stat()
with scheduler.lock:
    path.write_bytes(b"new content")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
scheduler.trigger().result(30)
leave()
""")
    found = trial.content("state.bin")
    return Outcome(f"the Hub has the {found.decode()}", found == b"new content")


@case("L12", "a writer without the lock is in the middle of a line during the push")
def middle_of_a_line(trial: Trial) -> Outcome:
    trial.run("""
scheduler = make()
with (FOLDER / "data.jsonl").open("a") as file:
    file.write('{"id": 0}\\n{"id": 1, "text": "half a')
    file.flush()
    scheduler.trigger().result(30)
leave()
""")
    lines = trial.content("data.jsonl").splitlines()
    return Outcome(
        f"{counted(len(lines), 'line')} on the Hub, {len(trial.ids())} of them JSON",
        len(lines) == len(trial.ids()) == 1,
    )


@case("L18", "a file of the LFS class grows by 1 MB between pushes (30 times; payload 30 MB)", cheap=False)
def a_growing_file(trial: Trial) -> Outcome:
    return _grow(trial, "log.bin")


@case("L18 (rows)", "1,000 rows of 1 kB are added between pushes (30 times; payload 30 MB)", cheap=False)
def growing_rows(trial: Trial) -> Outcome:
    """Ours: `JsonlScheduler`. In a file of the user's own the Hub takes text up to 10 MB only inside the commit."""
    return _grow(trial, "data.jsonl")


def _grow(trial: Trial, name: str, pushes: int = 30, rows: int = 1000) -> Outcome:
    pushes = max(int(pushes * trial.scale), 3)
    done = trial.run(
        """
import random
PUSHES, ROWS, NAME = int(os.environ["PUSHES"]), int(os.environ["ROWS"]), os.environ["NAME"]
if OURS and NAME.endswith(".jsonl"):
    from hubspool_templates import JsonlScheduler
    scheduler = JsonlScheduler(REPO, FOLDER, every=600)
else:
    scheduler = make()
scheduler.trigger().result(60)
size = 0
for push in range(PUSHES):
    rows = [{"id": push * ROWS + row, "text": random.randbytes(490).hex()} for row in range(ROWS)]
    size += sum(len(json.dumps(row)) + 1 for row in rows)
    if scheduler.__class__ is not CommitScheduler:
        scheduler.extend(rows)
    else:
        with scheduler.lock, (FOLDER / NAME).open("a") as file:
            file.writelines(json.dumps(row) + "\\n" for row in rows)
    scheduler.trigger().result(60)
say(size=size)
leave()
""",
        timeout=600,
        PUSHES=str(pushes),
        ROWS=str(rows),
        NAME=name,
    )
    sent, size = trial.bytes_sent(), done.said["size"]
    if name.endswith(".jsonl"):
        kept = trial.kept(pushes * rows)
    else:
        kept = Outcome(f"{len(trial.content(name)) / 1e6:.0f} MB stored", len(trial.content(name)) == size)
    ratio = sent / size
    return Outcome(f"{sent / 1e6:.0f} MB sent, {ratio:.1f} times the payload; {kept.text}", kept.ok and ratio < 2)


@case(
    "L18 (600 pushes)", "200 rows of 1 kB are added between pushes, 600 times (huggingface_hub: 100 times)", cheap=False
)
def many_pushes(trial: Trial) -> Outcome:
    return _grow(trial, "data.jsonl", pushes=600 if trial.is_ours else 100, rows=200)


@case("L22", "squash_history=True: 3 commits, then 3 pushes with nothing new", no_bucket="no history")
def squash(trial: Trial) -> Outcome:
    script = """
scheduler = make(squash_history=True)
scheduler.trigger().result(30)
for each in range(3):
    write(scheduler, "data.jsonl", each)
    scheduler.trigger().result(30)
for each in range(3):
    scheduler.trigger().result(30)
leave()
"""
    trial.run(script)
    squashed, commits = len(trial.requests("super-squash")), len(trial.requests(*COMMIT))
    kept = trial.kept(3)
    return Outcome(
        f"{counted(squashed, 'squash', 'squashes')} for {counted(commits, 'commit')}; {kept.text}",
        squashed <= commits and kept.ok,
    )


@case("L22 (policy)", "keep the last commits: squash when more than 3 have gathered; 5 commits", no_bucket="no history")
def squash_policy(trial: Trial) -> Outcome:
    trial.run("""
scheduler = make(squash_history=3 if OURS else True)
scheduler.trigger().result(30)
for each in range(5):
    write(scheduler, "data.jsonl", each)
    scheduler.trigger().result(30)
leave()
""")
    squashed, kept = len(trial.requests("super-squash")), trial.kept(5)
    left = counted(trial.commits() + 1, "commit")
    text = f"{counted(squashed, 'squash', 'squashes')}, {left} left; {kept.text}"
    return Outcome(text, kept.ok and squashed == 1)


@case("L24", "shards; the answer to a commit that landed is lost, the rows are sent again")
def a_lost_answer(trial: Trial) -> Outcome:
    """Stock: a recipe that keeps its rows until the upload returned, which is the best that one can do there."""
    script = """
if OURS:
    from hubspool_templates import JsonlScheduler
    scheduler = JsonlScheduler(REPO, FOLDER, every=600)
    append = scheduler.append
else:
    import uuid
    class Shards(CommitScheduler):
        def push_to_hub(self):
            if waiting:
                content = "".join(json.dumps(row) + "\\n" for row in waiting).encode()
                self.api.upload_file(repo_id=REPO, repo_type="dataset", path_or_fileobj=content,
                                     path_in_repo=f"data/{uuid.uuid4()}.jsonl")
                waiting.clear()
    waiting = []
    append = waiting.append
    scheduler = make(Shards)
scheduler.trigger().result(30)
for each in range(3):
    append({"id": each})
say(ready=True)
sys.stdin.readline()
outcome(lambda: scheduler.trigger().result(40))
outcome(lambda: scheduler.trigger().result(40))
leave()
"""
    with trial.start(script) as running:
        running.wait_for("ready")
        trial.hub.faults.add(Fault(route=COMMIT, drop=True, applied=True))
        running.tell()
        running.end(90)
    assert trial.hub.faults.hits
    return trial.kept(3)


@case("L26", "the scheduler creates the repository; `private` is not passed")
def private_by_default(trial: Trial) -> Outcome:
    trial.run("make().trigger().result(30)\nleave()\n")
    private = trial.is_private()
    return Outcome("private" if private else "public", private)


@case("L27", "the app starts again with the same folder of 20 files, nothing has changed")
def restart_with_nothing_new(trial: Trial) -> Outcome:
    script = """
scheduler = make()
if not (FOLDER / "0.bin").exists():
    for each in range(20):
        (FOLDER / f"{each}.bin").write_bytes(os.urandom(10_000))
scheduler.trigger().result(30)
scheduler.trigger().result(30)
leave()
"""
    trial.run(script)
    trial.hub.requests.clear()
    trial.run(script)
    offered = sum(record.bytes_in for record in trial.requests("preupload"))
    posts = len(trial.requests("preupload", *COMMIT))
    return Outcome(f"{counted(posts, 'request')}, {offered / 1000:.1f} kB to offer the files again", posts == 0)


@case("L28", "an empty file and a note lie beside the data; load_dataset")
def stray_files(trial: Trial) -> Outcome:
    return _loads(trial, [{"id": 0}, {"id": 1}], stray=True)


@case("L28 (columns)", "a later file has a new column; load_dataset", no_bucket="no card: `hubspool publish` writes it")
def a_new_column(trial: Trial) -> Outcome:
    return _loads(trial, [{"id": 0}, {"id": 1, "extra": "new"}], stray=False)


@case(
    "L28 (types)",
    "a column has numbers in one file and text in a later one; load_dataset",
    no_bucket="no card: `hubspool publish` writes it",
)
def a_column_of_two_kinds(trial: Trial) -> Outcome:
    return _loads(trial, [{"id": 0, "score": 7}, {"id": 1, "score": "good"}], stray=False)


def _loads(trial: Trial, rows: list[dict[str, object]], *, stray: bool) -> Outcome:
    """Push each row in a file of its own, and load the data set in another process."""
    script = """
rows, stray = json.loads(os.environ["ROWS"]), os.environ["STRAY"] == "True"
if OURS:
    from hubspool_templates import JsonlScheduler
    scheduler = JsonlScheduler(REPO, FOLDER, every=600)
else:
    scheduler = make(path_in_repo="data")
for number, row in enumerate(rows):
    if OURS:
        scheduler.append(row)
        scheduler.spool.close()  # the next row goes to another file
    else:
        with scheduler.lock:
            (FOLDER / f"{number}.jsonl").write_text(json.dumps(row) + "\\n")
    scheduler.trigger().result(30)
if stray:
    with scheduler.lock:
        (FOLDER / "empty.jsonl").touch()
        (FOLDER / "notes.txt").write_text("remember the milk\\n")
scheduler.trigger().result(30)
leave()
"""
    trial.run(script, ROWS=json.dumps(rows), STRAY=str(stray))
    read = "import datasets\nrows = datasets.load_dataset(REPO, split='train')\nsay(ids=sorted(rows['id']))\n"
    done = trial.run(read, timeout=120)
    ids = done.said.get("ids")
    reason = done.log.strip().rsplit("\n", 1)[-1].split(":")[0].rsplit(".", 1)[-1]
    return Outcome(f"loads, {len(ids)} of 2 rows" if ids else f"does not load ({reason})", ids == [0, 1])


@case("L29", "the command line's `upload --every` is ended with Ctrl-C after a change")
def ctrl_c(trial: Trial) -> Outcome:
    program = "hubspool" if trial.is_ours else "hf"
    command = [str(Path(sys.executable).parent / program), "upload", trial.address, str(trial.folder), "--every", "600"]
    (trial.folder / "data.jsonl").write_text(json.dumps({"id": 0}) + "\n")
    with trial.start("", command=[*command, "--repo-type", "dataset"]) as running:
        assert trial.hub.requests.wait_for(lambda record: record.route in COMMIT and record.status == 200, timeout=60)
        with (trial.folder / "data.jsonl").open("a") as file:
            file.write(json.dumps({"id": 1}) + "\n")
        running.signal(2)
        done = running.end(30)
    kept = trial.kept(2)
    return Outcome(f"{kept.text}, exit code {done.code}", kept.ok)
