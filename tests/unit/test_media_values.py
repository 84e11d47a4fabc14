"""Images, audio and video in a row: stored as they were, or refused with the key; metadata removed where asked for."""

from __future__ import annotations

import io
import struct
import wave
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image, ImageDraw, ImageOps

from hubspool.errors import HFValidationError
from hubspool_templates.media_files import problem_of, without_exif
from hubspool_templates.media_types import COMMON_SUFFIX, MEDIA, media_of
from hubspool_templates.parquet.media import Media, MediaEncoder, as_texts, read_line
from hubspool_templates.schema import Schema
from hubspool_templates.values import RowEncoder

ORIENTATION, MAKER, PLACE = 0x0112, 0x010F, 0x8825


def stored(value: Any, declared: Any = None, **options: Any) -> Any:
    schema = None if declared is None else Schema({"v": declared})
    return read_line(MediaEncoder(schema, **options).encode({"v": value}))["v"]


def opened(media: Media | bytes) -> Any:
    image = Image.open(io.BytesIO(media if isinstance(media, bytes) else media.bytes))
    image.load()
    return image


def saved(image: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def photo(kind: str, **options: Any) -> bytes:
    """A picture that was taken sideways, with camera and place."""
    image = Image.linear_gradient("L").resize((40, 20)).convert("RGB")
    exif = image.getexif()
    exif[ORIENTATION], exif[MAKER] = 6, "CameraMaker"
    exif.get_ifd(PLACE)[1], exif.get_ifd(PLACE)[2] = "N", (48.0, 8.0, 14.0)
    return saved(image, kind, exif=exif, **options)


SOUND = b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\2\0\0\0\1\0"
CLIP = b"\0\0\0\x10ftypmp42\0\0\0\0\0\0\0\x0cmdatabcd"
PICTURES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: photo("JPEG"),
    "progressive jpeg": lambda: photo("JPEG", progressive=True, comment=b"CameraMaker"),
    "png": lambda: photo("PNG"),
    "webp": lambda: photo("WEBP", lossless=True),
    "tiff": lambda: photo("TIFF"),
    "bmp": lambda: photo("BMP"),
    "gif": lambda: photo("GIF"),
}


@pytest.mark.parametrize("mode", ["L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB", "I", "F", "I;16", "I;16B"])
def test_an_image_keeps_its_mode_and_pixels(mode: str) -> None:
    image = Image.new(mode, (3, 2), 1)
    found = opened(stored(image))
    assert (found.size, found.mode.rstrip("B")) == (image.size, image.mode.rstrip("B"))
    assert [found.getpixel((x, y)) for x in range(3) for y in range(2)] == [image.getpixel((0, 0))] * 6


@pytest.mark.parametrize(
    ("mode", "expected"), [("YCbCr", "RGB"), ("HSV", "RGB"), ("RGBX", "RGB"), ("RGBa", "RGBA"), ("La", "LA")]
)
def test_an_image_of_a_mode_that_no_file_has_is_converted(mode: str, expected: str) -> None:
    image = Image.linear_gradient("L").resize((8, 8)).convert(expected).convert(mode)
    found = opened(stored(image))
    assert found.mode == expected
    assert found.tobytes() == image.convert(expected).tobytes()


def test_an_image_that_cannot_be_written_names_its_key() -> None:
    empty = Image.new("RGB", (0, 3))
    for image in (Image.new("I;16N", (1, 1)), empty):
        with pytest.raises(HFValidationError, match=r"'v'.*convert"):
            stored(image)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_opened_image_keeps_all_its_frames_in_their_order(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:], duration=100, **options)
    with Image.open(tmp_path / "a") as image:
        image.seek(1)
        found = opened(stored(image))
        assert image.tell() == 1
    assert getattr(found, "n_frames", 1) == 3
    for number, frame in enumerate(frames):
        found.seek(number)
        assert found.convert("RGB").tobytes() == frame.tobytes()


def test_an_opened_image_keeps_its_orientation_and_what_was_drawn_on_it_but_no_camera() -> None:
    image = Image.open(io.BytesIO(photo("JPEG")))
    ImageDraw.Draw(image).rectangle((0, 0, 9, 9), "red")
    media = stored(image)
    found = opened(media)
    assert found.getexif()[ORIENTATION] == 6
    assert (found.size, ImageOps.exif_transpose(found).size) == ((40, 20), (20, 40))
    assert found.getpixel((5, 5)) == (255, 0, 0)
    assert b"CameraMaker" not in media.bytes
    assert MAKER not in found.getexif()


