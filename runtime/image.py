"""Pictures from files and from memory, as (H, W, 3) uint8 RGB, upright.

Whatever a file holds (grey, alpha, palette, CMYK, 1-bit, 16-bit, rotated by EXIF, animated) becomes the same plain
array, or is refused with one `MediaError`. Transparent pixels are laid over white, as a browser page shows them.
"""

from __future__ import annotations

import io
import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, MediaError, ShapeError

if TYPE_CHECKING:
    from PIL import Image as PillowImage

__all__ = ["MAX_PIXELS", "as_rgb", "read_image"]

UInt8 = NDArray[np.uint8]

MAX_PIXELS = 64_000_000  # 192 MB as RGB; larger pictures are refused before a pixel is decoded
# Decoders that we trust with foreign bytes. EPS and PDF would start Ghostscript, others are rare and little tested.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
ORIENTATION_TAG = 0x0112  # EXIF's `Orientation`
WHITE = (255, 255, 255)
BLOCK_PIXELS = 1 << 16  # laid over white at a time, so that they stay in the cache


def read_image(source: str | Path | bytes) -> UInt8:
    """Return the picture of a file, upright, as RGB.

    Alpha is composited over white, 16-bit grey is scaled (not clipped) to 0..255, an EXIF orientation is applied, and
    of an animation or a multi-page file the first frame is read. Of 16-bit colour Pillow keeps the high byte of each
    value, which is at most one level below the scaled one. A JPEG is decoded at its full size: the decoder's own
    reduction ("draft") would be faster, and other pixels than those that a resize of the picture gives.

    Args:
        source: a path, or the bytes of a file.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous.

    Raises:
        MediaError: missing, a directory, empty, truncated, damaged, not an image, or over `MAX_PIXELS` pixels.
    """
    from PIL import Image, UnidentifiedImageError

    name, stream = _open(source)
    with stream, warnings.catch_warnings():
        # Pillow warns of bombs and of broken EXIF; the first is an error for us, the second no concern of the user.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.init()
        try:
            with Image.open(stream, formats=[word for word in FORMATS if word in Image.OPEN]) as image:
                _refuse_bomb(name, image.size)
                image.load()
                return _upright_rgb(image)
        except MediaError:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
            raise MediaError(f"`{name}` has too many pixels", expected=f"at most {MAX_PIXELS}") from exc
        except UnidentifiedImageError as exc:
            raise MediaError(f"`{name}` is not an image", expected=" | ".join(FORMATS)) from exc
        except Exception as exc:  # a decoder may raise anything on foreign bytes; whatever it is, the file is refused
            raise MediaError(f"`{name}` is damaged or cut short", got=f"{type(exc).__name__}: {exc}") from exc


def as_rgb(array: NDArray[Any], colour: str = "RGB") -> UInt8:
    """Return an array of pixels as RGB.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4, last is alpha); bool, uint8, uint16 (0..65535) or float
            (0..1). Alpha is composited over white.
        colour: order of the first three channels, "RGB" or "BGR"; of no meaning for grey.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous; shares memory with `array` if nothing had to be changed.

    Raises:
        ShapeError: another shape, or an empty side.
        InputError: another dtype or colour, floats outside 0..1 or not finite.
    """
    if colour not in ("RGB", "BGR"):
        raise InputError("colour order not known", expected="RGB | BGR", got=colour)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise ShapeError("frame has the wrong shape", expected="(H, W) or (H, W, 1 | 3 | 4)", got=array.shape)
    pixels = _to_uint8(array)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 3 and colour == "RGB":
        return np.ascontiguousarray(pixels)
    # A plane at a time: to NumPy, rows of three are many short loops.
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    order = (0, 0, 0) if pixels.shape[2] == 1 else (2, 1, 0) if colour == "BGR" else (0, 1, 2)
    for channel, source in enumerate(order):
        rgb[:, :, channel] = pixels[:, :, source]
    if pixels.shape[2] == 4:
        _lay_over_white(rgb, pixels[:, :, 3])
    return rgb


def _lay_over_white(rgb: UInt8, alpha: UInt8) -> None:
    """Replace colours by (colour * alpha + 255 * (255 - alpha)) / 255, rounded, which never leaves 16 bits."""
    step = max(1, BLOCK_PIXELS // alpha.shape[1])
    for start in range(0, len(alpha), step):
        rows = slice(start, start + step)
        share = alpha[rows].astype(np.uint16)
        white = (255 - share) * np.uint16(255)
        for channel in range(3):
            value = rgb[rows, :, channel].astype(np.uint16)
            value *= share
            value += white
            value += np.uint16(128)  # v / 255, rounded, is (v + 128 + (v + 128 >> 8)) >> 8 for all v up to 255 * 255
            value += value >> np.uint16(8)
            value >>= np.uint16(8)
            rgb[rows, :, channel] = value


def _to_uint8(array: NDArray[Any]) -> UInt8:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        wide = array.astype(np.uint32)
        wide *= np.uint32(255)
        wide += np.uint32(32895)  # (v * 255 + 32895) >> 16 is v / 257, rounded, for all 16-bit v: no division
        wide >>= np.uint32(16)
        return wide.astype(np.uint8)
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())  # NaN spreads to both
        if not (low >= 0.0 and high <= 1.0):
            raise InputError(
                "float pixels must be finite and within 0..1",
                got=f"{low:g}..{high:g}",
                hint="divide by 255, or pass uint8",
            )
        return np.asarray(np.rint(array * array.dtype.type(255)), np.uint8)
    raise InputError("pixels have the wrong dtype", expected="bool, uint8, uint16 or float", got=array.dtype)


def _open(source: str | Path | bytes) -> tuple[str, BinaryIO]:
    if isinstance(source, bytes | bytearray | memoryview):
        if len(source) == 0:
            raise MediaError("image has 0 bytes")
        return "<bytes>", io.BytesIO(source)
    path = Path(source)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise MediaError(f"`{path}` is a directory", expected="an image file")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could block for ever
            raise MediaError(f"`{path}` is not a regular file", expected="an image file")
        if status.st_size == 0:
            raise MediaError(f"`{path}` has 0 bytes", expected="an image file")
        return str(path), path.open("rb")
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise MediaError(f"cannot read `{path}`: {reason}") from exc


def _refuse_bomb(name: str, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise MediaError(f"`{name}` has too many pixels", expected=f"at most {MAX_PIXELS}", got=f"{size[0]}x{size[1]}")


def _upright_rgb(image: PillowImage.Image) -> UInt8:
    from PIL import Image

    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "F" or image.mode.startswith("I"):
        return as_rgb(_wide_grey(image))
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        solid = image.convert("RGBA")
        canvas = Image.new("RGB", solid.size, WHITE)
        canvas.paste(solid, mask=solid.getchannel("A"))
        image = canvas
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)


def _orientation(image: PillowImage.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # broken EXIF beside good pixels: as every viewer does, show the pixels
        return 1
    return value if isinstance(value, int) else 1


def _wide_grey(image: PillowImage.Image) -> NDArray[Any]:
    """Return the grey values of a file of more than 8 bits: uint16, or float 0..1."""
    values = np.array(image)
    if values.dtype.kind == "f":
        if not (values.min() >= 0.0 and values.max() <= 1.0):
            raise MediaError("float image has values outside 0..1", hint="save it with 8 or 16 bits a pixel")
        return values
    if values.min() < 0 or values.max() > 65535:
        raise MediaError("integer image has values outside 16 bits", hint="save it with 8 or 16 bits a pixel")
    return values.astype(np.uint16)
