"""The modules beside this file, by their names: pytest imports tests without a package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
