"""`hubspool verify` finds what is lost, changed or doubled, with its path; in a sound repository it finds nothing."""

from __future__ import annotations

import io
import json
import re
import uuid
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from hubspool import CommitOperationAdd, CommitScheduler, HfApi, HubspoolError
from hubspool.cli import group
from hubspool.cli.verify import check
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.compaction import Compactor
from hubspool.push.defaults import PushLimits
from hubspool.push.joiner import Joiner
from hubspool.push.manifest import MANIFESTS, parse
from hubspool.push.remote import RemoteRepo
from hubspool.push.removal import Removal
from hubspool.push.remover import Remover
from hubspool.push.verify import Found, FoundKind, Severity
from hubspool_templates import ZipScheduler, read_rows
from hubspool_templates.joiners import JOINERS
from hubspool_templates.parquet.parquet_encoding import ParquetEncoding
from tests.datasets.damages import (
    KINDS,
    REPO,
    Dataset,
    Make,
    archive_row_gone,
    archive_without_metadata,
    card_without_a_column,
    copied_to_another_segment,
    id_twice,
    joined_archive_row_gone,
    joined_changed,
    joined_copied,
    joined_missing,
    joined_rows_changed,
    last_row_gone,
    manifest_cut,
    manifest_gone_with_the_history,
    member_missing,
    page_overwritten,
    parquet,
    part_doubled,
    part_missing,
    part_rows_changed,
    range_overlap,
    row_cut,
    stray_file_in_the_glob,
    truncated,
    with_other_numbers,
    wrong_file_in_a_manifest,
    wrong_sha256_in_a_manifest,
)
from tests.support.days import TOMORROW
from tests.support.oracle import hub_ahead, second_look_after
from tests.support.reader import PAGES


@pytest.fixture
def dataset(hub_api: HfApi) -> Dataset:
    return Dataset(hub_api)


def fill(scheduler: Any, numbers: Sequence[int]) -> None:
    for n in numbers:
        if isinstance(scheduler, ZipScheduler):
            scheduler.add(Image.new("RGB", (4, 4), (n, 0, 0)), "picture.png", n=n)
        else:
            scheduler.append({"n": n, "words": [f"{n}"]})


