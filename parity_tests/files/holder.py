"""A process that holds a lease until its input ends: `python -m parity_tests.files.holder URL BEAT_SECONDS`."""

import logging
import sys

from dualpath.files import leases
from dualpath.files.objects import opened


def main(url: str, beat_seconds: str) -> None:
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    leases.BEAT_SECONDS = float(beat_seconds)
    with leases.leased(opened(url)):
        print("held", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
