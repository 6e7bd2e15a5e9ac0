"""What a node has, whoever asks it for something."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jmpc.computation import Source
from jmpc.config import RemoteConfig
from jmpc.errors import InputError, JmpcError
from jmpc.lowering.computation import ProtocolFactory
from jmpc.net.transport import Transport
from jmpc.policy import Policy
from jmpc.providers import Supply
from jmpc.runtime.approvals import Approvals
from jmpc.runtime.audit import AuditLog
from jmpc.runtime.cache import prune_compilation_cache
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.differencing import Sets
from jmpc.runtime.gate import Gate
from jmpc.runtime.metrics import Metrics
from jmpc.runtime.report import RunReport, trace_events
from jmpc.storage.archive import Archive
from jmpc.storage.key import storage_key

_log = logging.getLogger("jmpc.node")

_TIDY_SECONDS = 60.0


def archive_of(config: RemoteConfig, player: str, most_bytes: int) -> Archive:
    """What a player of a configuration has saved."""
    return Archive(player, config.state / player / "saved", lambda: storage_key(config.keys, player), most_bytes)


def audit_path(config: RemoteConfig, player: str) -> Path:
    """The file of a node's audit log."""
    return config.state / player / "audit.jsonl"


def audit_of(config: RemoteConfig, player: str, most_bytes: int) -> AuditLog:
    """A node's audit log."""
    return AuditLog(audit_path(config, player), lambda: storage_key(config.keys, player), most_bytes)


def approvals_path(config: RemoteConfig, player: str) -> Path:
    """The computations that a node's operator has approved."""
    return config.state / player / "approved.json"


def sets_path(config: RemoteConfig, player: str) -> Path:
    """The sets of owners of which a node has helped to open sums."""
    return config.state / player / "sets.json"


def control_path(config: RemoteConfig, player: str) -> Path:
    """The socket at which a node takes its operator's commands."""
    return config.state / player / "control"


@dataclass
class Host:
    """One player's name, rules, data and links."""

    name: str
    config: RemoteConfig
    policy: Policy
    supply: Supply
    make_protocol: ProtocolFactory
    transport: Transport
    archive: Archive
    audit: AuditLog
    approvals: Approvals
    sets: Sets
    gate: Gate
    make_compiler: Callable[[], Compiler] = Compiler
    metrics: Metrics | None = None
    traces: Path | None = None  # a folder for the events of every run
    _feeding: dict[str, threading.Lock] = field(default_factory=dict)  # a provider is called by one run at a time
    _tidied: float = field(default_factory=time.monotonic)

    def ended(self, driver: str, how: str, report: RunReport | None) -> None:
        """Tells of a run that has ended, in the ways that the operator wants."""
        if self.metrics is not None:
            self.metrics.ended(driver, how, report)
        if report is None:
            return
        if how == "well":
            figures = {"figures": {"driver": driver, **report.figures}}
            _log.info("%s finished run %s of %s in %s", self.name, report.run[:8], driver, report, extra=figures)
        if self.traces is not None:
            try:
                self.traces.mkdir(parents=True, exist_ok=True)
                path = self.traces / f"{self.name}-{report.run[:16]}.json"
                path.write_text(json.dumps({"traceEvents": trace_events(report)}))
            except OSError as error:
                _log.warning("%s cannot write a trace: %s", self.name, error)

    def tidy_up(self) -> None:
        """Bounds what compiling leaves on the disk; now and then."""
        if time.monotonic() - self._tidied > _TIDY_SECONDS:
            self._tidied = time.monotonic()
            prune_compilation_cache()

    def feed(self, iteration: int | None, source: Source) -> Any:
        """What the operator's provider brings for an iteration.

        An error of it is told without its text, which may quote data.
        """
        provider = self.supply.provider(self.name, source)
        with self._feeding.setdefault(source.provider, threading.Lock()):
            try:
                return provider(self.name, iteration)
            except JmpcError:
                raise
            except Exception as error:
                _log.exception("%s: provider %r failed", self.name, provider.name)
                what = f"{self.name}: provider {provider.name!r} failed; see its node's log"
                raise InputError(self.name, what, type(error).__name__) from error
