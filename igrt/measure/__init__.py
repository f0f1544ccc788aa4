"""How fast an explanation of one model is, and what it takes. `igrt bench` prints it."""

from igrt.measure.measurement import Measurement
from igrt.measure.run import measure

__all__ = ["Measurement", "measure"]
