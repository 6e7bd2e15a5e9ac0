"""`PYTHONPATH=.:tests python -m net.fuzz --minutes 10`: hostile messages for every decoder, for as long as asked.

It ends with an error at the first that gets out anything but the decoder's own error, and says how to repeat it.
"""

from __future__ import annotations

import argparse
import sys
import time

from net.decoders import mutants, refused_or_read
from tqdm import tqdm

_AT_ONCE = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % (1 << 32), help="to repeat a run")
    options = parser.parse_args()
    end, seed, read = time.monotonic() + 60 * options.minutes, options.seed, 0
    with tqdm(unit="message") as bar:
        while time.monotonic() < end:
            for decoder, data in mutants(seed, _AT_ONCE):
                try:
                    read += refused_or_read(decoder, data)
                except BaseException:
                    print(f"--seed {seed}: {data.hex()}", file=sys.stderr)
                    raise
            bar.update(_AT_ONCE)
            seed += 1
        print(f"{bar.n:,} messages from seed {options.seed}: {read:,} were read, all others refused by name")


if __name__ == "__main__":
    main()