@pytest.mark.parametrize("kind", PICTURES)
def test_stripped_pictures_keep_pixels_and_orientation_and_name_no_place_or_camera(kind: str, tmp_path: Path) -> None:
    content = PICTURES[kind]()
    (tmp_path / "a.png").write_bytes(content)
    kept, media = stored(tmp_path / "a.png"), stored(tmp_path / "a.png", strip_exif=True)
    assert kept.bytes == content
    before, after = opened(content), opened(media)
    assert after.tobytes() == before.tobytes()
    assert after.getexif().get(ORIENTATION) == before.getexif().get(ORIENTATION)
    assert set(after.getexif()) <= {ORIENTATION} or kind == "tiff"
    assert not after.getexif().get_ifd(PLACE)
    assert b"CameraMaker" not in media.bytes
    assert problem_of(media.bytes, "image") is None


def test_stripping_removes_what_follows_the_picture_too() -> None:
    assert b"CameraMaker" not in without_exif(photo("JPEG") + photo("JPEG"), "v")


def test_stripping_keeps_the_colour_profile() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("JPEG", "PNG", "WEBP"):
        assert opened(without_exif(photo(kind, icc_profile=profile), "v")).info["icc_profile"] == profile


def test_a_picture_whose_metadata_cannot_be_removed_is_refused() -> None:
    heic = b"\0\0\0\x10ftypheic\0\0\0\0"
    assert stored(Media("image", heic, "a.heic")).bytes == heic
    with pytest.raises(HFValidationError, match=r"'v'.*strip_exif=False"):
        stored(Media("image", heic, "a.heic"), strip_exif=True)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL tells of truncated tags as well
