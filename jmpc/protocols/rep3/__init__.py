"""Replicated sharing among three parties, semi-honest, with one corruption: `Rep3`.

Every method says its rounds, its total bits an element, and why each receiver's view can be simulated. All
views are then sequences of messages that are uniform given the ones before them and what the receiver had.
"""

from jmpc.protocols.rep3.decomposition import DecompositionMixin
from jmpc.protocols.rep3.exact import ExactTruncationMixin
from jmpc.protocols.rep3.sharing import SharingMixin
from jmpc.protocols.rep3.smooth import SmoothMixin


class Rep3(ExactTruncationMixin, DecompositionMixin, SmoothMixin, SharingMixin):
    """Rep3(("p0", "p1", "p2")); one object for one trace, because it counts the rotation of roles."""
