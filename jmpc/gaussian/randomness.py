"""Words of a cryptographic generator, for noise that protects somebody."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

Words = Callable[[int], np.ndarray]
"""Gives that many independent uniform uint64 words, other ones every time."""


def fresh_words() -> Words:
    """ChaCha20 under a key of the operating system's randomness that nothing else ever sees.

    Good for 2^32 blocks, which are 2^35 words: whoever needs more asks for another one.
    """
    stream = Cipher(ChaCha20(secrets.token_bytes(32), bytes(16)), mode=None).encryptor()

    def words(count: int) -> np.ndarray:
        return np.frombuffer(stream.update(bytes(8 * count)), "<u8")

    return words
