"""Every kind of picture file becomes upright RGB within one level of a float reference, or one error."""

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.runtime.errors import InputError, MediaError, ShapeError, one_line
from edge.runtime.image import MAX_PIXELS, as_rgb, read_image

RGB = np.random.default_rng(7).integers(0, 256, (24, 31, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
ALPHA = RGB[::-1, :, 2]


def _file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _assert_shows(data: bytes, expected: np.ndarray, levels: float = 1.0) -> None:
    result = read_image(data)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert result.shape == (*expected.shape[:2], 3)
    wide = expected[:, :, None] if expected.ndim == 2 else expected
    assert np.abs(result - wide.astype(np.float64)).max() <= levels


def _over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[:, :, None] / 255.0
    return np.asarray(colour * share + 255.0 * (1.0 - share))


def test_rgb_comes_back_exactly() -> None:
    _assert_shows(_file(Image.fromarray(RGB)), RGB, levels=0)


def test_grey_is_repeated_in_three_channels() -> None:
    _assert_shows(_file(Image.fromarray(GREY)), GREY, levels=0)


def test_one_bit_becomes_black_and_white() -> None:
    _assert_shows(_file(Image.fromarray(GREY > 127)), (GREY > 127) * 255.0, levels=0)


def test_rgba_is_laid_over_white() -> None:
    _assert_shows(_file(Image.fromarray(np.dstack([RGB, ALPHA]))), _over_white(RGB, ALPHA))


def test_grey_with_alpha_is_laid_over_white() -> None:
    image = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    _assert_shows(_file(image), _over_white(np.dstack([GREY] * 3), ALPHA))


def test_a_palette_is_looked_up() -> None:
    image = Image.fromarray(RGB).quantize(16)
    _assert_shows(_file(image), np.asarray(image.convert("RGB")), levels=0)


def test_a_transparent_palette_entry_becomes_white() -> None:
    image = Image.new("P", (4, 2), 1)
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((0, 0), 0)

    result = read_image(_file(image, transparency=1))

    assert result[0, 0].tolist() == [10, 20, 30]
    assert result[1, 3].tolist() == [255, 255, 255]


def test_a_transparent_colour_of_an_rgb_file_becomes_white() -> None:
    image = Image.new("RGB", (3, 3), (9, 8, 7))
    image.putpixel((1, 1), (1, 2, 3))

    result = read_image(_file(image, transparency=(9, 8, 7)))

    assert result[0, 0].tolist() == [255, 255, 255]
    assert result[1, 1].tolist() == [1, 2, 3]


def test_cmyk_is_mixed_from_its_inks() -> None:
    inks = np.dstack([RGB, ALPHA])
    expected = 255.0 * (1 - inks[:, :, :3] / 255.0) * (1 - inks[:, :, 3:] / 255.0)
    _assert_shows(_file(Image.frombytes("CMYK", (31, 24), inks.tobytes()), "TIFF"), expected)


def test_a_cmyk_jpeg_of_adobe_kind_is_not_read_as_its_negative() -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
    _assert_shows(_file(inks, "JPEG", quality=100), np.full((16, 16, 3), (255, 0, 0)), levels=3)


def test_of_sixteen_bit_colour_the_high_byte_is_shown_at_most_one_level_below_the_scaled_value() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    colour = np.dstack([values, values[::-1], values.T])
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in colour)
    data = _png(256, 256, 16, lines)

    _assert_shows(data, colour >> 8, levels=0)
    _assert_shows(data, colour / 257.0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)

    _assert_shows(_file(Image.fromarray(values), kind), values / 257.0)
    assert abs(read_image(_file(Image.fromarray(values), kind)).mean() - 127.5) < 0.1


def test_a_float_file_within_zero_and_one_is_scaled_and_others_are_refused() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    _assert_shows(_file(Image.fromarray(values), "TIFF"), values * 255.0)
    with pytest.raises(MediaError, match=r"outside 0\.\.1"):
        read_image(_file(Image.fromarray(values * 300), "TIFF"))


def test_a_32_bit_integer_file_beyond_16_bits_is_refused() -> None:
    with pytest.raises(MediaError, match="16 bits"):
        read_image(_file(Image.fromarray(np.full((4, 4), 1 << 20, np.int32)), "TIFF"))


# Where the pixel that should show top-left, and the one right of it, lie in the file.
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    upright = RGB
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation

    _assert_shows(_file(Image.fromarray(np.ascontiguousarray(stored)), exif=exif), upright, levels=0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_exif_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    _assert_shows(_file(Image.fromarray(RGB), exif=exif), RGB, levels=0)


def test_broken_exif_beside_good_pixels_is_ignored() -> None:
    _assert_shows(
        _file(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", quality=100), RGB, levels=255
    )


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_shows_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = _file(frames[0], kind, save_all=True, append_images=frames[1:], **options)

    assert read_image(data)[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize("hw", [(1, 1), (1, 4096), (4096, 1)])
def test_thin_pictures_are_read(hw: tuple[int, int]) -> None:
    values = np.random.default_rng(1).integers(0, 256, (*hw, 3), dtype=np.uint8)
    _assert_shows(_file(Image.fromarray(values)), values, levels=0)


def test_a_path_reads_like_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(_file(Image.fromarray(RGB)))

    np.testing.assert_array_equal(read_image(path), RGB)
    np.testing.assert_array_equal(read_image(str(path)), RGB)


def _png(width: int, height: int, bits: int, lines: bytes) -> bytes:
    """A colour PNG of any size and depth, whatever its lines hold."""

    def chunk(label: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + label + body + struct.pack(">I", zlib.crc32(label + body))

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("hw", [(12000, 12000), (16000, 16000), (60000, 60000), (1, MAX_PIXELS + 1)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(hw: tuple[int, int]) -> None:
    with pytest.raises(MediaError, match="too many pixels"):
        read_image(_png(hw[1], hw[0], 8, b"\0"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = _file(Image.fromarray(noise), kind)
    with pytest.raises(MediaError):
        read_image(data[: len(data) // 2])


@pytest.mark.parametrize(
    "data", [b"", b"x", b"GIF89a", b"not a picture at all" * 9, b"%!PS-Adobe-3.0 EPSF-3.0\n", bytes(500)]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(MediaError):
        read_image(data)


def test_random_damage_gives_a_picture_or_a_media_error_and_nothing_else() -> None:
    rng = np.random.default_rng(11)
    read = 0
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        clean = _file(Image.fromarray(RGB), kind)
        for _ in range(60):
            data = bytearray(clean)
            for place in rng.integers(0, len(data), 3):
                data[place] = int(rng.integers(256))
            with contextlib.suppress(MediaError):
                read += read_image(bytes(data)).shape[2] == 3
    assert 0 < read < 360


def test_missing_directory_empty_and_pipe_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe")
    for path, word in (("none.png", "No such file"), (".", "directory"), ("empty.png", "0 bytes"), ("pipe", "regular")):
        with pytest.raises(MediaError, match=word) as caught:
            read_image(tmp_path / path)
        assert "\n" not in one_line(caught.value)
    with pytest.raises(MediaError):
        read_image("a\0b")


def test_frames_of_every_shape_become_rgb() -> None:
    np.testing.assert_array_equal(as_rgb(GREY), np.dstack([GREY] * 3))
    np.testing.assert_array_equal(as_rgb(GREY[:, :, None]), np.dstack([GREY] * 3))
    np.testing.assert_array_equal(as_rgb(RGB), RGB)
    np.testing.assert_array_equal(as_rgb(RGB[:, :, ::-1], "BGR"), RGB)
    over = as_rgb(np.dstack([RGB[:, :, ::-1], ALPHA]), "BGR")
    assert np.abs(over - _over_white(RGB, ALPHA)).max() <= 0.5 + 1e-9


def test_frames_of_other_dtypes_are_scaled_to_bytes() -> None:
    np.testing.assert_array_equal(as_rgb(RGB.astype(np.uint16) * 257), RGB)
    np.testing.assert_array_equal(as_rgb(RGB / 255.0), RGB)
    np.testing.assert_array_equal(as_rgb((RGB / 255.0).astype(np.float32)), RGB)
    np.testing.assert_array_equal(as_rgb(GREY > 9)[:, :, 1], (GREY > 9) * 255)


def test_sixteen_bits_and_alpha_are_rounded_to_the_nearest_level_for_every_value() -> None:
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(as_rgb(wide)[:, :, 0], np.rint(wide / 257.0))
    colour, alpha = (wide >> 8).astype(np.uint8), (wide & 255).astype(np.uint8)
    layered = as_rgb(np.dstack([colour, colour, colour, alpha]))
    np.testing.assert_array_equal(layered[:, :, 1], np.rint((colour * (alpha / 255.0)) + 255.0 * (1.0 - alpha / 255.0)))


def test_a_frame_that_is_right_already_is_not_copied() -> None:
    assert as_rgb(RGB) is RGB
    assert not np.shares_memory(as_rgb(RGB, "BGR"), RGB)
    tall = np.random.default_rng(2).integers(0, 256, (700, 200, 4), dtype=np.uint8)  # several blocks of rows
    assert np.abs(as_rgb(tall) - _over_white(tall[:, :, :3], tall[:, :, 3])).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan, np.inf])
def test_floats_outside_zero_and_one_are_refused_with_a_hint(value: float) -> None:
    frame = np.full((2, 2, 3), 0.5)
    frame[1, 1, 1] = value
    with pytest.raises(InputError, match=r"0\.\.1") as caught:
        as_rgb(frame)
    assert caught.value.hint is not None


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 5), (0, 4, 3), (1, 4, 4, 3)])
def test_frames_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        as_rgb(np.zeros(shape, np.uint8))


def test_unknown_colour_and_dtype_are_refused() -> None:
    with pytest.raises(InputError, match="YUV"):
        as_rgb(RGB, "YUV")
    with pytest.raises(InputError, match="int32"):
        as_rgb(RGB.astype(np.int32))
