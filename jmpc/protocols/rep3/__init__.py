"""Replicated sharing among three parties, semi-honest, with one corruption: `Rep3`.

Every method says its rounds, its total bits for each element, and why what a receiver sees can be
simulated: always because each message is uniform given the ones before it and what the receiver
had.
"""

from jmpc.protocols.rep3.decomposition import DecompositionMixin
from jmpc.protocols.rep3.exact import ExactTruncationMixin
from jmpc.protocols.rep3.ordering import OrderingMixin
from jmpc.protocols.rep3.sharing import SharingMixin
from jmpc.protocols.rep3.smooth import SmoothMixin
from jmpc.protocols.rep3.thresholds import ThresholdsMixin


class Rep3(ExactTruncationMixin, DecompositionMixin, SmoothMixin, ThresholdsMixin, OrderingMixin, SharingMixin):
    """The protocols among `parties`, by name.

    Make one object for each trace: it counts gates, because their roles rotate.
    """
