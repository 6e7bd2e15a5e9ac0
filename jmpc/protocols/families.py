"""The protocols by the names that configurations give them."""

from collections.abc import Mapping
from types import MappingProxyType

from jmpc.lowering.computation import ProtocolFactory
from jmpc.protocols.rep3 import Rep3

FAMILIES: Mapping[str, ProtocolFactory] = MappingProxyType({"rep3": Rep3})
