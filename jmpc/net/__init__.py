"""Links between players: authenticated, encrypted, bounded; they know frames, not what is in
them."""

from .framing import NO_RUN as NO_RUN
from .framing import Count as Count
from .framing import Header as Header
from .framing import Kind as Kind
from .framing import Ledger as Ledger
from .framing import Limits as Limits
from .handshake import agree as agree
from .keys import KeyRing as KeyRing
from .transport import Transport as Transport
