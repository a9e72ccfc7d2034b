"""Render the picture of the demonstration: `python -m daq_deploy.runtime.demo.render_picture picture.png`.

A boathouse on a mountain lake. Nothing in it was photographed: every pixel comes from the seeded noise and the shapes
below, drawn four times as large and averaged in linear light, so that edges have the softness a lens gives them.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Array = npt.NDArray[np.floating[Any]]
Colour = tuple[int, int, int]

WIDTH, HEIGHT = 384, 256
OVERSAMPLING = 4
_W, _H = WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING
_SHORE = 660
"""Row of the water's edge on the large canvas."""


def fractal_noise(
    generator: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float], octaves: int
) -> Array:
    """Return noise (H, W) of mean 0 and standard deviation 1; `cell` is the size of its largest features (y, x)."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        grid = tuple(int(size / (length / 2**octave)) + 3 for size, length in zip(shape, cell, strict=True))
        values = Image.fromarray(generator.standard_normal(grid).astype(np.float32))
        smooth = values.resize((width, height), Image.Resampling.BICUBIC, box=(1, 1, grid[1] - 1, grid[0] - 1))
        total += np.asarray(smooth) / 2.2**octave
    result: Array = (total - total.mean()) / total.std()
    return result


def _mix(first: Array | Colour, second: Array | Colour, amount: Array) -> Array:
    """Blend colours, or pictures (H, W, 3), by `amount` (H, W) from 0 (first) to 1 (second)."""
    weight = np.clip(amount, 0, 1)[..., None]
    mixed: Array = np.asarray(first, np.float32) * (1 - weight) + np.asarray(second, np.float32) * weight
    return mixed


def sky(generator: np.random.Generator) -> Array:
    """Return the sky (H, W, 3): a gradient, and clouds lit from the left."""
    rows = np.broadcast_to(np.linspace(0, 1, _H, dtype=np.float32)[:, None] * _H / _SHORE, (_H, _W))
    canvas = _mix((64, 112, 176), (226, 222, 214), rows**0.8 * 1.15)
    clouds = fractal_noise(generator, (_H, _W), (150, 420), 7)
    cover = (clouds - 0.35 - 0.5 * np.abs(rows - 0.35)) / 1.1
    lit = _mix((168, 172, 186), (255, 250, 240), 0.55 + 0.8 * (clouds - np.roll(clouds, -18, axis=1)))
    return _mix(canvas, lit, cover * 1.2)


def mountains(generator: np.random.Generator, canvas: Array, base: int, relief: int, snow: float, haze: float) -> Array:
    """Put a range of mountains before `canvas`: rock and snow, lit from the left, paler with distance (`haze`)."""
    ridge = fractal_noise(generator, (1, _W), (1, 380), 8)[0]
    crest = base - relief * (0.5 + 0.35 * ridge)
    rows = np.arange(_H, dtype=np.float32)[:, None]
    height = fractal_noise(generator, (_H, _W), (150, 110), 8) + 0.6 * ridge
    slope = np.gradient(height, axis=1) + 0.5 * np.gradient(height, axis=0)
    light = 0.42 + 24 * slope
    rock = _mix((52, 58, 72), (158, 146, 134), light)
    white = _mix((128, 146, 182), (252, 250, 246), light + 0.15)
    altitude = 1 - (rows - crest) / relief
    covered = (altitude - snow + 0.10 * height) * 9
    face = _mix(_mix(rock, white, covered), (190, 200, 214), np.full((_H, _W), haze, np.float32))
    return _mix(canvas, face, (rows - crest) / OVERSAMPLING + 0.5)


def forest(generator: np.random.Generator, canvas: Image.Image, base: int, height: int, count: int, fog: float) -> None:
    """Draw a row of conifers: tiers of drooping branches, lit from the left."""
    draw = ImageDraw.Draw(canvas)
    for x in np.sort(generator.uniform(-20, _W + 20, count))[generator.permutation(count)]:
        top = height * generator.uniform(0.55, 1.0) * (1.1 - 0.35 * np.exp(-(((x - 620) / 260) ** 2)))
        shade = generator.uniform(0.75, 1.2)
        tiers = int(top / 7)
        for tier in range(tiers, 0, -1):
            part = tier / tiers
            half = top * 0.19 * part**0.85 * generator.uniform(0.75, 1.15) + 1.5
            y = base - top * (1 - part)
            for side, tone in ((-1, (74, 98, 62)), (1, (26, 46, 40))):
                colour = tuple(int((1 - fog) * c * shade + fog * f) for c, f in zip(tone, (150, 166, 176), strict=True))
                tip = (x + side * half, y + generator.uniform(0, 4))
                draw.polygon([(x, y - top / tiers * 2.2), tip, (x, y - 2)], fill=colour)


def _textured(generator: np.random.Generator, size: tuple[int, int], colour: Colour, spread: float) -> Image.Image:
    """Return a patch (width, height) of `colour` with a fine grain."""
    width, height = size
    grain = fractal_noise(generator, (height, width), (6, 24), 3)[..., None] * spread
    return Image.fromarray(np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8))


def bricks(generator: np.random.Generator, size: tuple[int, int], brick: tuple[int, int]) -> Image.Image:
    """Return a wall (width, height) of bricks in running bond."""
    wall = _textured(generator, size, (178, 166, 150), 5)
    width, height = brick
    for row, y in enumerate(range(0, size[1], height)):
        for x in range(-width // 2 * (row % 2), size[0], width):
            tone = generator.uniform(0.75, 1.15)
            colour = (int(150 * tone), int(78 * tone + generator.uniform(-6, 6)), int(60 * tone))
            wall.paste(_textured(generator, (width - 3, height - 3), colour, 7), (x, y))
    return wall


def boards(generator: np.random.Generator, size: tuple[int, int], board: int, colour: Colour) -> Image.Image:
    """Return a wall (width, height) of vertical boards with gaps."""
    wall = Image.new("RGB", size, (44, 30, 26))
    for x in range(0, size[0], board):
        tone = _toned(colour, generator.uniform(0.86, 1.1))
        plank = _textured(generator, (size[1], board - 3), tone, 7).transpose(Image.Transpose.ROTATE_90)
        wall.paste(plank, (x, 0))
    return wall


def shingles(generator: np.random.Generator, size: tuple[int, int], shingle: tuple[int, int]) -> Image.Image:
    """Return a roof (width, height) of slate, each row over the next."""
    roof = Image.new("RGB", size, (38, 42, 50))
    width, height = shingle
    for row, y in enumerate(range(0, size[1], height)):
        for x in range(-width // 2 * (row % 2), size[0], width):
            colour = _toned((88, 94, 106), generator.uniform(0.8, 1.2))
            roof.paste(_textured(generator, (width - 2, height - 3), colour, 6), (x, y))
    return roof


def _window(canvas: Image.Image, box: tuple[int, int, int, int], panes: tuple[int, int]) -> None:
    """Draw a window with white bars; the glass mirrors the sky."""
    left, top, right, bottom = box
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left - 9, top - 9, right + 9, bottom + 9), fill=(58, 44, 38))
    draw.rectangle((left - 6, top - 6, right + 6, bottom + 6), fill=(236, 232, 222))
    glass = np.linspace(0, 1, bottom - top, dtype=np.float32)[:, None] + np.linspace(
        0, 0.5, right - left, dtype=np.float32
    )
    canvas.paste(Image.fromarray(_mix((36, 52, 70), (146, 172, 196), glass**2).astype(np.uint8)), (left, top))
    for step in range(1, panes[0]):
        x = left + (right - left) * step // panes[0]
        draw.rectangle((x - 3, top, x + 3, bottom), fill=(236, 232, 222))
    for step in range(1, panes[1]):
        y = top + (bottom - top) * step // panes[1]
        draw.rectangle((left, y - 3, right, y + 3), fill=(236, 232, 222))
    draw.rectangle((left - 14, bottom + 6, right + 14, bottom + 15), fill=(206, 200, 188))


def _paste_polygon(canvas: Image.Image, patch: Image.Image, corners: list[tuple[int, int]]) -> None:
    """Put a patch where a polygon is; its upper left corner is that of the polygon's bounding box."""
    left, top = min(x for x, _ in corners), min(y for _, y in corners)
    mask = Image.new("L", patch.size)
    ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in corners], fill=255)
    canvas.paste(patch, (left, top), mask)


