"""Damages that tests of `hubspool verify` plant in a dataset: each returns the path at which it is to be found."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hubspool import CommitOperationAdd, CommitOperationDelete, HfApi
from hubspool.cli.verify import check
from hubspool.client.target import Target
from hubspool.push.compaction import Compactor
from hubspool.push.joiner import Joiner
from hubspool.push.manifest import MANIFESTS
from hubspool.push.remote import RemoteRepo, named_parts
from hubspool.push.verify import Found, FoundKind
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler
from hubspool_templates.joiners import JOINERS
from hubspool_templates.parquet.parquet_encoding import RANGE
from tests.support.days import TOMORROW
from tests.support.oracle import hub_ahead

REPO = "local/votes"
KINDS = {"jsonl": JsonlScheduler, "parquet": ParquetScheduler, "zip": ZipScheduler}
Make = Callable[..., Any]


class Dataset:
    """A branch of a dataset of rows, and somebody who changes it behind its scheduler's back."""

    def __init__(self, api: HfApi, branch: str = "main", repo: str = REPO) -> None:
        self.api, self.branch, self.name = api, branch, repo
        self.repo = RemoteRepo(api, Target(api.endpoint, repo, "dataset", branch))

    def files(self, begin: str = "", part: str = "") -> list[str]:
        paths = self.api.list_repo_files(self.name, repo_type="dataset", revision=self.branch)
        return sorted(path for path in paths if path.startswith(begin) and part in path)

    def parts(self) -> list[str]:
        """The parts that were not joined."""
        return [path for path in self.files("data/") if "-joined." not in path]

    def read(self, path: str) -> bytes:
        return self.repo.content(path)

    def commit(self, *operations: CommitOperationAdd | CommitOperationDelete, description: str = "") -> None:
        self.api.create_commit(
            self.name,
            operations,
            commit_message="by hand",
            commit_description=description,
            repo_type="dataset",
            revision=self.branch,
        )

    def write(self, path: str, content: bytes, description: str = "") -> str:
        self.commit(CommitOperationAdd(path, content), description=description)
        return path

    def remove(self, path: str) -> str:
        self.commit(CommitOperationDelete(path))
        return path

    def join(self, suffix: str = "jsonl") -> None:
        joiner = {"jsonl": Joiner, **JOINERS}[suffix]()
        with hub_ahead():
            assert Compactor(self.repo, "", {suffix: joiner}).run(TOMORROW).commits

    def check(self, folder: Path | None = None) -> list[Found]:
        return check(self.repo, folder)[1]

    def kinds(self, folder: Path | None = None) -> dict[str, FoundKind]:
        return {finding.path: finding.kind for finding in self.check(folder)}


def following(path: str) -> str:
    """The path of the next part."""
    stem, _, rest = path.rpartition("-p")
    return f"{stem}-p{int(rest[:4]) + 1:04d}{rest[4:]}"


def row_cut(of: Dataset) -> str:
    path = of.parts()[1]
    return of.write(path, of.read(path)[:-9])


def last_row_gone(of: Dataset) -> str:
    path = of.parts()[0]
    return of.write(path, b"".join(of.read(path).splitlines(keepends=True)[:-1]))


def part_missing(of: Dataset) -> str:
    return of.remove(of.parts()[1])


def joined_missing(of: Dataset) -> str:
    return of.remove(of.files("data/", "-joined.")[0])


def part_doubled(of: Dataset) -> str:
    path = of.parts()[-1]
    return of.write(following(path), of.read(path))


def copied_to_another_segment(of: Dataset) -> str:
    path = of.parts()[-1]
    return of.write(path.replace("-00000-", "-00007-"), of.read(path))


def range_overlap(of: Dataset) -> str:
    path = of.parts()[-1]
    content = b"".join(of.read(path).splitlines(keepends=True)[1:]).replace(b'"id":"1', b'"id":"2')
    named = named_parts(of.api.list_repo_commits(of.name, repo_type="dataset"))[path]
    start = named.start + (named.end - named.start - len(content))
    text = f"hubspool-part: {following(path)} {start} {named.end} {sha256(content).hexdigest()}"
    return of.write(following(path), content, f"hubspool-push: {'0' * 32}\n{text}")


def joined_changed(of: Dataset) -> str:
    path = of.files("data/", "-joined.")[0]
    return of.write(path, of.read(path).replace(b'"n":1', b'"n":7'))


