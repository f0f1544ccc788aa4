"""Attributions to pictures, pages and text; a leaf that knows only the result it draws."""
