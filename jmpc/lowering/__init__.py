"""Secure lowering: an ordinary JAX function, onto operations on secrets.

`lower` interprets the function's jaxpr under a trace of its own, one rule for each primitive, and emits protocol
operations: a choreography. Values know statically what they are (see `values`).
"""

from jmpc.lowering import pairs as pairs
from jmpc.lowering import rules as rules
from jmpc.lowering.context import Context as Context
from jmpc.lowering.encoding import Encoding as Encoding
from jmpc.lowering.encoding import decode as decode
from jmpc.lowering.encoding import encode as encode
from jmpc.lowering.inputs import Outgoing as Outgoing
from jmpc.lowering.inputs import outgoing as outgoing
from jmpc.lowering.inputs import reveal as reveal
from jmpc.lowering.interpreter import lower as lower
from jmpc.lowering.interval import Interval as Interval
from jmpc.lowering.registry import supported_primitives as supported_primitives
from jmpc.lowering.values import Boolean as Boolean
from jmpc.lowering.values import FixedPoint as FixedPoint
from jmpc.lowering.values import Integer as Integer
from jmpc.lowering.values import Precision as Precision
from jmpc.lowering.values import PrecisionWarning as PrecisionWarning
from jmpc.lowering.values import Public as Public
from jmpc.lowering.values import RangeWarning as RangeWarning
from jmpc.lowering.values import Value as Value