def boathouse(generator: np.random.Generator, canvas: Image.Image) -> None:
    """Draw the boathouse on the right shore: brick below, boards above, a slate roof, a name over the door."""
    left, right, foot, sill, eaves, top = 860, 1370, _SHORE + 4, 590, 400, 250
    draw = ImageDraw.Draw(canvas)
    canvas.paste(bricks(generator, (66, 150), (33, 16)), (1190, 205))
    draw.rectangle((1182, 196, 1263, 210), fill=(120, 112, 104))
    canvas.paste(bricks(generator, (right - left, foot - sill), (43, 19)), (left, sill))
    canvas.paste(boards(generator, (right - left, sill - eaves), 24, (164, 66, 50)), (left, eaves))
    draw.rectangle((left, sill - 5, right, sill + 4), fill=(214, 206, 192))
    shadow = np.asarray(canvas.crop((left, eaves, right, eaves + 34))).astype(np.float32)
    canvas.paste(Image.fromarray((shadow * 0.5).astype(np.uint8)), (left, eaves))
    roof = shingles(generator, (right - left + 96, eaves - top + 14), (36, 19))
    _paste_polygon(
        canvas, roof, [(left - 48, eaves + 13), (left + 52, top), (right - 52, top), (right + 48, eaves + 13)]
    )
    draw.rectangle((left - 50, eaves + 9, right + 50, eaves + 19), fill=(228, 222, 210))
    draw.rectangle((left + 46, top - 6, right - 46, top + 3), fill=(70, 72, 80))
    for x in (900, 1232):
        _window(canvas, (x, 484, x + 96, 564), (3, 2))
    draw.rectangle((1062, 470, 1168, foot), fill=(226, 220, 206))
    canvas.paste(boards(generator, (90, foot - 478), 15, (52, 84, 92)), (1070, 478))
    draw.ellipse((1142, 566, 1152, 576), fill=(222, 190, 96))
    draw.rectangle((1000, 414, 1230, 466), fill=(242, 236, 220), outline=(60, 46, 40), width=5)
    draw.text((1115, 441), "BOATS 24", font=ImageFont.load_default(46), fill=(40, 44, 60), anchor="mm", stroke_width=1)


