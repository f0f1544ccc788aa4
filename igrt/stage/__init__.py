"""What is done to a model so that points along the path can ride its batch axis."""

from igrt.stage.batch import free_batch
from igrt.stage.constant import constant_gradient
from igrt.stage.size import row_bytes
from igrt.stage.smooth import is_smooth

__all__ = ["constant_gradient", "free_batch", "is_smooth", "row_bytes"]
