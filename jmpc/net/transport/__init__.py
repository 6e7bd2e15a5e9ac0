"""A player's links: one socket in, one out to each peer, and a mailbox in between.

A `Transport` binds one ROUTER at its player's address and opens a DEALER to each peer it sends to.
What comes is sorted into the mailbox by whoever waits for some of it, or by a thread of the transport's own while
nobody does; `send` and `receive` may be called from any thread.

Who sent a frame is never taken from the frame. With CURVE it is the player whose public key the
connection proved (the ZAP user id), without CURVE (one process, or loopback by request) the routing
id of the sender's socket.

What comes over a link is judged, never trusted: a frame that is malformed, repeated, from a
stranger or of a run that is not open here is counted in `dropped`, logged without its contents, and
forgotten. It never ends the reading.
"""

from ._endpoints import is_loopback as is_loopback
from ._transport import Transport as Transport
