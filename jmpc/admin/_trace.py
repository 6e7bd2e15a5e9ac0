"""`jmpc-admin trace`."""

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import ConfigError


def trace(arguments: argparse.Namespace) -> int:
    """Joins traces of several players, and writes them as one that Perfetto and Chrome show."""
    rows = [row for file in arguments.files for row in _events(Path(file))]
    start = min((row["ts"] for row in rows if "ts" in row), default=0.0)
    joined = [row | {"ts": row["ts"] - start} if "ts" in row else row for row in rows]
    try:
        Path(arguments.out).write_text(json.dumps({"traceEvents": joined, "displayTimeUnit": "ms"}))
    except OSError as error:
        raise ConfigError(f"{arguments.out} cannot be written ({error.strerror})") from error
    players = sorted({row["pid"] for row in joined})
    print(f"{arguments.out}: {len(joined)} events of {', '.join(players)}; open it at https://ui.perfetto.dev")
    return 0


def _events(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text())["traceEvents"]
        if not all(type(row["pid"]) is str and float(row.get("ts", 0)) >= 0 for row in rows):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no trace of jmpc-node ({type(error).__name__})") from None
    return rows
