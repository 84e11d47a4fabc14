"""HubFlaggingCallback: what people flag in a `gr.Interface`, as rows of a dataset."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradio import FlaggingCallback, components

from hubspool_templates.jsonl import JsonlScheduler
from hubspool_templates.parquet.media import Media
from hubspool_templates.parquet.parquet_scheduler import ParquetScheduler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradio.components import Component

    from hubspool_templates.rows import RowScheduler

Row = Mapping[str, Any]
_OF_THE_ROW = ("flag", "username", "timestamp")


class HubFlaggingCallback(FlaggingCallback):
    """Stores what is flagged in a `gr.Interface` in a dataset on the Hub: one row a flag, one column a component.

    Not promised: what a `JsonlScheduler` does not promise either; and that one object can serve two interfaces, since
    Gradio does not say which of them a flag comes from. No user name, address or session is stored unless asked.

    Columns are named as the components' labels; a label that comes twice gets a number. Images, audio and video are
    stored so that `datasets` loads them as such, any other file as ``{"name", "bytes"}``; a `Label` as its label and
    confidences, a `Dataframe` or `JSON` as JSON text. ``timestamp`` is UTC; ``flag`` is the chosen option, if there
    are any.

    Usage::

        gr.Interface(classify, "image", "label", flagging_callback=HubFlaggingCallback("user/flagged"))

    Args:
        repo_id: the dataset, ``user/name``; a name alone is the token's user's.
        transform: called with each row, a dict, in the thread of the visitor's request; returns the row to store, or
            None to store nothing.
        store_username: add a ``username`` column; it is empty unless the app has a login.
        options: those of `JsonlScheduler`, and of `ParquetScheduler`, which is used where a component holds files. Rows
            wait in a folder below the interface's `flagging_dir`, unless `folder_path` is given.

    Attributes:
        scheduler: the scheduler; None until an interface was built with this object.
        rows: how many rows were stored since.

    Thread-safety: `flag` may be called from any thread; an error in it shows as "Error!" on the button, and in the log.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        transform: Callable[[dict[str, Any]], Row | None] | None = None,
        store_username: bool = False,
        **options: Any,
    ) -> None:
        self.repo_id = repo_id
        self.scheduler: RowScheduler | None = None
        self.rows = 0
        self._transform = transform
        self._store_username = store_username
        self._options = options
        self._lock = threading.Lock()  # of all below, and of `scheduler` and `rows`
        self._columns: list[tuple[str, Component]] = []

    def setup(self, components: Sequence[Component], flagging_dir: str | Path) -> None:
        """Start the scheduler that fits the components; called by Gradio, once for each time the page is built."""
        names = _names(components)
        kind = ParquetScheduler if any(map(_holds_files, components)) else JsonlScheduler
        with self._lock:
            self._columns = list(zip(names, components, strict=True))
            if type(self.scheduler) is not kind:
                if self.scheduler is not None:
                    self.scheduler.stop(flush=False)  # its rows lie in the same folder, and the next one sends them
                folder = Path(flagging_dir) / self.repo_id.replace("/", "--")
                self.scheduler = kind(self.repo_id, **{"folder_path": folder, **self._options})

    def flag(self, flag_data: list[Any], flag_option: str | None = None, username: str | None = None) -> int:
        """Store one row; called by Gradio for each flag.

        Returns:
            The number of rows that this object has stored.

        Raises:
            HubspoolError: the row cannot be stored, or the disk is full.
        """
        with self._lock:
            scheduler, columns = self.scheduler, self._columns
        if scheduler is None:
            raise RuntimeError("setup(components, flagging_dir) comes first; gr.Interface calls it.")
        pairs = zip(columns, flag_data, strict=True)
        row: dict[str, Any] = {name: _value(component, value) for (name, component), value in pairs}
        if flag_option is not None:
            row["flag"] = flag_option
        if self._store_username:
            row["username"] = username
        row["timestamp"] = datetime.now(timezone.utc)
        kept = row if self._transform is None else self._transform(row)
        if kept is not None:
            scheduler.append(kept)
        with self._lock:
            self.rows += kept is not None
            return self.rows


def _names(components: Iterable[Component]) -> list[str]:
    """Return a column's name for each component, no two alike."""
    names: list[str] = []
    for index, component in enumerate(components):
        label = str(getattr(component, "label", None) or f"component {index}")
        name, number = label, 1
        while name in names or name in _OF_THE_ROW:
            number += 1
            name = f"{label} {number}"
        names.append(name)
    return names


def _holds_files(component: Component) -> bool:
    model = component.data_model
    return model is not None and '"gradio.FileData"' in json.dumps(model.model_json_schema())


def _value(component: Component, value: Any) -> Any:
    """Return what a component holds, as Gradio sends it, as a value of a row."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if value is not None and isinstance(component, (components.Dataframe, components.JSON)):
        return json.dumps(value, ensure_ascii=False)  # columns and keys of each flag's own would not load together
    return _with_media(_kind(component), value)


def _kind(component: Component) -> str:
    if isinstance(component, components.Audio):
        return "audio"
    if isinstance(component, components.Video):
        return "video"
    images = (components.Image, components.ImageEditor, components.ImageSlider, components.Gallery)
    return "image" if isinstance(component, (*images, components.AnnotatedImage)) else "file"


def _with_media(kind: str, value: Any) -> Any:
    """Return a value with the files in it read; Gradio has checked that they are uploads or results of its own."""
    if isinstance(value, (list, tuple)):
        return [_with_media(kind, inner) for inner in value]
    if not isinstance(value, Mapping):
        return value
    if (value.get("meta") or {}).get("_type") != "gradio.FileData":
        return {key: _with_media("video" if key == "video" else kind, inner) for key, inner in value.items()}
    if not value.get("path"):
        return None
    path = Path(value["path"])
    name = Path(value.get("orig_name") or path.name).name
    content = path.read_bytes()
    return {"name": name, "bytes": content} if kind == "file" else Media(kind, content, name)
