"""What the nodes of the tests bring, and where their results go."""

import threading

import jax
import numpy as np

import jmpc

VECTOR = jax.ShapeDtypeStruct((4,), "float32")


@jmpc.provider(types=VECTOR)
def vector(player: str):
    return np.arange(4, dtype=np.float32) + (10 if player == "model-owner" else 0)


@jmpc.provider(types=VECTOR)
def row(player: str, iteration: int):
    return np.full(4, iteration, np.float32)


@jmpc.provider(types=jax.ShapeDtypeStruct((4,), "complex64"))
def phasors(player: str):
    return np.exp(1j * np.arange(4)).astype(np.complex64)


@jmpc.provider(types=VECTOR, range=(0, 2))
def declared(player: str):
    return np.arange(4, dtype=np.float32)


@jmpc.provider(types=VECTOR, public=True)
def calendar(player: str):
    return np.arange(4, dtype=np.float32)


@jmpc.provider(types={"age": VECTOR, "weight": VECTOR})
def table(player: str):
    return {"age": np.full(4, 40, np.float32), "weight": np.full(4, 70, np.float32)}


@jmpc.provider(types=VECTOR)
def wrong_shape(player: str):
    return np.zeros(5, np.float32)


@jmpc.provider(types=VECTOR)
def wrong_dtype(player: str):
    return np.zeros(4)


@jmpc.provider(types=VECTOR)
def two_arrays(player: str):
    return np.zeros(4, np.float32), np.zeros(4, np.float32)


@jmpc.provider(types=VECTOR)
def not_finite(player: str):
    return np.array([1.0, np.nan, 424242.0, 0.0], np.float32)


@jmpc.provider(types=VECTOR)
def too_large(player: str):
    return np.array([1.0, 424242.0, 0.0, 0.0], np.float32)


@jmpc.provider(types=VECTOR)
def broken(player: str):
    raise ValueError("the secret is 424242")


RELEASED = threading.Event()  # what `stuck` waits for


@jmpc.provider(types=VECTOR)
def stuck(player: str):
    RELEASED.wait(60)
    return np.zeros(4, np.float32)


@jmpc.sink
def show(values):
    print("SINK", values.tolist(), flush=True)


@jmpc.sink
def fail(values):
    raise ValueError("the operator's own mistake")