@contextmanager
def parts_that_do_not_grow() -> Iterator[None]:
    """Every push begins a part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CommitScheduler, "_limits", PushLimits(part_commits=1))
        patch.setattr(ParquetEncoding, "part_commits", 1)
        yield


@pytest.fixture
def small_parts() -> Iterator[None]:
    with parts_that_do_not_grow():
        yield


@dataclass
class Bases:
    """A Hub with a dataset of each form: joined parts, and three parts after them; what was found meanwhile."""

    api: HfApi
    found: dict[str, list[list[Found]]] = field(default_factory=dict)

    def fill(self, suffix: str, folder: Path) -> None:
        name, options = f"local/{suffix}", {} if suffix == "zip" else {"id": True}
        dataset = Dataset(self.api, repo=name)
        scheduler = KINDS[suffix](name, folder, every=600, hf_api=self.api, handle_signals=False, **options)
        found = self.found.setdefault(suffix, [])
        for step in range(5):
            fill(scheduler, range(step * 3, step * 3 + 3))
            scheduler.flush()
            if step == 1:
                found.append(dataset.check(folder))
                dataset.join(suffix)
                found.append(dataset.check(folder))
        scheduler.stop()
        found.append(dataset.check(folder))


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bases]:
    with LocalHub() as hub:
        found = Bases(HfApi(endpoint=hub.endpoint, token=hub.token))
        with parts_that_do_not_grow():
            for suffix in KINDS:
                found.fill(suffix, tmp_path_factory.mktemp(suffix))
        yield found


def test_nothing_is_found_in_a_sound_dataset_before_and_after_parts_are_joined(bases: Bases) -> None:
    assert bases.found == {suffix: [[], [], []] for suffix in KINDS}
    for suffix in KINDS:
        dataset = Dataset(bases.api, repo=f"local/{suffix}")
        assert (len(dataset.parts()), len(dataset.files("data/")), len(dataset.files(MANIFESTS))) == (3, 4, 1)


@pytest.fixture
def damaged(bases: Bases) -> Callable[[str], Dataset]:
    """A branch of its own of a dataset, to be damaged."""

    def branch(suffix: str) -> Dataset:
        name = f"branch-{uuid.uuid4().hex}"
        bases.api.create_branch(f"local/{suffix}", branch=name, repo_type="dataset")
        return Dataset(bases.api, name, f"local/{suffix}")

    return branch


DAMAGES = [
    ("jsonl", row_cut, FoundKind.UNREADABLE, "line 3, the last one, is cut"),
    ("jsonl", last_row_gone, FoundKind.CONTENT_CHANGED, "it does not hold what commit .* wrote: bytes"),
    ("jsonl", part_missing, FoundKind.PART_MISSING, "commit .* wrote bytes .*, and no file and no manifest has them"),
    ("parquet", part_missing, FoundKind.PART_MISSING, "commit .* wrote bytes"),
    ("zip", part_missing, FoundKind.PART_MISSING, "commit .* wrote bytes"),
    ("jsonl", joined_missing, FoundKind.PART_MISSING, "says that it holds 6 rows, and it does not exist"),
    ("jsonl", part_doubled, FoundKind.PART_DOUBLED, "no commit of a scheduler .*; its bytes are those of data/"),
    ("parquet", part_doubled, FoundKind.PART_DOUBLED, "it has bytes .*, and data/.* has bytes"),
    ("zip", part_doubled, FoundKind.PART_DOUBLED, "it has bytes .*, and data/.* has bytes"),
    ("parquet", copied_to_another_segment, FoundKind.PART_DOUBLED, "it has bytes .*, and data/.* has bytes"),
    ("jsonl", range_overlap, FoundKind.RANGE_OVERLAP, "it has bytes .*, and data/.* has bytes"),
    ("jsonl", joined_changed, FoundKind.CONTENT_CHANGED, "its bytes from 0 on are not those"),
    ("jsonl", wrong_sha256_in_a_manifest, FoundKind.MANIFEST_WRONG, "its sha256 of .* in data/.* is wrong"),
    ("jsonl", wrong_file_in_a_manifest, FoundKind.MANIFEST_WRONG, "its sha256 of data/.*-joined.* is wrong"),
    ("parquet", joined_rows_changed, FoundKind.CONTENT_CHANGED, "it is not the file that .hubspool/manifest/.* names"),
    ("parquet", part_rows_changed, FoundKind.CONTENT_CHANGED, "it does not hold what commit .* wrote: bytes"),
    ("zip", archive_row_gone, FoundKind.CONTENT_CHANGED, "it does not hold what commit .* wrote: bytes"),
    ("zip", joined_archive_row_gone, FoundKind.CONTENT_CHANGED, "it has 5 rows, and .* says 6"),
    ("jsonl", manifest_cut, FoundKind.MANIFEST_WRONG, "it cannot be read"),
    ("jsonl", joined_copied, FoundKind.MANIFEST_WRONG, "no manifest says .*; its bytes are those of data/.*-joined"),
    ("parquet", joined_copied, FoundKind.MANIFEST_WRONG, "no manifest says what it holds; its bytes are those of"),
    ("zip", manifest_gone_with_the_history, FoundKind.MANIFEST_WRONG, "no manifest says what it holds$"),
    ("jsonl", stray_file_in_the_glob, FoundKind.STRAY_FILE, "no scheduler wrote it, and the config default loads it"),
    ("parquet", stray_file_in_the_glob, FoundKind.STRAY_FILE, "no scheduler wrote it"),
    ("jsonl", card_without_a_column, FoundKind.CARD_WRONG, "lacks columns that data/.* has: words"),
    ("parquet", card_without_a_column, FoundKind.CARD_WRONG, "lacks columns that data/.* has: words"),
    ("jsonl", id_twice, FoundKind.ID_TWICE, "its row with the id .* is in data/.* too"),
    ("parquet", truncated, FoundKind.UNREADABLE, "it cannot be read as Parquet"),
    ("parquet", page_overwritten, FoundKind.UNREADABLE, "it cannot be read as Parquet"),
    ("zip", truncated, FoundKind.UNREADABLE, "it cannot be read as an archive"),
    ("zip", archive_without_metadata, FoundKind.UNREADABLE, "the archive has no metadata.jsonl"),
    ("zip", member_missing, FoundKind.UNREADABLE, "names a member in line . that it does not have"),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "damage", "kind", "sentence"), DAMAGES)
def test_a_planted_damage_is_found_at_its_path(
    damaged: Callable[[str], Dataset], suffix: str, damage: Callable[[Dataset], str], kind: FoundKind, sentence: str
) -> None:
    dataset = damaged(suffix)
    path = damage(dataset)
    found = [finding for finding in dataset.check() if finding.kind.severity is Severity.DAMAGE]
    assert (path, kind) in [(finding.path, finding.kind) for finding in found], found
    assert [finding for finding in found if re.search(sentence, finding.sentence)], found
    assert {finding.path for finding in found} == {path}, found


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_correction_with_the_id_of_the_row_is_no_damage(make: Make, dataset: Dataset, suffix: str) -> None:
    scheduler = make(KINDS[suffix], id=True)
    fill(scheduler, [1, 2])
    scheduler.flush()
    (first, _) = read_rows(REPO, dataset.api)
    scheduler.append({**first, "n": 7})
    scheduler.flush()
    assert [row["n"] for row in read_rows(REPO, dataset.api, latest="id")] == [2, 7]
    assert dataset.check(scheduler.folder_path) == []
    scheduler.append({**first, "n": 7})
    scheduler.flush()
    assert [found.kind for found in dataset.check(scheduler.folder_path)] == [FoundKind.ID_TWICE]


def compact(of: Dataset, suffix: str) -> None:
    with hub_ahead():
        Compactor(of.repo, "", {suffix: {"jsonl": Joiner, **JOINERS}[suffix]()}).run(TOMORROW)


WRONG_LINES: list[dict[str, Any] | int | list[Any]] = [
    1, [], {"segment": 5}, {"segment": "votes.jsonl"}, {"folder": None}, {"path": 3}, {"offset": "x"}, {"offset": -1},
    {"first": "1"}, {"sizes": ["a", "b"]}, {"sizes": 3}, {"sizes": []}, {"digests": ["0"]}, {"digests": [1, 2]},
    {"starts": [1]}, {"starts": ["a", "b"]}, {"counts": [None, 1]}, {"rows": None}, {"removed": "x"}, {"sha256": 5},
    {"file": 3},
]  # fmt: skip


def test_a_manifest_with_a_wrong_value_is_damaged(bases: Bases) -> None:
    dataset = Dataset(bases.api, repo="local/jsonl")
    (path,) = dataset.files(MANIFESTS)
    content = dataset.read(path)
    fields = json.loads(content.splitlines()[0])
    assert len(fields["sizes"]) == 2
    parse(content)
    for wrong in WRONG_LINES:
        with pytest.raises(ValueError):
            parse(json.dumps({**fields, **wrong} if isinstance(wrong, dict) else wrong).encode())


def test_a_damaged_manifest_stops_a_compaction_with_its_path(damaged: Callable[[str], Dataset]) -> None:
    dataset = damaged("jsonl")
    path = manifest_cut(dataset)
    with pytest.raises(HubspoolError, match=f"{path} on the Hub is damaged: .*It says which rows joined files have."):
        compact(dataset, "jsonl")


def footer_damaged(of: Dataset) -> str:
    path = of.parts()[1]
    content = of.read(path)
    size = int.from_bytes(content[-8:-4], "little") + 8
    return of.write(path, content[:-size] + b"\xff" * 40 + content[-size + 40 :])


def repacked(of: Dataset, change: Callable[[zipfile.ZipFile, dict[str, bytes]], None]) -> str:
    path = of.parts()[1]
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(of.read(path))) as old, zipfile.ZipFile(out, "w") as new:
        members = {name: old.read(name) for name in old.namelist()}
        change(new, members)
        for name, content in members.items():
            new.writestr(name, content)
        new.comment = old.comment
    return of.write(path, out.getvalue())


def metadata_without_names(of: Dataset) -> str:
    def change(_: zipfile.ZipFile, members: dict[str, bytes]) -> None:
        members["metadata.jsonl"] = members["metadata.jsonl"].replace(b'"file_name"', b'"other_name"')

    return repacked(of, change)


def metadata_is_no_object(of: Dataset) -> str:
    return repacked(of, lambda _, members: members.update({"metadata.jsonl": b"[1]\n"}))


def member_encrypted(of: Dataset) -> str:
    """Its flags say so; the standard library cannot write such an archive."""
    path = of.parts()[1]
    content = bytearray(of.read(path))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    return of.write(path, bytes(content))


UNREADABLE = [
    ("parquet", footer_damaged, "it cannot be read as Parquet"),
    ("parquet", page_overwritten, "it cannot be read as Parquet"),
    ("zip", metadata_without_names, "its metadata.jsonl has no file_name in line 1"),
    ("zip", metadata_is_no_object, "its metadata.jsonl has no file_name in line 1"),
    ("zip", member_missing, "its metadata.jsonl names a member in line . that it does not have"),
    ("zip", member_encrypted, "it cannot be read as an archive: .*encrypted"),
    ("zip", archive_without_metadata, "the archive has no metadata.jsonl"),
]


@pytest.mark.parametrize(("suffix", "damage", "sentence"), UNREADABLE)
def test_a_damaged_file_is_named_and_no_compaction_ends_at_it(
    damaged: Callable[[str], Dataset], suffix: str, damage: Callable[[Dataset], str], sentence: str
) -> None:
    dataset = damaged(suffix)
    path = damage(dataset)
    (found,) = [each for each in dataset.check() if each.kind.severity is Severity.DAMAGE]
    assert (found.path, found.kind) == (path, FoundKind.UNREADABLE)
    assert re.search(sentence, found.sentence), found.sentence
    compact(dataset, suffix)
    assert dataset.parts() == [path]


def test_ghosts_are_a_warning(make: Make, dataset: Dataset) -> None:
    writers = [make(folder=f"copy-{n}") for n in range(2)]
    for scheduler in writers:
        fill(scheduler, [1])
        scheduler.flush()
    late = dataset.parts()[0]
    content = dataset.read(late)
    dataset.join()
    dataset.write(late, content, f"hubspool-push: {'0' * 32}\nhubspool-part: {late} 0 {len(content)} {'0' * 64}")
    (ghost,) = dataset.check()
    assert (ghost.path, ghost.kind) == (late, FoundKind.GHOST)
    assert re.fullmatch("its rows are in data/.*-joined.* too; the next push deletes it", ghost.sentence)


def test_a_ledger_that_was_lost_leaves_no_damage(make: Make, dataset: Dataset) -> None:
    with second_look_after(0):
        for lost in (False, True, False):
            scheduler = make(keep_local=True)
            fill(scheduler, [1, 2])
            scheduler.flush()
            scheduler.stop()
            assert dataset.kinds(scheduler.folder_path) == {}
            for path in scheduler.spool_folder.glob("ledger.sqlite3*") if lost else ():
                path.unlink()
    assert len(dataset.parts()) == 3


def test_a_squashed_history_still_tells_what_was_sent(make: Make, dataset: Dataset, hub_api: HfApi) -> None:
    scheduler = make(squash_history=True)
    fill(scheduler, [1, 2])
    scheduler.flush()
    assert len(hub_api.list_repo_commits(REPO, repo_type="dataset")) == 1
    assert dataset.check(scheduler.folder_path) == []
    path = last_row_gone(dataset)
    assert dataset.kinds() == {path: FoundKind.CONTENT_CHANGED}
    dataset.remove(path)
    assert dataset.kinds() == {path: FoundKind.PART_MISSING}


@pytest.mark.usefixtures("small_parts")
def test_what_another_program_squashed_cannot_be_checked(make: Make, dataset: Dataset, hub_api: HfApi) -> None:
    scheduler = make()
    for n in range(3):
        fill(scheduler, [n])
        scheduler.flush()
    hub_api.super_squash_history(REPO, repo_type="dataset")
    fill(scheduler, [3])
    scheduler.flush()
    (note,) = dataset.check(scheduler.folder_path)
    assert (note.path, note.kind, note.kind.severity) == (
        str(Path(dataset.parts()[0]).parent), FoundKind.UNCHECKED, Severity.NOTE,
    )  # fmt: skip
    assert note.sentence.startswith("3 of its files cannot be checked")


def test_a_dataset_that_was_there_before_is_sound(make: Make, dataset: Dataset, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    dataset.commit(
        CommitOperationAdd("data/train-00000-of-00001.jsonl", b'{"film": "Solaris"}\n{"film": "Stalker"}\n'),
        CommitOperationAdd("data/test.jsonl", b'{"film": "Mirror"}\n'),
    )
    scheduler = make()
    fill(scheduler, [1, 2])
    scheduler.flush()
    assert b"config_name" in dataset.read("README.md")
    assert dataset.check(scheduler.folder_path) == []


def test_rows_that_were_removed_on_purpose_are_no_damage(make: Make, dataset: Dataset) -> None:
    writers = [make(folder=f"copy-{n}") for n in range(2)]
    for scheduler in writers:
        fill(scheduler, [1, 2])
        scheduler.flush()
    dataset.join()
    (joined,), (manifest,) = dataset.files("data/"), dataset.files(MANIFESTS)
    kept, gone = parse(dataset.read(manifest))
    rows = dataset.read(joined).splitlines(keepends=True)
    dataset.write(joined, rows[0])
    file = sha256(rows[0]).hexdigest()
    removed = [replace(kept, removed=1, sha256="", file=file), replace(gone, path="", removed=2, offset=0, file="")]
    dataset.write(manifest, b"".join(run.line() for run in removed))
    for scheduler in writers:
        assert dataset.check(scheduler.folder_path) == []


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_what_is_left_of_a_joined_file_after_a_removal_is_checked(make: Make, dataset: Dataset, suffix: str) -> None:
    for writer in range(3):
        scheduler = make(KINDS[suffix], folder=f"copy-{writer}")
        fill(scheduler, [writer, writer + 10])
        scheduler.flush()
    dataset.join(suffix)
    remover = Remover(dataset.repo, "", {suffix: {"jsonl": Joiner, **JOINERS}[suffix]()})
    assert remover.remove([Removal.of({"n": 11}, dataset.repo.head().at)]).rows == 1
    assert dataset.check() == []
    (joined,) = dataset.files("data/")
    content = dataset.read(joined)
    if suffix == "jsonl":
        changed = [content.replace(b'"n":1,', b'"n":5,'), b"".join(content.splitlines(keepends=True)[:-1])]
    else:
        table = pq.read_table(io.BytesIO(content))
        changed = [parquet(with_other_numbers(table)), parquet(table.slice(1))]
    for each in changed:
        dataset.write(joined, each)
        assert dataset.kinds() == {joined: FoundKind.CONTENT_CHANGED}


def test_what_an_older_manifest_says_of_a_file_is_checked(make: Make, dataset: Dataset) -> None:
    """It has no sha256 of the whole file, and older commits no id of a part's content."""
    scheduler = make()
    fill(scheduler, [1, 2])
    scheduler.flush()
    (part,) = dataset.parts()
    (commit, *_) = dataset.api.list_repo_commits(REPO, repo_type="dataset")
    (line,) = re.findall(f"hubspool-part: {part} .*", commit.message)
    content = dataset.read(part)
    dataset.write(part, content + b"{}\n")
    dataset.write(part, content, line.rpartition(" ")[0])
    assert dataset.check() == []
    dataset.write(part, content.replace(b'"n":1,', b'"n":5,'))
    assert dataset.kinds() == {part: FoundKind.CONTENT_CHANGED}
    dataset.write(part, content)
    other = make(folder="other")
    fill(other, [3])
    other.flush()
    dataset.join()
    (joined,), (manifest,) = dataset.files("data/"), dataset.files(MANIFESTS)
    runs = parse(dataset.read(manifest))
    assert {run.file for run in runs} == {sha256(dataset.read(joined)).hexdigest()}
    lines = [json.loads(run.line()) for run in runs]
    old = [json.dumps({key: value for key, value in each.items() if key != "file"}) + "\n" for each in lines]
    dataset.write(manifest, "".join(old).encode())
    assert dataset.check() == []
    dataset.write(joined, dataset.read(joined).replace(b'"n":1,', b'"n":5,'))
    assert dataset.kinds() == {joined: FoundKind.CONTENT_CHANGED}


