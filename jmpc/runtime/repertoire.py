"""What a node has prepared for one driver, whatever its session: what was used last, within a part of its memory."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable

from jmpc.remember import Remembered
from jmpc.runtime.guard import check_computation, check_size_of, read_computation
from jmpc.runtime.host import Host
from jmpc.runtime.limits import bound_loops
from jmpc.runtime.prepare import Prepared, prepare
from jmpc.runtime.watch import Watch

KEPT_COMPUTATIONS = 256
_PART = 4  # of the memory that a single computation may take


class Repertoire:
    """Computations by a mark of their bytes.

    Every driver has its own, with a compiler: what takes long to compile delays nobody else. A session that
    begins where another has ended finds what was compiled for that one.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._compiler = host.make_compiler()
        heaviest = host.policy.max_memory_bytes // _PART
        self._prepared: Remembered[bytes, Prepared] = Remembered(KEPT_COMPUTATIONS, heaviest)

    def get(self, mark: bytes) -> Prepared | None:
        """A computation; None if it has been forgotten."""
        return self._prepared.get(mark)

    def prepare(self, data: bytes, closed: Callable[[], bool]) -> tuple[bytes, Prepared]:
        """Decodes, judges by its size, lowers and compiles a computation, if it is not known; its mark, and itself.

        Raises:
          JmpcError: what is wrong with it; or, if `closed` says so, that nobody waits for it any more.
        """
        mark = hashlib.sha256(data).digest()
        prepared = self._prepared.get(mark)
        if prepared is None:
            prepared = self._made(data, closed)
            self._prepared.put(mark, prepared, len(data) + prepared.weight)
        return mark, prepared

    def _made(self, data: bytes, closed: Callable[[], bool]) -> Prepared:
        host, policy = self._host, self._host.policy
        computation = read_computation(data, policy)
        host.gate.check(computation)
        check_computation(computation, policy, host.config, host.supply)
        bound = functools.partial(bound_loops, policy=policy)
        prepared = prepare(computation, host.make_protocol, self._compiler, bound, Watch(policy, closed))
        check_size_of(prepared, policy)
        self._compiler.finish(prepared.program(host.name))
        host.tidy_up()
        return prepared
