"""What a computation from another player may ask of this one before anybody has looked at it."""

from dataclasses import dataclass

from jmpc.errors import JmpcError


class CodecError(JmpcError):
    """A computation cannot travel, or what came is not one: names the primitive, the parameter or the limit."""


@dataclass(frozen=True)
class Limits:
    """The bounds that decoding enforces.

    message_bytes: of the whole encoding.
    constant_bytes: of all constants and literals together.
    equations: in all jaxprs together; the body of an unrolled scan counts as often as it is unrolled.
    variables: in all jaxprs together.
    operands: of one equation, inputs or outputs of one jaxpr, elements of any other list.
    depth: of loops and branches in each other.
    trip_count: iterations of a scan, times those of the scans around it. (Those of a `while` are not known.)
    rank, dimension: of every value.
    value_bytes: of every single value.
    """

    message_bytes: int = 1 << 28
    constant_bytes: int = 1 << 27
    equations: int = 100_000
    variables: int = 1_000_000
    operands: int = 4096
    depth: int = 16
    trip_count: int = 1 << 26
    rank: int = 16
    dimension: int = (1 << 31) - 1
    value_bytes: int = 1 << 34


def check_limit(value: int, limit: int, what: str) -> None:
    """Refuses a value above its limit, with both in the message."""
    if value > limit:
        raise CodecError(f"{what} is {value}, the limit is {limit}")
