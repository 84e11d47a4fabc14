"""Installs an extra of this project into the environment that runs this, and shows how far it is.

``python .ci/install.py demo``. Files are not compiled: Python compiles the modules that are used when it first loads
them, which takes half as long as all of them. pip's own messages are shown if it fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time

STEP = 10
"""Packages between two lines, where the output is no terminal."""


def steps(line: str) -> str | None:
    """Return what a line of pip's output begins, in words; None for other lines."""
    if found := re.match(r"(?:Collecting|Obtaining) ([^\s<>=!~;\[(]+)", line):
        return f"finding {found[1]}"
    if found := re.match(r"\s*(?:Downloading|Using cached) ([\w.]+)-\S* \((.+)\)", line):
        return f"downloading {found[1]}, {found[2]}"
    if line.startswith("Installing collected packages: "):
        return f"unpacking {line.count(',') + 1} packages"
    return None


def main(extra: str) -> int:
    command = [sys.executable, "-m", "pip", "install", "--no-compile", "--progress-bar", "off", "--no-input"]
    command += ["--disable-pip-version-check", "-c", "constraints.txt", "-e", f".[{extra}]"]
    began, found, lines, is_terminal = time.monotonic(), 0, [], sys.stdout.isatty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:  # noqa: S603  our own arguments
        for line in pip.stdout or ():
            lines.append(line)
            if words := steps(line):
                found += line.startswith("Collecting")
                text = f"{time.monotonic() - began:3.0f} s, {found} packages: {words}"
                if is_terminal:
                    print(f"\r\033[K{text[:78]}", end="", flush=True)
                elif (line.startswith("Collecting") and found % STEP == 1) or "unpacking" in words:
                    print(text, flush=True)
    print("\r\033[K" if is_terminal else "", end="")
    if pip.returncode:
        print("".join(lines), file=sys.stderr)
    else:
        print(f"Installed after {time.monotonic() - began:.0f} s.")
    return pip.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit("\nStopped; the next start installs the rest.")
