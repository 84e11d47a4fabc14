"""HubFlaggingCallback: flagged inputs and outputs of a `gr.Interface`, as rows of a dataset."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradio import FlaggingCallback, components

import hubspool_templates
from hubspool_templates.defaults import folder_of
from hubspool_templates.jsonl import JsonlScheduler
from hubspool_templates.parquet.media import Media, as_texts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradio.components import Component

    from hubspool_templates.rows import Row, RowScheduler

#: Components whose files are media; files of other components are stored as name and bytes.
_IMAGES = (components.AnnotatedImage, components.Gallery, components.Image, components.ImageEditor)
_MEDIA: dict[type, str] = {
    components.Audio: "audio",
    components.Video: "video",
    **dict.fromkeys((*_IMAGES, components.ImageSlider), "image"),
}
_OWN_COLUMNS = ("flag", "username", "timestamp")


class HubFlaggingCallback(FlaggingCallback):
    """Stores each flag of a `gr.Interface` as a row of a dataset on the Hub, with one column per component.

    Not promised: rows since the last push when the disk is wiped, as with `JsonlScheduler`. One object cannot serve two
    interfaces: Gradio does not say which of them a flag comes from. No user name is stored unless `store_username`, and
    no address or session ever.

    Columns have the labels of the components; the second component of one label gets a number. Images, audio and video
    are stored so that `datasets` loads them as such, any other file as ``{"name", "bytes"}``; a `Label` as its label
    and confidences, a `Dataframe` or `JSON` as JSON text. ``timestamp`` is UTC; ``flag`` is the chosen option, if the
    interface has options.

    Usage::

        gr.Interface(classify, "image", "label", flagging_callback=HubFlaggingCallback("user/flagged"))

    Args:
        repo_id: the dataset, ``user/name``; a name alone belongs to the token's user. Or a path in a bucket,
            ``hf://buckets/user/name/path``.
        transform: called with each row, a dict, in the thread of the visitor's request; returns the row to store, or
            None to store nothing. A `Path` in it is stored as the file, a str always as text.
        store_username: add a ``username`` column; it is empty unless the app has a login.
        options: the options of `JsonlScheduler`, or of `ParquetScheduler`, which is used if a component holds files.
            The spool is in a folder below the interface's `flagging_dir`, unless `folder_path` is given.

    Attributes:
        scheduler: the scheduler; None until an interface is built with this object.
        rows: number of rows that this object stored.

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
        self._lock = threading.Lock()  # guards `scheduler`, `rows` and `_columns`
        self._earlier: list[RowScheduler] = []
        self._columns: list[tuple[str, Component]] = []

    def setup(self, components: Sequence[Component], flagging_dir: str | Path) -> None:
        """Start the scheduler that fits the components; Gradio calls it each time it builds the page."""
        names = _names(components)
        kind = hubspool_templates.ParquetScheduler if any(map(_holds_files, components)) else JsonlScheduler
        with self._lock:
            self._columns = list(zip(names, components, strict=True))
            if type(self.scheduler) is not kind:
                if self.scheduler is not None:
                    self._earlier.append(self.scheduler)  # its rows have another form, and it goes on sending them
                folder = Path(flagging_dir) / folder_of(self.repo_id)
                self.scheduler = kind(self.repo_id, **{"folder_path": folder, **self._options})

    def flag(self, flag_data: list[Any], flag_option: str | None = None, username: str | None = None) -> int:
        """Store one row; Gradio calls it for each flag.

        Returns:
            The number of rows that this object stored.

        Raises:
            HubspoolError: the row cannot be stored, or the disk is full.
        """
        with self._lock:
            scheduler, columns = self.scheduler, self._columns
        if scheduler is None:
            raise RuntimeError("Call setup(components, flagging_dir) first; gr.Interface does.")
        pairs = zip(columns, flag_data, strict=True)
        row: dict[str, Any] = {name: _value(component, value) for (name, component), value in pairs}
        if flag_option is not None:
            row["flag"] = flag_option
        if self._store_username:
            row["username"] = username
        row["timestamp"] = datetime.now(timezone.utc)
        stored = row if self._transform is None else self._transform(row)
        if stored is not None:
            scheduler.append(as_texts(stored))
        with self._lock:
            self.rows += stored is not None
            return self.rows


def _names(components: Iterable[Component]) -> list[str]:
    """Return a column name for each component, all different."""
    names: list[str] = []
    for index, component in enumerate(components):
        label = str(getattr(component, "label", None) or f"component {index}")
        name, number = label, 1
        while name in names or name in _OWN_COLUMNS:
            number += 1
            name = f"{label} {number}"
        names.append(name)
    return names


def _holds_files(component: Component) -> bool:
    model = component.data_model
    return model is not None and '"gradio.FileData"' in json.dumps(model.model_json_schema())


def _value(component: Component, value: Any) -> Any:
    """Return the value of a component, as Gradio sends it, as a value of a row."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if value is not None and isinstance(component, (components.Dataframe, components.JSON)):
        return json.dumps(value, ensure_ascii=False)  # columns and keys that differ per flag would not load together
    media = next((media for kind, media in _MEDIA.items() if isinstance(component, kind)), None)
    return _with_media(media, value)


def _with_media(media: str | None, value: Any) -> Any:
    """Return a value whose files are read; Gradio has checked that they are its own uploads or results."""
    if isinstance(value, (list, tuple)):
        return [_with_media(media, inner) for inner in value]
    if not isinstance(value, Mapping):
        return value
    if (value.get("meta") or {}).get("_type") != "gradio.FileData":
        return {key: _with_media("video" if key == "video" else media, inner) for key, inner in value.items()}
    if not value.get("path"):
        return None
    path = Path(value["path"])
    name = Path(value.get("orig_name") or path.name).name
    content = path.read_bytes()
    return {"name": name, "bytes": content} if media is None else Media(media, content, name)
