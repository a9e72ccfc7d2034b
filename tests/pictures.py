"""Files of pictures that Pillow does not write."""

from __future__ import annotations

import struct
import zlib


def png_of(depth: int, colour_type: int, rows: bytes, width: int, height: int) -> bytes:
    """A PNG written by hand: Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
