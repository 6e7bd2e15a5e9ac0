"""Figures of a node for Prometheus: runs, seconds and bytes, of whom and with whom; nothing of what is computed."""

from __future__ import annotations

from typing import Any

from jmpc.errors import ConfigError
from jmpc.runtime.report import RunReport


class Metrics:
    """Counters, and the page that shows them, until `close`.

    Args:
      player: whose node it is, a label of every figure.
      address: "host:port" to listen at, in plain HTTP: keep it to the machine or to a trusted network.

    Raises:
      ConfigError: prometheus_client is not installed, or the address is taken.
    """

    def __init__(self, player: str, address: str) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise ConfigError("--metrics needs prometheus_client: pip install 'jmpc[metrics]'") from None
        host, _, port = address.rpartition(":")
        registry, self._player = prometheus.CollectorRegistry(), player
        self._runs = prometheus.Counter("jmpc_runs", "Runs that ended", ["player", "driver", "how"], registry=registry)
        self._spent = prometheus.Counter(
            "jmpc_run_seconds", "Seconds of runs, by what they were spent on", ["player", "on"], registry=registry
        )
        self._waited = prometheus.Counter(
            "jmpc_wait_seconds", "Seconds of waiting, by peer", ["player", "peer"], registry=registry
        )
        self._bytes = prometheus.Counter(
            "jmpc_bytes", "Payload bytes, by peer and direction", ["player", "peer", "way"], registry=registry
        )
        try:
            self._server, self._thread = prometheus.start_http_server(int(port), host.strip("[]"), registry)
        except (OSError, ValueError, OverflowError) as error:
            raise ConfigError(f"--metrics {address}: cannot listen there ({type(error).__name__})") from None

    def ended(self, driver: str, how: str, report: RunReport | None) -> None:
        """A run of a driver has ended, "well", "failed" or "refused"; its report, if it has begun."""
        self._runs.labels(self._player, driver, how).inc()
        if report is None:
            return
        spent: dict[str, float] = {
            "agreeing": report.agreeing,
            "computing": report.computing,
            "sending": sum(report.sending.values()),
            "waiting": sum(report.waited.values()),
        }
        for on, seconds in spent.items():
            self._spent.labels(self._player, on).inc(seconds)
        for peer, seconds in report.waited.items():
            self._waited.labels(self._player, peer).inc(seconds)
        ways: dict[str, Any] = {"sent": report.sent, "received": report.received}
        for way, counts in ways.items():
            for peer, count in counts.items():
                self._bytes.labels(self._player, peer, way).inc(count.payload)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
