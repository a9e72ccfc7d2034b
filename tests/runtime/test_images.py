from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import png_of
from PIL import Image, ImageCms

from daq_deploy.errors import ImageError, OptionError, OutputExistsError
from daq_deploy.runtime import Picture, deep_images, read_picture, write_picture
from daq_deploy.runtime.images import read_rgb


def gradient(height: int, width: int, channels: int = 3) -> np.ndarray:
    values = np.arange(height * width * channels) * 7 % 256
    return values.astype(np.uint8).reshape(height, width, channels)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".PNG", ".tif"])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_lossless_formats_round_trip(tmp_path, suffix, with_alpha):
    alpha = gradient(5, 7, 1)[..., 0] if with_alpha else None
    write_picture(tmp_path / f"a{suffix}", Picture(gradient(5, 7), alpha))
    picture = read_picture(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.rgb, gradient(5, 7))
    if alpha is None:
        assert picture.alpha is None
    else:
        np.testing.assert_array_equal(picture.alpha, alpha)
    assert picture.notes == ()


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_is_close(tmp_path, suffix):
    flat = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    write_picture(tmp_path / f"a{suffix}", Picture(flat))
    assert np.abs(read_picture(tmp_path / f"a{suffix}").rgb.astype(int) - flat).max() <= 3


