"""What sessions have in common: they are closed when their block ends, or when the script does."""

from __future__ import annotations

import atexit
import weakref
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """A context manager that closes itself."""

    @abstractmethod
    def close(self) -> None:
        """Ends it; may be called twice."""

    def close_at_exit(self) -> None:
        """Has it closed at the end of the script, if it is still there."""

        def close() -> None:
            if (still_open := reference()) is not None:
                still_open.close()

        reference = weakref.ref(self, lambda _: atexit.unregister(close))
        atexit.register(close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.close()
