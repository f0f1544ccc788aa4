"""Resident memory of a fresh process that explains something."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from igrt.errors import InternalError

_CODE = "from igrt.measure.memory import child; child()"


def peaks(model: Any, options: dict[str, Any], explained: dict[str, Any]) -> tuple[int, int]:
    """Bytes resident after an explanation of one evaluation, and the most until all was explained.

    Args:
        model: Path or bytes of the model.
        options: Further arguments of `Explainer`.
        explained: Arguments of `Explainer.explain`.

    Raises:
        InternalError: If the process fails.
    """
    given = pickle.dumps((model, options, explained))
    made = subprocess.run([sys.executable, "-c", _CODE], input=given, capture_output=True)
    if made.returncode:
        said = made.stderr.decode(errors="replace").strip().splitlines()
        raise InternalError(
            f"the process whose memory is measured failed: {said[-1] if said else 'no reason'}",
            hint="`igrt explain` on the same input may say more",
        )
    loaded, most = json.loads(made.stdout)
    return loaded, most


def child() -> None:
    """What the fresh process does."""
    # written by the process that started this one
    model, options, explained = pickle.load(sys.stdin.buffer)
    from igrt.explainer import Explainer

    explainer = Explainer(model, **options)
    explainer.explain(**{**explained, "n_steps": 1})
    loaded = _resident("VmRSS")
    explainer.explain(**explained)
    print(json.dumps([loaded, _resident("VmHWM")]))


def _resident(field: str) -> int:
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().partition(f"{field}:")[2].split()[0])
    import resource  # not on Windows; the most so far, in bytes on macOS

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


__all__ = ["child", "peaks"]
