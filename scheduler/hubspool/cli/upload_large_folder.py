"""``hubspool upload-large-folder REPO_ID PATH``: a folder of any size, in steps that survive an interruption."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hubspool.cli.output import Format, Output, hide_bars
from hubspool.cli.parsing import REPO_TYPES, add_selection
from hubspool.client.hf_api import HfApi
from hubspool.client.target import Target

_EXAMPLES = """\
Run the same command again after an interruption: nothing that is done is done twice. What is done is kept in PATH,
in .cache/huggingface/. There is no choice of a path in the repo, and no commit message; for those use `upload`.

example:
  hubspool upload-large-folder user/my-data ./rows --repo-type dataset --num-workers 8
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "upload-large-folder",
        help="upload a folder of any size, and go on after an interruption",
        description="Uploads a folder in as many commits as it takes, in small steps by several workers, and makes "
        "the repo if it is missing.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("repo_id", metavar="REPO_ID", help="the repo, user/name; a name alone is your own")
    parser.add_argument("path", type=Path, metavar="PATH", help="the folder")
    parser.add_argument("--repo-type", choices=REPO_TYPES, required=True, help="to be named")
    add_selection(parser)
    parser.add_argument("--num-workers", type=int, metavar="N", help="workers (default: half the cores)")
    parser.add_argument("--no-report", action="store_true", help="do not print every minute what is done")
    parser.add_argument("--no-bars", action="store_true", help="show no progress bars")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Upload, and print the address."""
    if args.no_bars:
        hide_bars()
    api = HfApi(token=args.token, library_name="hubspool-cli")
    api.upload_large_folder(
        args.repo_id,
        args.path,
        repo_type=args.repo_type,
        revision=args.revision,
        private=args.private,
        allow_patterns=args.include,
        ignore_patterns=args.exclude,
        num_workers=args.num_workers,
        print_report=not args.no_report,
    )
    repo_id = args.repo_id if "/" in args.repo_id else f"{api.whoami()['name']}/{args.repo_id}"
    page = Target.of(api.endpoint, repo_id, args.repo_type).web_url
    Output(Format.HUMAN).result(f"{page}/tree/{quote(args.revision or 'main', safe='')}")
    return 0