def wrong_sha256_in_a_manifest(of: Dataset) -> str:
    path = of.files(MANIFESTS)[0]
    lines = of.read(path).splitlines()
    first = {**json.loads(lines[0]), "sha256": "0" * 64}
    return of.write(path, b"\n".join([json.dumps(first).encode(), *lines[1:]]) + b"\n")


def joined_copied(of: Dataset) -> str:
    path = of.files("data/", "-joined.")[0]
    return of.write(re.sub("joined[.][0-9a-f]{12}", f"joined.{'ab' * 6}", path), of.read(path))


def manifest_gone_with_the_history(of: Dataset) -> str:
    """No commit names the parts either."""
    (manifest,), (joined,) = of.files(MANIFESTS), of.files("data/", "-joined.")
    of.remove(manifest)
    of.api.super_squash_history(of.name, repo_type="dataset", branch=of.branch)
    return joined


def manifest_cut(of: Dataset) -> str:
    path = of.files(MANIFESTS)[0]
    return of.write(path, of.read(path)[:-20])


def stray_file_in_the_glob(of: Dataset) -> str:
    suffix = of.parts()[0].rpartition(".")[2]
    return of.write(f"data/2026-01/train-20260101-mine-00000-p0000.{suffix}", b'{"n": 1}\n')


def card_without_a_column(of: Dataset) -> str:
    card = of.read("README.md").decode()
    assert "\n  - name: words\n    list: string" in card, card
    return of.write("README.md", card.replace("\n  - name: words\n    list: string", "").encode())


def id_twice(of: Dataset) -> str:
    """One writer's first segment, with a row that another file has: no commit names it, as none of version 0.1."""
    rows = of.read(of.parts()[0]).splitlines(keepends=True)
    return of.write(of.parts()[0].replace("-00000-", "-00009-"), rows[0])


def truncated(of: Dataset) -> str:
    path = of.parts()[1]
    return of.write(path, of.read(path)[:-100])


def page_overwritten(of: Dataset) -> str:
    path = of.parts()[1]
    content = of.read(path)
    return of.write(path, content[:30] + b"\xff" * 200 + content[230:])


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def with_other_numbers(table: pa.Table) -> pa.Table:
    """The table with other values, the same columns, rows and metadata."""
    index = table.column_names.index("n")
    return table.set_column(index, table.schema.field(index), pc.add(table.column("n"), 100))


def joined_rows_changed(of: Dataset) -> str:
    path = of.files("data/", "-joined.")[0]
    return of.write(path, parquet(with_other_numbers(pq.read_table(io.BytesIO(of.read(path))))))


def part_rows_changed(of: Dataset) -> str:
    path = of.parts()[1]
    old = pq.ParquetFile(io.BytesIO(of.read(path)))
    out = io.BytesIO()
    with pq.ParquetWriter(out, old.schema_arrow) as writer:
        writer.write_table(with_other_numbers(old.read()))
        writer.add_key_value_metadata({RANGE: old.metadata.metadata[RANGE]})
    return of.write(path, out.getvalue())


def row_and_member_taken_out(of: Dataset, path: str) -> str:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(of.read(path))) as old, zipfile.ZipFile(out, "w") as new:
        *lines, last = old.read("metadata.jsonl").splitlines(keepends=True)
        for name in {*old.namelist()} - {"metadata.jsonl", json.loads(last)["file_name"]}:
            new.writestr(name, old.read(name))
        new.writestr("metadata.jsonl", b"".join(lines))
        new.comment = old.comment
    return of.write(path, out.getvalue())


def archive_row_gone(of: Dataset) -> str:
    return row_and_member_taken_out(of, of.parts()[1])


def joined_archive_row_gone(of: Dataset) -> str:
    return row_and_member_taken_out(of, of.files("data/", "-joined.")[0])


def wrong_file_in_a_manifest(of: Dataset) -> str:
    path = of.files(MANIFESTS)[0]
    runs = [{**json.loads(line), "file": "0" * 64} for line in of.read(path).splitlines()]
    return of.write(path, "".join(f"{json.dumps(run)}\n" for run in runs).encode())


def without_member(of: Dataset, member: str) -> str:
    path = of.parts()[1]
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(of.read(path))) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if name != member:
                new.writestr(name, old.read(name))
        new.comment = old.comment
    return of.write(path, out.getvalue())


def archive_without_metadata(of: Dataset) -> str:
    return without_member(of, "metadata.jsonl")


def member_missing(of: Dataset) -> str:
    return without_member(of, "picture.png")
