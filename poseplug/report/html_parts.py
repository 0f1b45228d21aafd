"""Pieces of HTML that the pages share: the document and its style, sections, lists and images."""

from __future__ import annotations

__all__ = [
    'format_report_score',
    'render_bullet_list',
    'render_html_page',
    'render_image_grid',
    'render_image_tag',
    'render_section',
]

import base64
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import cv2
import numpy as np

from poseplug.core.errors import ImageError

if TYPE_CHECKING:
    pass

_PAGE_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--text:#1c1f24;--soft:#667;--line:#d8dbe0;--card:#f5f6f8;--mark:#1d6fd8}
@media(prefers-color-scheme:dark){:root{--ground:#14161a;--text:#e6e8ec;--soft:#9aa3af;--line:#333841;--card:#1d2026;
--mark:#6aa8ff}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1080px;padding:1rem;background:var(--ground);color:var(--text);
font:16px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.15rem;margin:2rem 0 .6rem;border-top:1px solid var(--line);padding-top:1rem}
h3{font-size:1rem;margin:1.2rem 0 .4rem}
.score{font-size:3rem;font-weight:700;color:var(--mark);line-height:1}.soft{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}caption{text-align:left;color:var(--soft);padding:.2rem 0}
tr.sum td{font-weight:700}td.best{color:var(--mark)}
.run-info td{white-space:normal;overflow-wrap:anywhere;text-align:left}
.charts{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}
.images{display:flex;flex-wrap:wrap;gap:.8rem}.images img{height:230px;width:auto;max-width:100%;object-fit:contain}
svg{width:100%;height:auto;background:var(--card);border-radius:8px}
figure{margin:0;background:var(--card);border-radius:8px;overflow:hidden}
figcaption{padding:.4rem .7rem;font-size:.85rem}
img{display:block}.wide{margin-bottom:1rem}
.legend b{padding:0 .35rem;border-radius:4px;color:#111}
"""


def render_html_page(title: str, body: str) -> str:
    """Render a complete HTML document in the style of all pages; `body` is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(title)}</title><style>{_PAGE_STYLE}</style></head><body>{body}</body></html>\n'
    )


def render_section(title: str, content: str) -> str:
    """Render a section with a heading, or nothing if its content, HTML, is empty."""
    return f'<section><h2>{escape(title)}</h2>{content}</section>' if content else ''


def render_image_grid(images: Iterable[tuple[str, np.ndarray]]) -> str:
    """Render images in a grid.

    Args:
        images: Captions, HTML, and images (H, W, 3; BGR).

    Returns:
        HTML; an empty string without images.
    """
    figures = ''.join(
        f'<figure>{render_image_tag(image, "")}<figcaption>{caption}</figcaption></figure>' for caption, image in images
    )
    return f'<div class="images">{figures}</div>' if figures else ''


def render_bullet_list(lines: Sequence[str]) -> str:
    """Render sentences as a bullet list, or nothing if there are none."""
    items = ''.join(f'<li>{escape(line)}</li>' for line in lines)
    return f'<ul>{items}</ul>' if lines else ''


def render_image_tag(image: np.ndarray, alt_text: str, quality: int = 85) -> str:
    """Render an image inside the page itself.

    Args:
        image: (H, W, 3), BGR.
        alt_text: for screen readers.
        quality: of the JPEG file, 1 to 100.

    Raises:
        ImageError: no JPEG file can hold the image.
    """
    # inside the page as base64, so that one file holds everything
    encoded, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ImageError(f'an image of shape {image.shape} cannot be written as JPEG; pass a smaller one')
    source = base64.b64encode(data.tobytes()).decode()
    height, width = image.shape[:2]
    return (
        f'<img src="data:image/jpeg;base64,{source}" width="{width}" height="{height}" alt="{escape(alt_text)}" '
        f'loading="lazy">'
    )


def format_report_score(value: float) -> str:
    """Return a score with one decimal, or a dash where there is no number."""
    return f'{value:.1f}' if math.isfinite(value) else '–'
