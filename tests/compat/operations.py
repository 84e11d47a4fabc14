"""What people do with the stock client, in words that every version since 0.30 knows: `ENDPOINT TOKEN FOLDER`.

Runs in the virtual environment of one version, without this project.
"""

import hashlib
import sys
from pathlib import Path

import huggingface_hub
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    hf_hub_download,
    snapshot_download,
)

endpoint, token, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
api = HfApi(endpoint=endpoint, token=token)
REPO = f"local/v{huggingface_hub.__version__.replace('.', '-')}"
LARGE = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(400_000))  # 12.8 MB
WHERE = {"repo_id": REPO, "repo_type": "dataset"}


def download(path: str, revision: str = "main") -> bytes:
    return Path(hf_hub_download(filename=path, revision=revision, endpoint=endpoint, token=token, **WHERE)).read_bytes()


def names(revision: str = "main") -> set[str]:
    return set(api.list_repo_files(revision=revision, **WHERE)) - {".gitattributes"}


assert api.whoami()["name"] == "local"
assert api.create_repo(private=True, **WHERE).repo_id == REPO
api.create_repo(exist_ok=True, **WHERE)
assert api.repo_exists(**WHERE)
assert not api.repo_exists("local/missing")

# a small file, a folder, a file of more than one part
api.upload_file(path_or_fileobj=b"---\nlicense: mit\n---\n# Rows", path_in_repo="README.md", **WHERE)
(folder / "data").mkdir()
for name, content in (("a.txt", b"a"), ("data/b.json", b"{}"), ("data/c.bin", b"\0c" * 100), ("empty.txt", b"")):
    (folder / name).write_bytes(content)
(folder / "large.bin").write_bytes(LARGE)
api.upload_folder(folder_path=folder, path_in_repo="in", ignore_patterns=["large.bin"], **WHERE)
api.upload_file(path_or_fileobj=str(folder / "large.bin"), path_in_repo="large.bin", **WHERE)
uploaded = {"README.md", "in/a.txt", "in/data/b.json", "in/data/c.bin", "in/empty.txt", "large.bin"}
assert names() == uploaded
assert download("large.bin") == LARGE
assert download("in/data/c.bin") == b"\0c" * 100
assert download("in/empty.txt") == b""

# a commit of several operations, and one that changes nothing
before = api.repo_info(**WHERE).sha
made = api.create_commit(
    operations=[
        CommitOperationAdd("new.txt", b"new"),
        CommitOperationAdd("grown.bin", LARGE + b"more"),
        CommitOperationCopy("large.bin", "copy.bin"),
        CommitOperationDelete("in/a.txt"),
        CommitOperationDelete("in/data/", is_folder=True),
    ],
    commit_message="Several",
    commit_description="At once",
    parent_commit=before,
    **WHERE,
)
assert names() == {"README.md", "in/empty.txt", "large.bin", "new.txt", "grown.bin", "copy.bin"}
assert download("grown.bin") == LARGE + b"more"
assert download("copy.bin") == LARGE
commits = api.list_repo_commits(**WHERE)
assert [commits[0].commit_id, commits[0].title] == [made.oid, "Several"]
api.upload_file(path_or_fileobj=b"new", path_in_repo="new.txt", **WHERE)
assert api.repo_info(**WHERE).sha in (made.oid, api.list_repo_commits(**WHERE)[0].commit_id)

# pull request, branch, tag
pull = api.upload_file(path_or_fileobj=LARGE[::-1], path_in_repo="pulled.bin", create_pr=True, **WHERE)
number = int(str(pull.pr_url).rpartition("/")[2])
assert "pulled.bin" in names(f"refs/pr/{number}") - names()
assert api.get_discussion_details(discussion_num=number, **WHERE).status == "open"
api.merge_pull_request(discussion_num=number, **WHERE)
assert download("pulled.bin") == LARGE[::-1]
api.create_branch(branch="feature/x", **WHERE)
api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", revision="feature/x", **WHERE)
api.create_tag(tag="v1", **WHERE)
refs = api.list_repo_refs(**WHERE)
assert {ref.name for ref in refs.branches} == {"main", "feature/x"}
assert [tag.name for tag in refs.tags] == ["v1"]
assert "x.txt" in names("feature/x") - names("v1")
api.delete_branch(branch="feature/x", **WHERE)

# reading: info, tree, snapshot, file system
info = api.repo_info(files_metadata=True, **WHERE)
sizes = {file.rfilename: file.size for file in info.siblings}
assert sizes["large.bin"] == len(LARGE)
assert info.private
tree = {entry.path: entry for entry in api.list_repo_tree(recursive=True, expand=True, **WHERE)}
assert tree["large.bin"].lfs.sha256 == hashlib.sha256(LARGE).hexdigest()
assert tree["new.txt"].last_commit.oid in {commit.commit_id for commit in api.list_repo_commits(**WHERE)}
root = Path(snapshot_download(endpoint=endpoint, token=token, allow_patterns=["*.txt", "copy.bin"], **WHERE))
assert (root / "copy.bin").read_bytes() == LARGE
assert (root / "in/empty.txt").read_bytes() == b""
files = HfFileSystem(endpoint=endpoint, token=token)
with files.open(f"datasets/{REPO}/fs/written.bin", "wb") as out:
    out.write(LARGE[:1_000_000])
with files.open(f"datasets/{REPO}/fs/written.bin", "rb") as opened:
    opened.seek(999_000)
    assert opened.read() == LARGE[999_000:1_000_000]
assert [Path(found).name for found in files.glob(f"datasets/{REPO}/fs/*")] == ["written.bin"]
files.rm(f"datasets/{REPO}/fs/written.bin")

api.super_squash_history(**WHERE)
assert len(api.list_repo_commits(**WHERE)) == 1
api.delete_file(path_in_repo="new.txt", **WHERE)
assert "new.txt" not in names()
api.delete_repo(**WHERE)
assert not api.repo_exists(**WHERE)
print("done", huggingface_hub.__version__)