def lake(generator: np.random.Generator, canvas: Array) -> Array:
    """Return the picture with water below the shore: what stands above, mirrored and moved by ripples."""
    depth = _H - _SHORE
    near = np.linspace(0, 1, depth, dtype=np.float32)[:, None]
    ripples = fractal_noise(generator, (depth, _W), (11, 130), 5) * (0.25 + near)
    wide = fractal_noise(generator, (depth, _W), (42, 520), 3) * near
    rows = _SHORE - 1 - np.arange(depth)[:, None] * 1.25 + 9 * ripples + 14 * wide
    columns = np.arange(_W)[None, :] + 5 * ripples
    mirrored = canvas[np.clip(rows, 0, _SHORE - 1).astype(np.intp), np.clip(columns, 0, _W - 1).astype(np.intp)]
    water = _mix(mirrored * 0.86, (24, 58, 70), 0.12 + 0.5 * near**1.5 - 0.10 * ripples)
    glitter = np.clip(ripples + 0.5 * wide - 1.6, 0, 1)
    canvas = canvas.copy()
    canvas[_SHORE:] = _mix(water, (244, 244, 238), glitter * 0.7)
    canvas[_SHORE : _SHORE + 5] *= 0.55
    return canvas


def _jetty_edge(y: float, sign: int) -> float:
    """Column of the jetty's left (-1) or right (1) edge in row `y`: it leaves the door towards the viewer."""
    nearness = (y - _SHORE) / (_H - _SHORE)
    return 1118 - 150 * nearness + sign * (46 + 250 * nearness)


def jetty(generator: np.random.Generator, canvas: Image.Image) -> None:
    """Draw a jetty: planks in perspective with grain and nails, larger the nearer they are."""
    draw = ImageDraw.Draw(canvas)
    growth = np.geomspace(1, 6.2, 38)
    rows = _SHORE + 6 + (growth - 1) / (growth[-1] - 1) * (_H + 24 - _SHORE)
    for top, below in pairwise(float(row) for row in rows):
        bottom = below - max(2.0, 0.12 * (below - top))
        wood = _toned((164, 146, 124), generator.uniform(0.82, 1.12))
        for end, colour in ((below, (40, 34, 30)), (bottom, wood)):
            corners = [_jetty_edge(y, sign) for y, sign in ((top, -1), (top, 1), (end, 1), (end, -1))]
            draw.polygon(list(zip(corners, (top, top, end, end), strict=True)), fill=colour)
        for _ in range(7):
            y = generator.uniform(top, bottom)
            x = generator.uniform(_jetty_edge(y, -1), _jetty_edge(y, 1) - 40)
            end = min(x + generator.uniform(20, 140), _jetty_edge(y, 1))
            draw.line((x, y, end, y), fill=_toned(wood, 0.82), width=2)
        for sign in (-1, 1):
            x = 0.94 * _jetty_edge(top, sign) + 65
            draw.ellipse((x - 3, top + 3, x + 3, top + 8), fill=(60, 54, 50))


