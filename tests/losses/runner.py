"""Runs every row of the table of losses against both schedulers and prints it: ``python -m tests.losses.runner``.

Exits with 1 when hubspool fails a case. Cases whose feature does not exist yet are counted apart.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import huggingface_hub

from hubspool.local_hub import LocalHub
from tests.losses import cases_content, cases_leaving, cases_many, cases_outage, cases_sharing
from tests.support.loss_trial import BucketTrial, Case, Outcome, Side, Trial

MODULES = (cases_content, cases_leaving, cases_many, cases_outage, cases_sharing)
CASES = sorted(
    [case for module in MODULES for case in module.case.all],
    key=lambda case: int(case.row.split()[0][1:]),
)


def measure(
    case: Case, side: Side, hub: LocalHub, directory: Path, scale: float, trial: type[Trial] = Trial
) -> Outcome:
    """Return what a case measured."""
    name = "".join(letter for letter in case.row if letter.isalnum())
    try:
        return case.run(trial(hub, side, name, directory / f"{name}-{side.value}", scale=scale))
    except Exception as error:  # noqa: BLE001  one broken case must not hide the others; it counts as failed
        traceback.print_exc()
        return Outcome(f"{type(error).__name__} in the case itself", ok=False)
    finally:
        hub.faults.clear()


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="such as L1 L20; all by default")
    parser.add_argument("--side", choices=[*map(str.__str__, Side)], help="one scheduler only")
    parser.add_argument("--scale", type=float, default=1, help="multiplies the sizes of the large cases (default: 1)")
    parser.add_argument("--bucket", action="store_true", help="hubspool alone, with a bucket as the destination")
    options = parser.parse_args(arguments)
    sides = [Side(options.side)] if options.side else [*Side]
    sides = [Side.OURS] if options.bucket else sides
    chosen = [case for case in CASES if not options.rows or case.row.split()[0] in options.rows]
    failed = []
    lines = [f"| case | huggingface_hub {huggingface_hub.__version__} | hubspool |", "|---|---|---|"]
    lines = ["| case | hubspool, to a bucket |", "|---|---|"] if options.bucket else lines
    for case in chosen:
        cells = dict.fromkeys(Side, "")
        if options.bucket and case.no_bucket:
            cells[Side.OURS] = f"has no meaning for a bucket: {case.no_bucket}"
        for side in sides if not cells[Side.OURS] else ():
            began = time.monotonic()
            with (
                tempfile.TemporaryDirectory(prefix="losses-", ignore_cleanup_errors=True) as directory,
                LocalHub() as hub,
            ):
                trial = BucketTrial if options.bucket else Trial
                outcome = measure(case, side, hub, Path(directory), options.scale, trial)
            cells[side] = outcome.text
            if side is Side.OURS and not outcome.ok:
                failed.append(case.row)
                cells[side] += " **(fails)**"
            print(f"{case.row} {side.value}: {cells[side]} [{time.monotonic() - began:.1f} s]", file=sys.stderr)
        does = case.row if options.bucket else f"{case.row}: {case.does} | {cells[Side.STOCK]}"
        lines.append(f"| {does} | {cells[Side.OURS]} |")
    print("\n".join(lines))
    print(f"\n{len(chosen) - len(failed)} of {len(chosen)} cases pass; failed: {', '.join(failed) or 'none'}.")
    return 1 if failed else 0


if __name__ == "__main__":
    for name in [name for name in os.environ if name.startswith(("HF_", "HUBSPOOL_"))]:
        del os.environ[name]
    os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="losses-home-")
    sys.exit(main())
