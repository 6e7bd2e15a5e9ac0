"""Computations as data: a jaxpr as msgpack and back, with a closed list of primitives and bounds on everything.

Not code and not pickle: what comes from outside is checked against a schema and by JAX's own type rules, and nothing
in it is ever executed by reading it.
"""

from jmpc.net.codec._bytes import VERSION as VERSION
from jmpc.net.codec._bytes import digest as digest
from jmpc.net.codec._bytes import from_bytes as from_bytes
from jmpc.net.codec._bytes import to_bytes as to_bytes
from jmpc.net.codec._bytes import unpack as unpack
from jmpc.net.codec._decode import decode_jaxpr as decode_jaxpr
from jmpc.net.codec._encode import encode_jaxpr as encode_jaxpr
from jmpc.net.codec._limits import CodecError as CodecError
from jmpc.net.codec._limits import LimitError as LimitError
from jmpc.net.codec._limits import Limits as Limits
from jmpc.net.codec._limits import Tally as Tally
from jmpc.net.codec._primitives import schemas as schemas