def rope(canvas: Image.Image) -> None:
    """Draw four posts along the jetty's left edge and the rope that hangs between them."""
    draw = ImageDraw.Draw(canvas)
    knots = []
    for y in (690, 742, 820, 950):
        size = 0.35 + (y - _SHORE) / (_H - _SHORE)
        x = _jetty_edge(y, -1) - 10 * size
        draw.rectangle((x - 11 * size, y - 90 * size, x + 11 * size, y + 50 * size), fill=(84, 66, 52))
        draw.rectangle((x - 11 * size, y - 90 * size, x - 4 * size, y + 50 * size), fill=(142, 118, 94))
        draw.ellipse((x - 11 * size, y - 95 * size, x + 11 * size, y - 85 * size), fill=(176, 156, 130))
        knots.append(np.array([x, y - 70 * size, size]))
    for first, second in pairwise(knots):
        part = np.linspace(0, 1, 24)[:, None]
        points = first * (1 - part) + second * part
        points[:, 1] += 120 * points[:, 2] * (part * (1 - part))[:, 0]
        thickness = int(2 + 3 * (first[2] + second[2]) / 2)
        draw.line([(x, y) for x, y, _ in points.tolist()], fill=(214, 200, 168), width=thickness)


def reeds(generator: np.random.Generator, canvas: Image.Image) -> None:
    """Draw grass and bulrushes in the lower left corner, blade by blade, the nearer ones brighter."""
    draw = ImageDraw.Draw(canvas)
    count = 620
    for index, x in enumerate(generator.uniform(-60, 560, count)):
        length = generator.uniform(90, 330) * np.exp(-((x / 420) ** 2)) + 20
        lean = generator.normal(0.12, 0.22) * length
        colour = _toned((142, 152, 68), generator.uniform(0.6, 1.1) * (0.5 + 0.6 * index / count))
        part = np.linspace(0, 1, 9)
        spine = np.stack([x + lean * part**2, _H + 10 - length * part], axis=1)
        half_width = np.maximum(0.6, generator.uniform(3, 6) * (1 - part))[:, None] * np.array([1, 0])
        outline = np.concatenate([spine - half_width, (spine + half_width)[::-1]])
        draw.polygon([(x, y) for x, y in outline.tolist()], fill=colour)
        if index % 21 == 0 and length > 120:
            x, y = spine[-1]
            draw.ellipse((x - 7, y - 46, x + 7, y + 8), fill=(98, 66, 42))


def _toned(colour: Colour, tone: float) -> Colour:
    """Return a colour made brighter or darker by a factor."""
    red, green, blue = colour
    return int(red * tone), int(green * tone), int(blue * tone)


def render(seed: int = 5) -> npt.NDArray[np.uint8]:
    """Return the picture, uint8 (HEIGHT, WIDTH, 3)."""
    generator = np.random.default_rng(seed)
    canvas = sky(generator)
    canvas = mountains(generator, canvas, base=560, relief=430, snow=0.42, haze=0.34)
    canvas = mountains(generator, canvas, base=640, relief=210, snow=1.6, haze=0.22)
    drawing = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    for base, height, count, fog in (
        (_SHORE - 34, 120, 420, 0.34),
        (_SHORE - 12, 170, 300, 0.12),
        (_SHORE, 200, 160, 0.0),
    ):
        forest(generator, drawing, base, height, count, fog)
    boathouse(generator, drawing)
    canvas = lake(generator, np.asarray(drawing).astype(np.float32))
    drawing = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    jetty(generator, drawing)
    rope(drawing)
    reeds(generator, drawing)
    linear = (np.asarray(drawing).astype(np.float64) / 255) ** 2.2
    small = linear.reshape(HEIGHT, OVERSAMPLING, WIDTH, OVERSAMPLING, 3).mean(axis=(1, 3))
    pixels: npt.NDArray[np.uint8] = np.rint(255 * small ** (1 / 2.2)).astype(np.uint8)
    return pixels


def main() -> None:
    """Render the picture and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the .png file to write")
    Image.fromarray(render()).save(parser.parse_args().output, optimize=True)


if __name__ == "__main__":
    main()
