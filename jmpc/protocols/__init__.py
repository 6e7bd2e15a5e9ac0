"""Secret-sharing protocols, each written once for all its parties as a choreography.

`base` is what every family offers and all that `jmpc.functions` and `jmpc.lowering` may use.
"""
