"""Runs Python scripts in forks of one process that has imported what `datasets` needs: each takes 1.3 s less.

`datasets` and `huggingface_hub` read the environment when they are imported, so each script imports them itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

_IMPORTS = (
    *("asyncio", "dill", "fsspec.generic", "httpx", "multiprocess", "pandas", "pyarrow.dataset", "pyarrow.parquet"),
    *("requests", "unittest.mock"),
)


class ForkServer:
    """A process that forks itself for each script. Not thread-safe."""

    def __init__(self) -> None:
        self._jobs = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a fork does not have the threads of its parent
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *arguments: str, env: Mapping[str, str], cwd: Path, seconds: int = 330) -> str:
        """Run a script, which a signal ends after `seconds`; return its output."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._jobs += 1
        out, err = cwd / "script.out", cwd / "script.err"
        job = {"argv": ["-c", *arguments], "env": dict(env), "cwd": str(cwd), "seconds": seconds}
        print(json.dumps([self._jobs, script, job, str(out), str(err)]), file=self._process.stdin, flush=True)
        for line in self._process.stdout:  # also the result of a script whose test ran out of time
            number, code = map(int, line.split())
            if number == self._jobs:
                break
        assert code == 0, err.read_text()[-3000:]
        return out.read_text()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _run(script: str, job: dict[str, Any], out: str, err: str) -> None:
    """Run the script in this process, a fork."""
    signal.alarm(job["seconds"])
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    sys.argv = job["argv"]
    exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})


def main() -> None:
    """Read jobs from stdin, one a line; print the number and the exit code of each."""
    for name in _IMPORTS:
        import_module(name)
    for line in sys.stdin:
        number, *job = json.loads(line)
        pid = os.fork()
        if pid:
            print(number, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            continue
        code = 1
        try:
            _run(*job)
            code = 0
        except BaseException:  # noqa: BLE001  the fork must not return to the loop
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


if __name__ == "__main__":
    main()
