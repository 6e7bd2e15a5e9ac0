"""How much of JAX runs on secrets: JAX's own test cases of its primitives, and cases of ours for the rest."""
