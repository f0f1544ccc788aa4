"""Attributions to pictures, pages and text; a leaf that knows only the result it draws."""

from igrt.render.html import write as write_html
from igrt.render.png import write as write_png
from igrt.render.terminal import text

__all__ = ["text", "write_html", "write_png"]
