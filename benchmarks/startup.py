"""How long a user waits for an answer: `diffsci --help`, `list`, and faults in a pipeline file.

Each is a fresh process, wall time, median of some runs; the first, which warms the disk's cache, is
not counted.

    python benchmarks/startup.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

QUICKSTART = Path(__file__).resolve().parents[1] / "pipelines" / "quickstart.yaml"
CASES = {
    "--help": (["--help"], 0, 0.3),
    "list": (["list"], 0, 0.3),
    "unknown key": (["run", str(QUICKSTART), "train.stepz=3"], 2, 2.0),
    "wrong type": (["run", str(QUICKSTART), "train.lr=fast"], 2, 2.0),
    "member out of range": (["run", str(QUICKSTART), "sample.sampler.steps=-3"], 2, 2.0),
    "unknown member": (["run", str(QUICKSTART), "sample.sampler=dimm"], 2, 2.0),
}


def seconds(arguments: list[str], code: int) -> float:
    """Wall time of one call, which must end with this exit code."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "diffsci.cli", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    spent = time.perf_counter() - started
    assert done.returncode == code, done.stderr.decode()
    return spent


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 runs instead of 9")
    parser.add_argument("--json", type=Path, help="write rows of name, value, goal, better, unit")
    options = parser.parse_args()
    rows = []
    for name, (arguments, code, goal) in CASES.items():
        seconds(arguments, code)
        value = statistics.median(
            seconds(arguments, code) for _ in range(3 if options.quick else 9)
        )
        rows.append({"name": name, "value": value, "goal": goal, "better": "lower", "unit": "s"})
        print(
            f"{name:22s} {value:6.2f} s   goal {goal:.1f}   {'met' if value <= goal else 'MISSED'}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