def test_a_folder_tells_what_is_pending_lost_or_unknown(make: Make, dataset: Dataset) -> None:
    scheduler = make(keep_local=True)
    fill(scheduler, [1, 2])
    scheduler.flush()
    (part,) = dataset.parts()
    (segment,) = scheduler.spool_folder.glob("*.jsonl")
    fill(scheduler, [3])
    (pending,) = dataset.check(scheduler.folder_path)
    assert (pending.path, pending.kind) == (str(segment), FoundKind.SEGMENT_NEWER)
    assert pending.sentence == "1 of its rows are pending; the next push sends them"
    before = {path: path.read_bytes() for path in scheduler.spool_folder.glob("ledger.sqlite3*")}
    scheduler.flush()
    assert dataset.check(scheduler.folder_path) == []

    # The Hub went back to what it was before the last commit.
    commits = dataset.api.list_repo_commits(REPO, repo_type="dataset")
    old = RemoteRepo(dataset.api, dataset.repo.target).at(commits[1].commit_id).content(part)
    now = dataset.read(part)
    dataset.write(part, old)
    newer = [finding for finding in dataset.check(scheduler.folder_path) if finding.kind is FoundKind.LEDGER_NEWER]
    assert [finding.path for finding in newer] == [part], dataset.check(scheduler.folder_path)
    assert f"which has them up to {len(old)}; the rows are on this disk" in newer[0].sentence
    dataset.write(part, now)
    scheduler.stop()

    # The ledger went back to what it was before the last push.
    for path in scheduler.spool_folder.glob("ledger.sqlite3*"):
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)
    found = dataset.check(scheduler.folder_path)
    assert (str(segment), FoundKind.LEDGER_OLDER) in [(finding.path, finding.kind) for finding in found]
    assert all(finding.kind.severity is not Severity.DAMAGE for finding in found), found


