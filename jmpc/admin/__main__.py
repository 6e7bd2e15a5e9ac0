"""`python -m jmpc.admin`."""

import sys

from ._commands import main

sys.exit(main())
