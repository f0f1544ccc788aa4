"""Checks of attributions on the user's own model."""