def test_a_list_of_commits_that_lags_behind_the_ledger_is_read_again(
    make: Make, dataset: Dataset, local_hub: LocalHub
) -> None:
    scheduler = make()
    for n in range(2):
        fill(scheduler, [n])
        scheduler.flush()
    local_hub.faults.add(Fault(route="commits", stale=1, times=3))  # the head, its commits, and the head once more
    waits: list[float] = []
    seen, found = check(dataset.repo, scheduler.folder_path, pause=lambda seconds: bool(waits.append(seconds)))
    assert found == []
    assert (len(waits), seen.commit) == (1, dataset.repo.head().oid)


def test_a_branch_that_stays_behind_the_ledger_is_damage(make: Make, dataset: Dataset, local_hub: LocalHub) -> None:
    scheduler = make()
    for n in range(2):
        fill(scheduler, [n])
        scheduler.flush()
    local_hub.faults.add(Fault(route="commits", stale=1, times=None))
    waits: list[float] = []

    def pause(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    found = check(dataset.repo, scheduler.folder_path, pause=pause)[1]
    assert [finding.kind for finding in found if finding.kind.severity is Severity.DAMAGE] == [FoundKind.LEDGER_NEWER]
    assert len(waits) == 3


def test_a_lost_ledger_and_a_lost_answer_are_unknown(make: Make, dataset: Dataset, local_hub: LocalHub) -> None:
    scheduler = make(keep_local=True)
    fill(scheduler, [1])
    scheduler.flush()
    local_hub.faults.add(Fault(route="commit", drop=True, applied=True, times=1))
    fill(scheduler, [2])
    with pytest.raises(HubspoolError):
        scheduler.flush(0.01)
    scheduler.stop(flush=False)
    (segment,) = scheduler.spool_folder.glob("*.jsonl")
    (lost,) = dataset.check(scheduler.folder_path)
    assert (lost.path, lost.kind) == (str(segment), FoundKind.UNKNOWN)
    assert lost.sentence == "the answer to a commit with rows of it was lost; the next push looks"
    for path in scheduler.spool_folder.glob("ledger.sqlite3*"):
        path.unlink()
    make(keep_local=True)
    (lost,) = dataset.check(scheduler.folder_path)
    assert (lost.path, lost.kind) == (str(segment), FoundKind.UNKNOWN)
    assert lost.sentence.startswith("its ledger was lost")


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(group, ["verify", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command_prints_findings_and_its_exit_code_says_whether_there_is_damage(
    make: Make, dataset: Dataset, hub_environment: Path, monkeypatch: pytest.MonkeyPatch, local_hub: LocalHub
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    scheduler = make()
    fill(scheduler, [1, 2])
    scheduler.flush()
    code, output = run("votes", scheduler.folder_path)
    assert code == 0
    assert re.fullmatch(r"Sound: 2 rows in 1 file of local/votes at [0-9a-f]{8}\.\n", output), output
    path = last_row_gone(dataset)
    code, output = run(REPO)
    assert code == 1
    assert output.startswith(f"{path}: it does not hold what commit ")
    assert re.search(r"\n1 damage in 1 row in 1 file of local/votes at [0-9a-f]{8}\.\n$", output), output
    code, output = run(REPO, "--json")
    fields = json.loads(output)
    assert (code, fields["repo_id"], fields["files"], fields["rows"], fields["damages"]) == (1, REPO, 1, 1, 1)
    assert {**fields["findings"][0], "sentence": ""} == {
        "path": path, "kind": "content-changed", "severity": "damage", "sentence": "",
    }  # fmt: skip
    other = hub_environment / "other"
    other.mkdir()
    code, output = run(REPO, other)
    assert (code, "is not a scheduler's folder" in output) == (2, True), output
    code, output = run("local/mistyped")
    assert (code, output.startswith("hubspool: ")) == (2, True), output
    dataset.api.create_repo("local/other", repo_type="dataset")
    code, output = run("local/other")
    assert code == 0
    assert re.fullmatch(r"Nothing was checked: no file of a scheduler is in local/other at [0-9a-f]{8}\.\n", output), (
        output
    )


@pytest.mark.usefixtures("small_parts")
def test_what_only_a_very_old_commit_tells_is_not_checked(
    make: Make, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make()
    for n in range(5):
        fill(scheduler, [n])
        scheduler.flush()
    assert dataset.check() == []
    monkeypatch.setattr("hubspool.push.remote.MOST_READ_COMMITS", 3)
    (note,) = dataset.check(scheduler.folder_path)
    assert note.kind is FoundKind.UNCHECKED
    assert note.sentence.startswith("2 of its files cannot be checked")
    path = dataset.remove(dataset.parts()[-1])
    assert dataset.kinds() == {path: FoundKind.PART_MISSING, str(Path(path).parent): FoundKind.UNCHECKED}


def test_the_page_lists_every_kind() -> None:
    table = re.findall(r"^\| `([\w-]+)` \| (\w+) \| ([^|]+?) \|", PAGES["verify.md"], re.MULTILINE)
    assert table == [(kind.label, kind.severity.value, kind.reference) for kind in FoundKind]
