"""``hubspool status FOLDER``: what of a folder is on the Hub, from the ledger, without asking anybody."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from hubspool.cli.folders import add_folder, ledger_of
from hubspool.client.patterns import path_filter
from hubspool.push import rules
from hubspool.push.ledger import Ledger
from hubspool.push.scan import scan
from hubspool.spool.owners import Owner, owner_of


@dataclass(frozen=True)
class TargetStatus:
    """What one target is known to hold of a folder, and what it lacks.

    Args:
        rows, bytes: acknowledged lines and bytes.
        pending_files, pending_bytes: what the Hub is not known to have.
        in_doubt: parts whose last commit has an outcome that is not known.
        writers: segments that a living process writes to.
        last_commit: our newest commit there.
    """

    repo_id: str
    repo_type: str
    endpoint: str
    revision: str
    path_in_repo: str
    rows: int
    bytes: int
    pending_files: int
    pending_bytes: int
    in_doubt: int
    writers: int
    last_commit: str | None


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="show what of a scheduler's folder is on the Hub",
        description="Shows what of FOLDER is known to be on the Hub and what waits, without asking the Hub.",
    )
    add_folder(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, one for each repo")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the status of each target."""
    ledger = ledger_of(args.folder, args.state_dir)
    try:
        found = [_status_of(args.folder, ledger, key) for key in ledger.targets()]
    finally:
        ledger.close()
    for status in found:
        print(orjson.dumps(asdict(status)).decode() if args.json else _text(status))
    if not found and not args.json:
        print("Nothing of this folder has been sent to a Hub yet.")
    return 0


def _status_of(folder: Path, ledger: Ledger, key: int) -> TargetStatus:
    target, path_in_repo = ledger.targets()[key]
    ignored = [recipe.get("ignore_patterns") or [] for recipe in ledger.recipes()]
    snapshot = scan(folder, ledger.settled(key), path_filter(None, ignored[-1] if ignored else []))
    known = ledger.parts(key)
    waiting = {}
    for source, stat in {**snapshot.segments, **snapshot.changed}.items():
        left = stat.size - rules.position_of(known.get(source, []))
        if left > 0:
            waiting[source] = left
    parts = [part for of_source in known.values() for part in of_source]
    return TargetStatus(
        repo_id=target.repo_id,
        repo_type=target.repo_type,
        endpoint=target.endpoint,
        revision=target.revision,
        path_in_repo=path_in_repo,
        rows=sum(part.rows for part in parts),
        bytes=sum(part.end - part.start for part in parts),
        pending_files=len(waiting),
        pending_bytes=sum(waiting.values()),
        in_doubt=sum(part.in_doubt for part in parts),
        writers=sum(
            owner_of(folder / source, stat, snapshot.taken_ns) is Owner.ALIVE
            for source, stat in snapshot.segments.items()
        ),
        last_commit=ledger.identity(key)[1],
    )


def _text(status: TargetStatus) -> str:
    lines = [
        f"{status.repo_type} {status.repo_id} ({status.endpoint}, {status.revision}, {status.path_in_repo or '/'})",
        f"  sent     {status.rows} rows, {status.bytes} bytes of files that are still here",
        f"  waiting  {status.pending_files} files, {status.pending_bytes} bytes",
        f"  writers  {status.writers} alive",
        f"  commit   {status.last_commit or 'none yet'}",
    ]
    if status.in_doubt:
        lines.append(f"  in doubt {status.in_doubt} parts; the next push looks at them and sends the same bytes again")
    return "\n".join(lines)