def test_grey_palette_and_one_bit_become_rgb(tmp_path):
    grey = Image.fromarray(gradient(4, 4, 1)[..., 0])
    for name, image in {"L": grey, "1": grey.convert("1"), "P": grey.convert("P")}.items():
        image.save(tmp_path / f"{name}.png")
        picture = read_picture(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(picture.rgb, np.array(image.convert("RGB")))
        assert picture.alpha is None


def test_transparency_of_grey_and_palette_becomes_alpha(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png", transparency=1)
    picture = read_picture(tmp_path / "p.png")
    assert picture.rgb.tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0]]
    Image.new("LA", (1, 1), (9, 77)).save(tmp_path / "la.png")
    picture = read_picture(tmp_path / "la.png")
    assert picture.alpha is not None
    assert (picture.rgb.tolist(), picture.alpha.tolist()) == ([[[9, 9, 9]]], [[77]])


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient(3, 5)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").rgb, turned(gradient(3, 5)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_turned_as_others_are(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient(3, 5)).save(tmp_path / "a.png", exif=exif)
    deep = gradient(3, 5).astype(np.uint16) * 257
    data = deep_images.encode(deep, "PNG", None, exif.tobytes(), None)
    (tmp_path / "deep.png").write_bytes(data)
    assert (
        read_picture(tmp_path / "deep.png").rgb.tolist()
        == (read_picture(tmp_path / "a.png").rgb.astype(int) * 257).tolist()
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("deep", [False, True])
def test_metadata_are_kept_and_fit_the_picture(tmp_path, suffix, deep):
    exif = Image.Exif()
    exif[0x0112], exif[271], exif[306] = 6, "Maker", "2020:01:02 03:04:05"
    exif[34665] = {0xA002: 5, 0xA003: 3, 0x9003: "2020:01:02 03:04:05"}
    exif[34853] = {1: "N"}
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(gradient(3, 5)).save(tmp_path / "a.jpg", exif=exif, xmp=xmp, icc_profile=profile)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.rgb.shape == (5, 3, 3)
    pixels = np.zeros((10, 6, 3), np.uint16 if deep else np.uint8)
    write_picture(tmp_path / f"b{suffix}", replace(picture, rgb=pixels))
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.size == (6, 10)
        found = image.getexif()
        assert found.get(0x0112, 1) == 1
        if not (deep and suffix == ".tif"):  # tifffile writes no EXIF directories
            assert found[271] == "Maker"
            assert found.get_ifd(34853)[1] == "N"
            directory = found.get_ifd(34665)
            assert (directory[0xA002], directory[0xA003], directory[0x9003]) == (6, 10, "2020:01:02 03:04:05")
    again = read_picture(tmp_path / f"b{suffix}")
    assert again.icc_profile == profile
    assert again.xmp is not None
    assert again.xmp.strip(b"\0") == xmp


def test_values_of_32_bits_and_several_pages_are_refused(tmp_path):
    Image.new("F", (4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="32 bits a channel"):
        read_picture(tmp_path / "a.tif")
    page = Image.new("RGB", (4, 4))
    page.save(tmp_path / "b.tif", save_all=True, append_images=[page])
    with pytest.raises(ImageError, match="has several pages"):
        read_picture(tmp_path / "b.tif")


def test_cmyk_is_converted_and_noted(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    picture = read_picture(tmp_path / "a.jpg")
    assert np.abs(picture.rgb.astype(int) - (255, 0, 0)).max() <= 3
    assert picture.notes == ("converted from CMYK to RGB, without its colour profile",)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_are_kept_or_converted_and_noted(tmp_path, monkeypatch, colour_type, channels):
    rows = b"".join(b"\0" + struct.pack(">H", value) * 2 * channels for value in (0, 0x1234, 0xFFFF))
    (tmp_path / "a.png").write_bytes(png_of(16, colour_type, rows, 2, 3))
    for suffix in (".png", ".tif"):
        picture = read_picture(tmp_path / "a.png")
        assert picture.rgb[:, 1].tolist() == [[0] * 3, [0x1234] * 3, [0xFFFF] * 3]
        assert (picture.alpha is not None) == (channels in (2, 4))
        write_picture(tmp_path / f"again{suffix}", picture)
        again = read_picture(tmp_path / f"again{suffix}")
        assert again.rgb.tolist() == picture.rgb.tolist()
        assert (again.alpha is None) == (picture.alpha is None)
    monkeypatch.setattr("daq_deploy.runtime.deep_images.available", lambda: False)
    picture = read_picture(tmp_path / "a.png")
    assert picture.rgb[:, 0, 0].tolist() == [0, 0x12, 255]
    assert (picture.alpha is not None) == (channels in (2, 4))
    assert picture.notes == ("converted from 16 to 8 bits a channel",)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_animated_pictures_are_refused(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"a\.(png|webp): is animated"):
        read_picture(tmp_path / f"a{suffix}")


def test_a_jpeg_with_a_second_picture_behind_it_is_read(tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "a.jpg").rgb[0, 0, 0] > 250


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path):
    for name, side in (("warned", 10_000), ("forbidden", 60_000)):
        (tmp_path / f"{name}.png").write_bytes(png_of(8, 0, b"\0", side, side))
        with pytest.raises(ImageError, match=rf"{name}\.png: has more than 89 million pixels"):
            read_picture(tmp_path / f"{name}.png")


def test_missing_foreign_and_damaged_files_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        read_picture(tmp_path / "absent.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.gif")
    for name, content in (("empty.png", b""), ("text.jpg", b"not a picture"), ("a.gif", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=rf"{name}: is not a PNG, JPEG, WebP or TIFF picture"):
            read_picture(tmp_path / name)
    with pytest.raises(ImageError, match="cannot be read"):
        read_picture(tmp_path)


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_truncated_picture_is_refused(tmp_path, format_name):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(stream, format_name)
    (tmp_path / "a").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    with pytest.raises(ImageError) as error:
        read_picture(tmp_path / "a")
    assert "\n" not in str(error.value)


@settings(max_examples=150, deadline=None)
@given(format_name=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF"]), data=st.data())
def test_damaged_bytes_give_a_picture_or_one_line(tmp_path_factory: pytest.TempPathFactory, format_name, data):
    stream = io.BytesIO()
    Image.fromarray(gradient(9, 11)).save(stream, format_name)
    content = bytearray(stream.getvalue())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a"
    path.write_bytes(content)
    try:
        picture = read_picture(path)
    except ImageError as error:
        message = str(error)
    else:
        message = ""
        assert picture.rgb.dtype == np.uint8
        assert picture.rgb.shape[2] == 3
    assert "\n" not in message


def test_the_colour_profile_of_rgb_is_kept_and_that_of_others_dropped(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (2, 2)).save(tmp_path / "rgb.png", icc_profile=profile)
    picture = read_picture(tmp_path / "rgb.png")
    assert picture.icc_profile == profile
    write_picture(tmp_path / "again.png", picture)
    assert read_picture(tmp_path / "again.png").icc_profile == profile
    Image.new("CMYK", (2, 2)).save(tmp_path / "cmyk.jpg", icc_profile=profile)
    assert read_picture(tmp_path / "cmyk.jpg").icc_profile is None


def test_what_cannot_be_written_is_refused_and_leaves_no_file(tmp_path: Path):
    picture = Picture(gradient(2, 2), np.zeros((2, 2), np.uint8))
    with pytest.raises(OptionError, match="JPEG cannot hold the picture's transparency"):
        write_picture(tmp_path / "a.jpg", picture)
    with pytest.raises(OptionError, match=r"a\.gif: pictures are written as \.png"):
        write_picture(tmp_path / "a.gif", picture)
    with pytest.raises(ImageError, match="WEBP ends at 16383 a side"):
        write_picture(tmp_path / "a.webp", Picture(np.zeros((1, 16_384, 3), np.uint8)))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_without_force(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match="--force"):
        write_picture(path, Picture(gradient(2, 2)))
    assert path.read_bytes() == b"mine"
    write_picture(path, Picture(gradient(2, 2)), force=True)
    np.testing.assert_array_equal(read_picture(path).rgb, gradient(2, 2))


def test_what_figures_are_taken_on_has_8_bits(tmp_path):
    pixels = gradient(3, 5)
    (tmp_path / "deep.png").write_bytes(deep_images.encode(pixels.astype(np.uint16) * 257, "PNG", None, None, None))
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    for name in ("deep.png", "plain.png"):
        found = read_rgb(tmp_path / name)
        assert found.dtype == np.uint8
        assert found.tolist() == pixels.tolist()
