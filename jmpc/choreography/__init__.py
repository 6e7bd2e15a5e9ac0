"""Choreographies: one trace for all players together, and every way of reading it.

A protocol is written once, in plain `jax.numpy` plus the primitives of `primitives`. Who holds a value
is never written down: `holders` infers it. `masks` checks that every message is masked, `schedule`
projects the trace onto each player, `cost` reads rounds and bytes off the result. Nothing here knows
cryptography or sockets.
"""
