"""Every rule, on JAX's and jax.numpy's own functions, against JAX in the clear."""

import pytest

from .helpers import plain, secure
from .table import COMPARISONS, ELEMENTWISE, LINEAR, REDUCTIONS, SMOOTH, Case
from .table_scatters import GENERIC, SCATTERS
from .table_secret import INDEXING, SORTING
from .table_shapes import CASTS, INTEGERS, LOGIC, SHAPES, WINDOWS
from .table_special import SPECIAL

ALL = [
    *(ELEMENTWISE + SMOOTH + COMPARISONS + REDUCTIONS + LINEAR),
    *(SHAPES + WINDOWS + CASTS + INTEGERS + LOGIC + INDEXING + SORTING + SPECIAL),
    *(SCATTERS + GENERIC),
]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_function(case: Case) -> None:
    got, want = secure(case.f, *case.args), plain(case.f, *case.args)
    for a, b in zip(got, want, strict=True):
        case.check(a, b)


def test_names_are_unique() -> None:
    names = [case.name for case in ALL]
    assert len(names) == len(set(names))
