"""Text on pictures, in any script that a font on this machine knows.

OpenCV's own letters are ASCII only, so Pillow draws them. The fonts come with the packages that are
installed anyway (DejaVu Sans with OpenCV and matplotlib; Latin, Greek, Cyrillic, Hebrew, Arabic);
for other scripts the system's fonts are asked. Each text is drawn once and then copied.
"""

from __future__ import annotations

import importlib.util
import logging
import unicodedata
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

_log = logging.getLogger(__name__)

Bgr = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

ELLIPSIS = "…"
# A name written from right to left must not turn the number and score around it.
_DIRECTION = "ltr" if features.check("raqm") else None
_JOINERS = "\u200c\u200d"
_LEFT_TO_RIGHT = "\u200e"
_NO_GLYPH = "\U0010ffff"  # in no font, so it looks like whatever a font lacks
_SYSTEM_FONTS = (
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/noto/NotoSansDevanagari-Regular.ttf",
    "/usr/share/fonts/truetype/noto/NotoSansThai-Regular.ttf",
    "/usr/share/fonts/truetype/freefont/FreeSans.ttf",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/Hiragino Sans GB.ttc",
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
    "C:/Windows/Fonts/segoeui.ttf",
    "C:/Windows/Fonts/msyh.ttc",
    "C:/Windows/Fonts/malgun.ttf",
    "C:/Windows/Fonts/Nirmala.ttf",
)


def clean(text: str) -> str:
    """Return `text` on one line, without what cannot be drawn or turns other text around."""
    kept = []
    for char in text:
        kind = unicodedata.category(char)
        if kind in ("Cc", "Zl", "Zp"):
            kept.append(" ")
        elif kind == "Cs":
            kept.append("\ufffd")
        elif kind != "Cf" or char in _JOINERS:
            kept.append(char)
    return " ".join("".join(kept).split())


def keep_apart(text: str) -> str:
    """Return `text` so that what follows it stays at its right, also after Arabic or Hebrew."""
    turns = any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text)
    return text + _LEFT_TO_RIGHT if turns and _DIRECTION else text


@lru_cache(maxsize=512)
def elide(text: str, size_px: int, width_px: int) -> str:
    """Return `text`, or as much of its beginning as fits into `width_px`, with an ellipsis."""
    if text_width(text, size_px) <= width_px:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if text_width(text[:middle].rstrip() + ELLIPSIS, size_px) <= width_px:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + ELLIPSIS


@lru_cache(maxsize=4096)
def text_width(text: str, size_px: int) -> int:
    """Return the width of `text` in whole pixels."""
    return int(np.ceil(_font_for(text, size_px).getlength(text, direction=_DIRECTION)))


@lru_cache(maxsize=256)
def text_patch(text: str, size_px: int, ink: Bgr, paper: Bgr) -> np.ndarray:
    """Return `text` as a read-only picture, uint8 [h,w,3] BGR; h depends on `size_px` alone."""
    height, base = line_metrics(size_px)
    width = max(1, text_width(text, size_px))
    image = Image.new("L", (width, height))
    font = _font_for(text, size_px)
    if isinstance(font, ImageFont.FreeTypeFont):
        ImageDraw.Draw(image).text(
            (0, base), text, fill=255, font=font, anchor="ls", direction=_DIRECTION
        )
    else:
        ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    alpha = np.asarray(image, dtype=np.uint16)[:, :, None]
    front, back = np.array(ink, np.uint16), np.array(paper, np.uint16)
    patch = ((front * alpha + back * (255 - alpha) + 127) // 255).astype(np.uint8)
    patch.setflags(write=False)
    return patch


def line_metrics(size_px: int) -> tuple[int, int]:
    """Return the height of a line and the distance from its top to the base line, pixels.

    The same for every font, so that labels of one picture have one height.
    """
    return round(size_px * 1.32), round(size_px * 1.02)


@lru_cache(maxsize=1)
def font_files() -> tuple[Path, ...]:
    """Return the fonts of this machine that we would use, the preferred first."""
    places = [Path(cv2.__file__).parent / "qt" / "fonts" / "DejaVuSans.ttf"]
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin:
        places.append(Path(matplotlib.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf")
    places.extend(Path(path) for path in _SYSTEM_FONTS)
    return tuple(path for path in places if path.is_file())


def _font_for(text: str, size_px: int) -> Font:
    """Return the font that knows most of `text`'s characters."""
    chars = {char for char in text if not char.isspace() and char not in _JOINERS + _LEFT_TO_RIGHT}
    best, best_known = None, -1
    for path in font_files():
        known = sum(_knows(path, char) for char in chars)
        if known > best_known:
            best, best_known = path, known
        if known == len(chars):
            break
    if best_known < len(chars):
        _warn_once(
            "".join(sorted(char for char in chars if best is None or not _knows(best, char)))
        )
    return _load(best, size_px)


@lru_cache(maxsize=256)
def _warn_once(chars: str) -> None:
    """Say which characters will show as empty boxes; the cache keeps it from being said again."""
    _log.warning("no font on this machine has %s; install Noto fonts to see them", ascii(chars))


@lru_cache(maxsize=64)
def _load(path: Path | None, size_px: int) -> Font:
    if path is None:
        return ImageFont.load_default(size_px)
    return ImageFont.truetype(str(path), size_px)


@lru_cache(maxsize=8192)
def _knows(path: Path, char: str) -> bool:
    font = _load(path, 16)
    glyph, missing = font.getmask(char), font.getmask(_NO_GLYPH)
    return glyph.size != missing.size or bytes(glyph) != bytes(missing)
