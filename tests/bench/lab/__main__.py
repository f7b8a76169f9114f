"""`python -m tests.bench.lab`: what a real host takes, beside others on the same host.

Prints Markdown. Idle figures take `--idle-minutes`; 0 leaves them out.
"""

import argparse
import os
import sys

from tests.bench.lab.page import page


def main() -> None:
    """Measure, and print the section."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lab", description=__doc__)
    parser.add_argument("--idle-minutes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("starts", "changes", "files", "idle"))
    given = parser.parse_args()
    for line in page(given.rounds, given.idle_minutes, given.only):
        sys.stdout.write(line)
        sys.stdout.flush()
    sys.stderr.write(f"load at the end: {os.getloadavg()[0]:.1f}\n")


main()
