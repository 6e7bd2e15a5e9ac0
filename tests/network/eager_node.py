"""`python -m network.eager_node NAME ...`: a jmpc-node that compiles well, beside its runs, whatever it has run once.

Half a megabyte for each segment is what a node takes for that in the end. It would otherwise begin with a segment after
some hundred runs, and take half an hour until its memory shows whether anything else grows.
"""

from __future__ import annotations

import sys

from jmpc.player import main
from jmpc.runtime import compiler

if __name__ == "__main__":
    compiler._PATIENCE = compiler._PATIENCE_INTERPRETED = 0.0
    sys.exit(main())
