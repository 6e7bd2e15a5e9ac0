"""A node's log: lines for people, or JSON for programs, with what a record has beside its text."""

from __future__ import annotations

import datetime
import json
import logging
import sys

_FORMAT = "%(levelname)s:%(name)s:%(message)s"


class JsonFormatter(logging.Formatter):
    """Each record as a line of JSON: time, level, logger, message, and what was logged as `extra={"figures": ...}`."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "figures", {}),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def configure_logs(level: str, *, as_json: bool) -> None:
    """Sends a process's log to its standard error output."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter(_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("jax").setLevel(logging.WARNING)
