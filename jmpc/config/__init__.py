"""Who takes part and where: `LocalConfig` for one machine, `RemoteConfig` for a configuration file.

A file is either flat, a name and an address per player,

    {"server0": "10.0.0.10:4440", "server1": "10.0.0.11:4440", "server2": "10.0.0.12:4440",
     "data-owner": "10.0.0.20:4440"}

where names give roles ("server..." are servers, "driver" is the driver, all others are owners), or
full, with as many of these fields as it needs:

    {"players": {"server0": {"address": "10.0.0.10:4440", "listen": "0.0.0.0:4440", "bulk_port": 4441,
                             "role": "server", "public_key": "..."}, ...},
     "driver": "driver", "protocol": "rep3", "precision": 18, "keys": "keys", "state": "state", "timeout": 30,
     "limits": {"max_frame_bytes": 4294967296, ...}, "insecure": false, "author": "alice", "policy": {...}}

A `bulk_port` is a second inbound port, for large arrays, which are then sealed with AES-GCM rather than CURVE's slower
cipher; without it everything comes in at the first. `limits` are those of `jmpc.net.framing.Limits`.

Anything that is not exactly one of these is refused, with the file and the field.
"""

from ._local import LocalConfig as LocalConfig
from ._local import Mode as Mode
from ._players import Player as Player
from ._players import player_of as player_of
from ._players import split_address as split_address
from ._remote import RemoteConfig as RemoteConfig
