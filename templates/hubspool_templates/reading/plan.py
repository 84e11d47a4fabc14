"""Which ranges of which files hold the rows of a listing, in which order. Pure: values in, values out.

A segment is named by its file name and the folder of its data; its rows may be in parts or in joined files, and are the
same rows wherever they are. Units are bytes of JSON Lines, and rows of other formats.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TypeAlias

from hubspool.extending import HFValidationError, JoinedRun, RangeName, RemoteFile, SegmentName, split_of
from hubspool_templates.card import Card
from hubspool_templates.existing import form_of, splits_of

#: Names of files of lines; they are read from a byte on, others from a row on.
LINES = (".jsonl", ".ndjson", ".json")
SUFFIXES = (*LINES, ".parquet", ".zip")
Order: TypeAlias = tuple[int, str, str, int, int]


@dataclass(frozen=True)
class RowRange:
    """The rows of consecutive parts of one segment, in one file; or those of a file of another program.

    Args:
        key: the segment with its folder, or the path of the file.
        order: pieces are read in this order.
        file: that holds them.
        start, end: in the file; `end` None is the end of the file.
        first: number of the first part.
        ids: of the content of each part.
        sizes: units of each part as it was appended; None if only the file tells.
        has_less: rows were removed from it on purpose, so that `sizes` do not tell where a part begins in it.
    """

    key: str
    order: Order
    file: RemoteFile
    start: int
    end: int | None
    first: int
    ids: tuple[str, ...]
    sizes: tuple[int, ...] | None
    has_less: bool = False

    @property
    def is_foreign(self) -> bool:
        """Whether another program wrote the file."""
        return self.order[0] == 0

    @property
    def is_alone(self) -> bool:
        """Whether its file has no other pieces."""
        return self.is_foreign or self.is_range or SegmentName.of_part(PurePosixPath(self.file.path).name) is not None

    @property
    def is_range(self) -> bool:
        """Whether its file is in a bucket, and `first` a byte of the segment."""
        return RangeName.parse(PurePosixPath(self.file.path).name) is not None

    @property
    def numbers(self) -> range:
        """The numbers of the parts."""
        return range(self.first, self.first + len(self.ids))


def is_lines(path: str) -> bool:
    """Whether a file is read from a byte on."""
    return path.endswith(LINES)


def pieces_of(files: Iterable[RemoteFile], runs: Iterable[JoinedRun]) -> list[RowRange]:
    """Return the pieces of files in their order: those of other programs by path, then by day, writer (the id
    begins with its time), and part.

    A file whose rows a joined file has too is left out.
    """
    joined: dict[str, list[JoinedRun]] = {}
    of_segment: dict[tuple[str, str], list[JoinedRun]] = {}
    for run in runs:
        joined.setdefault(run.path, []).append(run)
        of_segment.setdefault((run.folder, run.segment), []).append(run)
    found: list[RowRange] = []
    for file in files:
        if file.path in joined:
            found += _in_joined(file, sorted(joined[file.path], key=lambda run: run.offset))
            continue
        alone = _alone(file)
        segment = (file.path.rpartition("/")[0], PurePosixPath(alone.key).name)
        runs_of = () if alone.is_foreign else of_segment.get(segment, ())
        if not any(alone.first - run.first in range(len(run.sizes)) for run in runs_of):
            found.append(alone)
    return [*_without_overlaps(sorted(found, key=lambda piece: piece.order))]


def _without_overlaps(pieces: Iterable[RowRange]) -> Iterator[RowRange]:
    """Leave out what an earlier range of a bucket has too; ranges of encoded rows cannot be cut."""
    reached: dict[str, int] = {}
    for piece in pieces:
        name = RangeName.parse(PurePosixPath(piece.file.path).name)
        begin = reached.get(piece.key, 0)
        if name is not None and name.end <= begin:
            continue
        if name is not None:
            reached[piece.key] = name.end
            if name.start < begin and is_lines(piece.file.path):
                piece = replace(piece, start=begin - name.start)  # noqa: PLW2901
        yield piece


def _alone(file: RemoteFile) -> RowRange:
    path = PurePosixPath(file.path)
    sizes = (file.size,) if is_lines(file.path) else None
    if (part := RangeName.parse(path.name)) is not None:  # in a bucket: where a range begins is its number
        key, order = _key(str(path.parent), part.segment), _order(part.segment, part.start)
        return RowRange(key, order, file, 0, None, part.start, (file.content_id,), sizes)
    segment = SegmentName.of_part(path.name)
    if segment is None:
        return RowRange(file.path, (0, file.path, "", 0, 0), file, 0, None, 0, (file.content_id,), sizes)
    number = int(path.stem[-4:])
    return RowRange(
        _key(str(path.parent), segment), _order(segment, number), file, 0, None, number, (file.content_id,), sizes
    )


def _in_joined(file: RemoteFile, runs: list[JoinedRun]) -> Iterable[RowRange]:
    for run, end in zip(runs, [*(run.offset for run in runs[1:]), None], strict=True):
        segment = SegmentName.of(run.segment)
        sizes = run.sizes if is_lines(file.path) else run.counts
        yield RowRange(
            _key(run.folder, segment),
            _order(segment, run.first),
            file,
            run.offset,
            end,
            run.first,
            run.digests,
            sizes if len(sizes) == len(run.digests) else None,
            bool(run.removed),
        )


def _key(folder: str, segment: SegmentName) -> str:
    place = PurePosixPath(folder)
    return str((place.parent if place.name == segment.month else place) / str(segment))


def _order(segment: SegmentName, number: int) -> Order:
    return (1, segment.date, segment.writer, segment.seq, number)


def day_of(key: str) -> str:
    """Return the day of a segment, YYYYMMDD; an empty text for a file of another program."""
    segment = SegmentName.parse(PurePosixPath(key).name)
    return segment.date if segment else ""


def split_off(piece: RowRange, units: Mapping[int, int | None]) -> list[RowRange]:
    """Return what is left of a piece after parts of it were read.

    Args:
        piece: with the `sizes` of its parts, unless it has only one.
        units: part → how much of it was read; None is all.
    """
    if piece.sizes is None or len(piece.ids) == 1:
        read = units.get(piece.first, 0)
        size = None if piece.sizes is None else piece.sizes[0]
        is_read = read is None or (size is not None and read >= size)
        return [] if is_read else [replace(piece, start=piece.start + (read or 0))]
    found: list[RowRange] = []
    position = piece.start
    for index, (number, size) in enumerate(zip(piece.numbers, piece.sizes, strict=True)):
        start = position + min(size, size if (read := units.get(number, 0)) is None else read)
        position += size
        if start == position:
            continue
        last = found[-1] if found else None
        if last and last.end == start:
            sizes = (*(last.sizes or ()), size)
            found[-1] = replace(last, end=position, ids=(*last.ids, piece.ids[index]), sizes=sizes)
        else:
            order = (*piece.order[:4], number)
            found.append(
                replace(
                    piece, order=order, start=start, end=position, first=number, ids=(piece.ids[index],), sizes=(size,)
                )
            )
    return found


class NoCard(Card):
    """In place of the card of a dataset, in a bucket and in a repository of another type: it has no configs.

    `datasets` guesses splits from all names together, so that a file with ``train`` in its name hides those without. A
    scheduler's file is in the split that its own name tells, whatever other files there are.
    """

    def __init__(self) -> None:
        super().__init__(None)

    def files(self, config_name: str, paths: Iterable[str]) -> dict[str, list[str]]:  # noqa: ARG002  there is one
        """Return split → files: those of schedulers, and those of the same form that `datasets` would load."""
        own = {path: split for path in paths if (split := split_of(path)) is not None}
        form = form_of(own or paths)
        guessed = splits_of([path for path in paths if form_of([path]) == form])
        found = {split: files for split in guessed if (files := [path for path in guessed[split] if path not in own])}
        for path, split in own.items():
            found.setdefault(split, []).append(path)
        return found


def chosen_files(card: Card, paths: Collection[str], config: str | None, split: str | None) -> tuple[str, list[str]]:
    """Return the name of a config, and the files that it has in a split, or in all.

    Args:
        card: of the dataset; else `NoCard`.
        paths: of the repository.
        config: None is the default one.
        split: None is all.

    Raises:
        HFValidationError: there is no such config or split, or the files have a format that is not read here.
    """
    shown = [path for path in paths if not any(part.startswith(".") for part in path.split("/"))]
    known = card.configs
    name = config or (known[0] if len(known) == 1 else card.default_config)
    if known and name not in known:
        raise HFValidationError(f"There is no config {name!r}.", hint=f"Give config= one of {', '.join(known)}.")
    splits = card.files(name, shown)
    if split is not None and splits and split not in splits:
        raise HFValidationError(f"There is no split {split!r}.", hint=f"Give split= one of {', '.join(splits)}.")
    found = sorted({path for each, files in splits.items() if split in (None, each) for path in files})
    if other := next((path for path in found if not path.endswith(SUFFIXES)), None):
        raise HFValidationError(
            f"{other} is a file of {form_of([other])}; read_rows reads JSON Lines, Parquet and zip.",
            hint="Use datasets.load_dataset.",
        )
    return name, found
