"""Media files: whether one is whole, and pictures without the place and the camera that their metadata names."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from hubspool.extending import HFValidationError

_HEADERS = {
    "image": rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|BM|II\*\0|MM\0\*|\0\0\x01\0|P[1-7]\s",
    "audio": rb"RIFF....WAVE|RF64....WAVE|fLaC|OggS|ID3|\xff[\xe0-\xff]|....ftyp|FORM....AIF[FC]|ADIF|\x30\x26\xb2\x75",
    "video": rb"RIFF....AVI |\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]|....(?:ftyp|moov|mdat|free|skip|wide)",
}
_HEADER = {media: re.compile(pattern, re.DOTALL) for media, pattern in _HEADERS.items()}
#: Images that PIL may be unable to read: AVIF, HEIC, JPEG XL, SVG.
_BEYOND_PIL = re.compile(
    rb"....ftyp(?:avi[fs]|he[iv].|mif1|msf1)|\xff\x0a|\0\0\0\x0cJXL |(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg|!)", re.DOTALL
)
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
#: JPEG segments that `without_exif` drops: all of applications but JFIF, colour profiles and Adobe's; and comments.
_JPEG_METADATA = re.compile(rb"\xff(?:[\xe1\xe3-\xed\xef\xfe]|\xe2(?!..ICC_PROFILE))", re.DOTALL)
_PNG_METADATA = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME"})
_ORIENTATION = b"\x01\x12"
_TRUNCATED = "the file is truncated"


def prepared(content: bytes, media: str, key: str, name: str | None, *, check: bool, strip: bool) -> bytes:
    """Return the content of a media file as it is stored.

    Args:
        content: the file.
        media: "image", "audio" or "video".
        key: where the row has it, for the error.
        name: the name of the file, if it has one.
        check: refuse a file that is not whole.
        strip: remove the metadata of an image.

    Raises:
        HFValidationError: the file is not whole, or its metadata cannot be removed.
    """
    if check and (problem := problem_of(content, media, name)):
        raise HFValidationError(
            f"Cannot store {name or 'the bytes'!r} in {key!r}: {problem}.",
            hint="Pass another file, or use check_media=False.",
        )
    return without_exif(content, key) if strip and media == "image" else content


def problem_of(content: bytes, media: str, name: str | None = None) -> str | None:
    """Return why readers would fail at a media file: it is empty, truncated, or something else; None if it looks whole.

    Not promised: that a file decodes. It has a header of its media and is as long as it says; where PIL is installed,
    an image also passes its `verify`.
    """
    if not content:
        return "the file is empty"
    beyond = media == "image" and _BEYOND_PIL.match(content)
    if not beyond and not _HEADER[media].match(content) and not (name or "").lower().endswith(".tga"):
        return f"the file is no {media}"
    try:
        for _ in _format(content)[1]:
            pass
        if media == "image" and not beyond:
            _verify(content)
    except (OSError, SyntaxError, ValueError) as error:
        return str(error)
    return None


def _verify(content: bytes) -> None:
    try:
        from PIL import Image
    except ImportError:
        return
    try:
        with Image.open(io.BytesIO(content)) as image:
            whole = image.format not in ("TIFF", "TGA", "PPM")  # `verify` does not look at their length
            image.verify() if whole else image.load()
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None


def without_exif(content: bytes, key: str) -> bytes:
    """Return an image file without metadata: EXIF, XMP, IPTC, comments. Its pixels, colours and orientation stay.

    Raises:
        HFValidationError: the format is none that this function or PIL can write again.
    """
    kind, found = _format(content)
    if kind == "plain":
        return content
    parts = list(found)
    if kind == "jpeg":
        exif = next((part[10:] for _, part in parts if part[4:10] == b"Exif\0\0"), b"")
        kept = [part for _, part in parts if not _JPEG_METADATA.match(part)]
        return kept[0] + _oriented(exif, lambda new: b"\xff\xe1\0\x22Exif\0\0" + new) + b"".join(kept[1:])
    if kind == "png":
        exif = next((part[8:-4] for name, part in parts if name == b"eXIf"), b"")
        kept = [part for name, part in parts if name not in _PNG_METADATA]
        return b"".join([*kept[:2], _oriented(exif, _png_exif), *kept[2:]])
    if kind == "webp":
        exif = next((part[8:] for name, part in parts if name == b"EXIF"), b"").removeprefix(b"Exif\0\0")
        new = _oriented(exif, lambda new: b"EXIF" + len(new).to_bytes(4, "little") + new)
        flags = 0x08 if new else 0
        kept = [
            part[:8] + bytes([part[8] & ~0x0C | flags]) + part[9:] if name == b"VP8X" else part
            for name, part in parts[1:]
            if name not in (b"EXIF", b"XMP ")
        ]
        body = b"WEBP" + b"".join(kept) + new
        return b"RIFF" + len(body).to_bytes(4, "little") + body
    try:
        from PIL import Image

        with Image.open(io.BytesIO(content)) as image:
            return image_bytes(image, key)
    except (ImportError, OSError):
        raise HFValidationError(
            f"The image in {key!r} has a format whose metadata cannot be removed.",
            hint="Pass it as JPEG, PNG or WebP, or with strip_exif=False.",
        ) from None


#: Modes of an image that PNG, and that TIFF, stores without loss; and what the other modes are converted to.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_TIFF_MODES = frozenset({"PA", "CMYK", "LAB", "I", "F", "I;16B", "I;16L"})
_CONVERTED = {"YCbCr": "RGB", "HSV": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}


def image_bytes(image: Any, key: str, kind: str | None = None) -> bytes:
    """Return an image of PIL's as a file: all its frames, its pixels without loss, and its EXIF orientation.

    Modes that no file format has (YCbCr, HSV, premultiplied alpha) are converted to RGB, RGBA or LA. `kind` is the
    format as PIL names it; without it, and with "PNG", the image is written without loss, as TIFF if PNG lacks it.

    Raises:
        HFValidationError: PIL cannot write the image.
    """
    from PIL import Image, ImageSequence

    exif, tag = Image.Exif(), int.from_bytes(_ORIENTATION, "big")
    out = io.BytesIO()
    try:
        position = image.tell()
        many = getattr(image, "n_frames", 1) > 1 and image.format != "MPO"  # the other frames of MPO are previews
        # Copies: an opened TIFF would write all of its tags again.
        frames = [frame.copy() for frame in ImageSequence.Iterator(image)] if many else [image.copy()]
        if orientation := image.getexif().get(tag):  # read last: an opened TIFF is turned as it loads
            exif[tag] = orientation
        options = {"exif": exif.tobytes() if orientation else b""}
        if many:
            image.seek(position)
            kind = kind or (image.format if image.format in ("TIFF", "WEBP") else "PNG")
            if kind != "TIFF":
                frames = [frame.convert("RGBA") for frame in frames]  # PIL cannot save frames whose palettes differ
            frames[0].save(out, kind, save_all=True, append_images=frames[1:], lossless=True, exact=True, **options)
            return out.getvalue()
        (frame,) = frames
        if frame.mode in _CONVERTED:
            frame = frame.convert(_CONVERTED[frame.mode])
        if kind not in (None, "PNG"):
            frame.save(out, kind, **options)
            return out.getvalue()
        if frame.mode not in _PNG_MODES | _TIFF_MODES:
            raise ValueError(f"no file format has the mode {frame.mode}")
        frame.save(out, "PNG" if frame.mode in _PNG_MODES else "TIFF", **options)
    except (AttributeError, OSError, SyntaxError, SystemError, ValueError) as error:
        raise HFValidationError(
            f"Cannot store the image in {key!r}: {error}.", hint="Convert it first, for example image.convert('RGB')."
        ) from None
    return out.getvalue()


def _whole(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    size = int.from_bytes(content[2:6], "little") if content.startswith(b"BM") else 0
    if size > len(content) or (not size and b";" not in content[-1024:]):
        raise ValueError(_TRUNCATED)
    yield b"", content


def _jpeg(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    yield b"", content[:2]
    at = 2
    while content[at + 1 : at + 2] != b"\xd9":
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if content[at + 1 : at + 2] == b"\xda":  # the pixels follow
            found = _JPEG_MARKER.search(content, end)
            end = found.start() if found else len(content)
        if end >= len(content) or content[at] != 0xFF or end < at + 4:
            raise ValueError(_TRUNCATED)
        yield content[at + 1 : at + 2], content[at:end]
        at = end
    yield b"\xd9", content[at : at + 2]


def _png(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    yield b"", content[:8]
    at, name = 8, b""
    while name != b"IEND":
        name = content[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if end > len(content):
            raise ValueError(_TRUNCATED)
        yield name, content[at:end]
        at = end


def _riff(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    order: Any = "big" if content[:4] == b"FORM" else "little"
    size = int.from_bytes(content[4:8], order)
    if size in (0, 2**32 - 1):
        return  # written as a stream
    if size + 8 > len(content) + 1:
        raise ValueError(_TRUNCATED)
    yield b"", content[:12]
    at = 12
    while at < size + 8:
        length = int.from_bytes(content[at + 4 : at + 8], order)
        end = at + 8 + length + length % 2
        yield content[at : at + 4], content[at:end]
        at = end


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(content[at + 8 : at + 16], "big")
        end = at + size if size else len(content)
        if end > len(content) or end < at + 8:
            raise ValueError(_TRUNCATED)
        yield content[at + 4 : at + 8], content[at:end]
        at = end


#: Beginning of a file → the name of its format, for `without_exif`, and how its parts are found.
_FORMATS: tuple[tuple[re.Pattern[bytes], str, Callable[[bytes], Iterator[tuple[bytes, bytes]]]], ...] = tuple(
    (re.compile(beginning, re.DOTALL), name, parts)
    for beginning, name, parts in (
        (rb"\xff\xd8\xff", "jpeg", _jpeg),
        (rb"\x89PNG", "png", _png),
        (rb"GIF8|BM", "plain", _whole),
        (rb"RIFF....WEBP", "webp", _riff),
        (rb"RIFF|FORM", "", _riff),
        (rb"....ftyp", "", _boxes),
        (rb"", "", lambda _: iter(())),
    )
)


def _format(content: bytes) -> tuple[str, Iterator[tuple[bytes, bytes]]]:
    """Return the name of a file's format, and its parts by their names: its beginning first; none if not read here.

    The iterator raises ValueError if the file ends before its last part does.
    """
    return next((name, parts(content)) for beginning, name, parts in _FORMATS if beginning.match(content))


def _oriented(exif: bytes, wrap: Callable[[bytes], bytes]) -> bytes:
    """Return EXIF data with the orientation of `exif` only, wrapped for a format; nothing if it has none."""
    order: Any = "little" if exif[:2] == b"II" else "big"
    first = int.from_bytes(exif[4:8], order)
    tag = _ORIENTATION if order == "big" else _ORIENTATION[::-1]
    for number in range(int.from_bytes(exif[first : first + 2], order)):
        entry = exif[first + 2 + 12 * number :][:12]
        if entry[:2] == tag:
            value = int.from_bytes(entry[8:10], order).to_bytes(2, "big")
            return wrap(b"MM\0*\0\0\0\x08\0\x01" + _ORIENTATION + b"\0\x03\0\0\0\x01" + value + b"\0\0\0\0\0\0")
    return b""


def _png_exif(exif: bytes) -> bytes:
    from zlib import crc32

    return len(exif).to_bytes(4, "big") + b"eXIf" + exif + crc32(b"eXIf" + exif).to_bytes(4, "big")
