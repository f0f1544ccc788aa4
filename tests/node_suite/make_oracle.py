"""Write `oracle.json.gz`: python tests/node_suite/make_oracle.py (some minutes).

The derivatives are stored, not recomputed by the tests, which recompute a sample only.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from multiprocessing import Pool
from pathlib import Path

import onnx
from node_cases import cases
from node_oracle import Oracle, oracle

PATH = Path(__file__).with_name("oracle.json.gz")


def _one(number: int) -> tuple[str, dict[str, object]]:
    case = _CASES[number]
    start = time.time()
    found: Oracle | str = oracle(case)
    if time.time() - start > 20:
        print(case.name, f"{time.time() - start:.0f} s", file=sys.stderr)
    return case.name, {"digest": case.digest, "oracle": found}


_CASES = list(cases())


def main() -> None:
    with Pool(2) as pool:
        found = dict(pool.imap_unordered(_one, range(len(_CASES)), chunksize=8))
    data = {"onnx": onnx.__version__, "cases": dict(sorted(found.items()))}
    text = json.dumps(data, separators=(",", ":")).encode()
    PATH.write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"{len(found)} cases, {PATH.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
