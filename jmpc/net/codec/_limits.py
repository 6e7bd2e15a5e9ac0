"""What a computation from another player may ask of this one before anybody has looked at it."""

from dataclasses import dataclass, field

from jmpc.errors import JmpcError


class CodecError(JmpcError):
    """A computation cannot travel, or what came is not one: names the primitive, the parameter or the limit."""


class LimitError(CodecError):
    """A computation is larger than `field` of `Limits` allows."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Limits:
    """The bounds that decoding enforces.

    message_bytes: of the whole encoding.
    elements: of all lists and maps in it together.
    constant_bytes: of all constants and literals together.
    equations: in all jaxprs together, and calls; the body of an unrolled scan counts as often as it is unrolled.
    variables: in all jaxprs together, and results of calls.
    operands: of one equation, inputs or outputs of one jaxpr, elements of any other list.
    depth: of loops and branches in each other.
    trip_count: iterations of a scan, times those of the scans around it. (Those of a `while` are not known.)
    rank, dimension: of every value.
    value_bytes: of every single value.
    """

    message_bytes: int = 1 << 28
    elements: int = 1 << 23
    constant_bytes: int = 1 << 27
    equations: int = 100_000
    variables: int = 1_000_000
    operands: int = 4096
    depth: int = 16
    trip_count: int = 1 << 26
    rank: int = 16
    dimension: int = (1 << 31) - 1
    value_bytes: int = 1 << 34

    def check(self, field: str, value: int, what: str) -> None:
        """Refuses a value above the limit `field`, with both in the message."""
        if value > (limit := getattr(self, field)):
            raise LimitError(field, f"{what} is {value:,}, the limit is {limit:,}")


@dataclass
class Tally:
    """What has been read of a computation so far, all its jaxprs together, held against the limits."""

    limits: Limits = field(default_factory=Limits)
    equations: int = 0
    variables: int = 0
    constant_bytes: int = 0

    def add(self, *, equations: int = 0, variables: int = 0, constant_bytes: int = 0) -> None:
        """Counts what is about to be made. Raises CodecError beyond a limit."""
        self.equations += equations
        self.variables += variables
        self.constant_bytes += constant_bytes
        self.limits.check("equations", self.equations, "the number of equations")
        self.limits.check("variables", self.variables, "the number of variables")
        self.limits.check("constant_bytes", self.constant_bytes, "the size of constants")
