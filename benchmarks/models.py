"""Networks of the size that people run, in plain JAX with random weights: what they cost does not depend on these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Parameters = dict[str, Any]

_WIDTHS = (64, 128, 256, 512)
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _normal(random: np.random.Generator, shape: Sequence[int], fan_in: int) -> np.ndarray:
    return (random.standard_normal(shape) * math.sqrt(2 / fan_in)).astype(np.float32)


# -- ResNet-18 for images of 32 x 32 (He, Zhang, Ren, Sun, CVPR 2016; the stem of its section 4.2) ----------------


def resnet18(random: np.random.Generator, classes: int = 10) -> Parameters:
    """Weights, with the batch norms as a scale and a shift for each channel."""
    parameters: Parameters = {"stem": _convolution(random, 3, 3, 64)}
    channels = 64
    for stage, width in enumerate(_WIDTHS):
        for block in range(2):
            name = f"{stage}.{block}"
            parameters[f"{name}.first"] = _convolution(random, 3, channels, width)
            parameters[f"{name}.second"] = _convolution(random, 3, width, width)
            if channels != width:
                parameters[f"{name}.shortcut"] = _convolution(random, 1, channels, width)
            channels = width
    parameters["head"] = _normal(random, (channels, classes), channels)
    return parameters


def _convolution(random: np.random.Generator, size: int, inputs: int, outputs: int) -> Parameters:
    kernel = _normal(random, (size, size, inputs, outputs), size * size * inputs)
    return {"kernel": kernel, "scale": np.full(outputs, 0.5, np.float32), "shift": np.zeros(outputs, np.float32)}


def apply_resnet18(parameters: Parameters, images: Any) -> Any:
    """[batch, 32, 32, 3] to [batch, classes]."""
    x = jax.nn.relu(_normed(parameters["stem"], images, 1))
    for stage in range(len(_WIDTHS)):
        for block in range(2):
            name, stride = f"{stage}.{block}", 2 if stage and not block else 1
            y = jax.nn.relu(_normed(parameters[f"{name}.first"], x, stride))
            y = _normed(parameters[f"{name}.second"], y, 1)
            shortcut = parameters.get(f"{name}.shortcut")
            x = jax.nn.relu(y + (x if shortcut is None else _normed(shortcut, x, stride)))
    return x.mean((1, 2)) @ parameters["head"]


def _normed(layer: Parameters, x: Any, stride: int) -> Any:
    y = lax.conv_general_dilated(x, layer["kernel"], (stride, stride), "SAME", dimension_numbers=_LAYOUT)
    return y * layer["scale"] + layer["shift"]


# -- a transformer encoder (Vaswani et al., NeurIPS 2017; norms before the layers) ---------------------------------


def transformer(random: np.random.Generator, layers: int = 4, width: int = 128) -> list[Parameters]:
    """Weights of the layers."""
    shapes = {"query": (width, width), "key": (width, width), "value": (width, width), "out": (width, width)}
    shapes |= {"up": (width, 4 * width), "down": (4 * width, width)}
    return [{name: _normal(random, shape, 2 * shape[0]) for name, shape in shapes.items()} for _ in range(layers)]


def apply_transformer(layers: Sequence[Parameters], x: Any, heads: int = 4) -> Any:
    """[length, width] to the same."""
    for layer in layers:
        x = x + _attention(layer, _layer_norm(x), heads)
        x = x + jax.nn.gelu(_layer_norm(x) @ layer["up"]) @ layer["down"]
    return _layer_norm(x)


def _attention(layer: Parameters, x: Any, heads: int) -> Any:
    query, key, value = (jnp.reshape(x @ layer[n], (x.shape[0], heads, -1)) for n in ("query", "key", "value"))
    scores = jnp.einsum("qhd,khd->hqk", query, key) / math.sqrt(query.shape[-1])
    return jnp.einsum("hqk,khd->qhd", jax.nn.softmax(scores), value).reshape(x.shape) @ layer["out"]


def _layer_norm(x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(centred * centred, -1, keepdims=True) + 1e-3)
