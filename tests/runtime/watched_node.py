"""`python -m runtime.watched_node FOLDER NAME ...`: a `jmpc-node` of a test that writes down what its cipher makes.

Every line of FOLDER/NAME.blocks is a digest of a key, the address under it, and a number of blocks; it is
written before these are made, so that a node that is killed has not made more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.cipher import Address, watched_keystream

from jmpc import player
from jmpc.kernels import keystream


def main() -> int:
    folder = sys.argv.pop(1)
    name = sys.argv[1]
    file = os.open(Path(folder) / f"{name}.blocks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(address: Address, counters: Sequence[int], _: int) -> None:
        os.write(file, f"{' '.join(map(str, address))} {len(counters)}\n".encode())

    keystream.Keystream = watched_keystream(note)
    return player.main()


if __name__ == "__main__":
    sys.exit(main())
