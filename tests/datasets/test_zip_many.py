"""100,000 digits through `ZipScheduler`, half of them added and half dropped."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from hubspool import HfApi
from hubspool_templates import ZipScheduler

pytestmark = pytest.mark.slow

REPO = "local/many"
FILES = 100_000
SECONDS = 400

#: Prints the dataset's columns and every row, a photograph as its place in an archive. Opens each 5,000th image: for
#: each one, 50,000 names of its archive are read.
LOAD = """
import json, sys, datasets
loaded = datasets.load_dataset(sys.argv[1])["train"]
places = loaded.cast_column("image", datasets.Image(decode=False))
rows = [[row["image"]["path"].split("::")[0], row["number"], row["digit"]] for row in places]
pixels = {row["number"]: list(row["image"].tobytes()) for row in loaded.select(range(0, len(loaded), 5000))}
print(json.dumps([sorted(loaded.column_names), rows, pixels]))
"""


@pytest.mark.timeout(800)
def test_a_hundred_thousand_files_arrive_once_each_with_their_columns(
    make: Callable[..., Any], hub_api: HfApi, reader: Callable[..., str], tmp_path: Path
) -> None:
    digits = load_digits()
    images = [Image.fromarray((pixels * 15).astype("uint8")) for pixels in digits.images]
    contents = []
    for image in images:
        content = io.BytesIO()
        image.save(content, "PNG")
        contents.append(content.getvalue())
    kind = len(contents)
    scheduler = make(repo_id=REPO, kind=ZipScheduler)
    for number in range(FILES):
        name, content = f"{number % 7}/{number}.png", contents[number % kind]
        if number % 2:
            scheduler.add(content, name, number=number, digit=int(digits.target[number % kind]))
        else:
            path = scheduler.folder_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        if number % 25_000 == 20_000:
            scheduler.trigger()
    scheduler.stop(timeout=SECONDS)

    found: dict[str, str] = {}
    for path in hub_api.list_repo_files(REPO, repo_type="dataset"):
        if path.endswith(".zip"):
            local = hub_api.hf_hub_download(REPO, path, repo_type="dataset", local_dir=tmp_path / "read")
            with zipfile.ZipFile(local) as archive:
                for name in archive.namelist():
                    if name.endswith(".png"):
                        assert name not in found
                        found[name] = hashlib.md5(archive.read(name), usedforsecurity=False).hexdigest()
    expected = [hashlib.md5(content, usedforsecurity=False).hexdigest() for content in contents]
    assert found == {f"{number % 7}/{number}.png": expected[number % kind] for number in range(FILES)}
    assert list(scheduler.folder_path.rglob("*.png")) == []

    columns, rows, pixels = json.loads(reader(LOAD, REPO))
    assert columns == ["digit", "image", "number"]
    assert sorted(place for place, _, _ in rows) == sorted(f"zip://{name}" for name in found)
    for place, number, digit in rows:
        at = int(place.rpartition("/")[2].removesuffix(".png"))
        added = at % 2 == 1
        assert (number, digit) == ((at, int(digits.target[at % kind])) if added else (None, None))
    assert len(pixels) > 5
    for number, seen in pixels.items():
        if number != "null":
            assert seen == list(images[int(number) % kind].tobytes())