@pytest.mark.parametrize("kind", PICTURES)
def test_a_truncated_picture_is_refused_wherever_it_ends(kind: str) -> None:
    content = PICTURES[kind]()
    for end in [*range(0, len(content) - 1, max(1, len(content) // 60)), len(content) - 2]:
        with pytest.raises(HFValidationError, match=r"'v'.*(empty|[Tt]runcated|image).*check_media=False"):
            stored(Media("image", content[:end], "a.png"))
    assert stored(Media("image", content, "a.png")).bytes == content


@pytest.mark.parametrize(
    ("media", "content"),
    [("image", b""), ("image", b"<html><body>404</body></html>"[6:]), ("image", b'{"error": 1}'), ("image", SOUND),
     ("image", b"\x89PNG\r\n\x1a\n" + bytes(50)), ("audio", b""), ("audio", b"no sound"), ("audio", SOUND[:-3]),
     ("audio", photo("PNG")), ("video", b""), ("video", b"<html>"), ("video", CLIP[:-1]), ("video", CLIP[:20])],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_junk_is_refused_unless_it_is_wanted(media: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"a.{COMMON_SUFFIX[media]}"
    path.write_bytes(content)
    for value, declared in ((path, None), (str(path), None), (content, media), (Media(media, content), None)):
        with pytest.raises(HFValidationError, match=r"'v'.*check_media=False"):
            stored(value, declared)
        assert stored(value, declared, check_media=False).bytes == content


@pytest.mark.parametrize(
    ("media", "content"),
    [("audio", SOUND), ("audio", b"fLaC"), ("audio", b"OggS"), ("audio", b"ID3"), ("audio", b"\xff\xfb\x90"),
     ("audio", b"\xff\xf1\x50"), ("audio", b"FORM\0\0\0\4AIFF"), ("audio", b"RIFF\xff\xff\xff\xffWAVEfmt "),
     ("video", CLIP), ("video", b"\x1aE\xdf\xa3"), ("video", b"\0\0\0\0mdat"), ("video", b"RIFF\4\0\0\0AVI "),
     ("image", b"<svg/>"), ("image", b'<?xml version="1.0"?><svg/>'), ("image", b"\xff\x0a"),
     ("image", b"\0\0\0\x10ftypavif\0\0\0\0")],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_files_of_every_kind_pass_the_check(media: str, content: bytes) -> None:
    assert problem_of(content, media) is None


@pytest.mark.parametrize("suffix", ["png", "jfif", "heic", "avif", "jxl", "svg", "aac", "aiff", "m4v", "WAV", "Jpg"])
def test_a_path_of_a_media_file_is_stored_as_media_in_any_form(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    media = media_of(path.name)
    assert media in MEDIA
    path.write_bytes(content := {"image": photo("PNG"), "audio": SOUND, "video": CLIP}[media])
    for value in (path, PurePath(path), str(path)):
        assert stored(value) == stored([value])[0] == stored({"a": value})["a"] == Media(media, content, path.name)
        assert stored(value, paths="text") == stored(value, "string") == str(path)


def test_a_path_without_a_file_is_an_error_and_a_text_stays_a_text(tmp_path: Path) -> None:
    with pytest.raises(HFValidationError, match=r"'v'.*no such file"):
        stored(tmp_path / "gone.png")
    assert stored(tmp_path / "gone.png", paths="text") == str(tmp_path / "gone.png")
    (tmp_path / "data.csv").write_text("a")
    (tmp_path / "folder.png").mkdir()
    for value in ("gone.png", str(tmp_path / "data.csv"), str(tmp_path / "folder.png"), "x" * 5000 + ".png", "\0.png"):
        assert stored(value) == value
    assert stored(tmp_path / "data.csv") == str(tmp_path / "data.csv")
    with pytest.raises(HFValidationError, match="paths is 'files'"):
        MediaEncoder(paths="files")  # type: ignore[arg-type]


def test_a_text_of_a_visitor_is_no_path(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(photo("PNG"))
    text = str(path)
    row = read_line(MediaEncoder().encode(as_texts({"v": text, "w": [{"x": text}], "p": path, "t": (text,)})))
    assert (row["v"], row["w"], row["t"], row["p"].path) == (text, [{"x": text}], [text], "a.png")
    assert orjson.loads(RowEncoder().encode(as_texts({"v": text}))) == {"v": text}
    subclass = type("Markup", (str,), {"__str__": lambda self: self})
    hidden = {"a": subclass(text), "b": np.str_(text), "c": {text}, "d": deque([text]), "e": np.array([text])}
    stored = read_line(MediaEncoder().encode(as_texts(hidden)))
    assert stored == {"a": text, "b": text, "c": [text], "d": [text], "e": [text]}
    pixels = np.zeros((2, 2, 3), np.uint8)
    assert as_texts({"x": pixels})["x"] is pixels


def test_rows_without_media_are_written_as_plain_lines(tmp_path: Path) -> None:
    for row in ({"a": "the end is near.png"}, {"a": {1, 2}}, {"a": np.arange(3)}, {"a": "v1.20", "b": None}):
        assert not MediaEncoder().encode(row).startswith(b'{"$hubspool"')


@pytest.mark.parametrize(
    ("samples", "channels", "frames"),
    [(np.zeros(800, np.int16), 1, 800), (np.zeros((800, 2), np.int16), 2, 800), (np.zeros((2, 800), np.int16), 2, 800),
     (np.zeros((1, 800), np.int16), 1, 800), (np.zeros((2, 2), np.int16), 2, 2), (np.zeros(0, np.int16), 1, 0),
     (np.zeros((800, 2), ">i2"), 2, 800)],
    ids=lambda value: str(getattr(value, "shape", value)),
)  # fmt: skip
@pytest.mark.parametrize("rate", [8000, 8000.0, np.float64(8000), np.int64(8000)], ids=repr)
def test_samples_are_stored_with_channels_first_or_last(samples: Any, channels: int, frames: int, rate: Any) -> None:
    with wave.open(io.BytesIO(stored((rate, samples), "audio").bytes)) as sound:
        assert (sound.getnchannels(), sound.getnframes(), sound.getframerate()) == (channels, frames, 8000)


def test_channels_first_keep_their_samples_apart() -> None:
    media = stored((8000, np.array([[1] * 40, [2] * 40], np.int16)), "audio")
    assert struct.unpack("<4h", media.bytes[44:52]) == (1, 2, 1, 2)


@pytest.mark.parametrize("rate", [0, -1, 8000.5, float("nan"), float("inf"), 2**31, "8000", None, Fraction(1, 2)])
def test_a_rate_that_no_file_has_is_refused_with_its_key(rate: Any) -> None:
    with pytest.raises(HFValidationError, match=r"'v'.*rate"):
        stored((rate, np.zeros(4, np.int16)), "audio")


@pytest.mark.parametrize(
    "samples",
    [np.zeros((800, 800), np.int16), np.zeros((0, 0), np.int16), np.zeros(4, np.int64), ["x"], np.zeros((1, 1, 1))],
)
def test_samples_that_no_file_has_are_refused_with_their_key(samples: Any) -> None:
    with pytest.raises(HFValidationError, match="'v'"):
        stored((8000, samples), "audio")


@pytest.mark.parametrize("pixels", [np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 2, 2), np.uint8)])
def test_pixels_that_are_no_image_are_refused_with_their_key(pixels: Any) -> None:
    with pytest.raises(HFValidationError, match="'v'"):
        stored(pixels, "image")
