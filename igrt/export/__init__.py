"""Models that leave igrt."""

from igrt.export.augmented import save_augmented

__all__ = ["save_augmented"]
