"""Fitted Fourier series, printed by `jmpc.functions.fitting`; coefficients in Q30."""

from jmpc.functions.series import Fit
from jmpc.protocols.base import Series

GELU_COARSE = Fit(
    period=14.0,
    low=-4.0,
    high=4.0,
    error=2.0 ** -13.09,
    most_fraction=12,
    series=Series(
        harmonics=(
            1, 2, 3, 4, 5, 6,
        ),
        cosines=(
            -1182799542, -364324508, 42244255, -123389253, 21208397, -14968247,
        ),
        sines=(
            0, 0, 0, 0, 0, 0,
        ),
        constant=1.51074690878757,
    ),
)

GELU = Fit(
    period=16.0,
    low=-5.0,
    high=5.0,
    error=2.0 ** -20.61,
    most_fraction=18,
    series=Series(
        harmonics=(
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
        ),
        cosines=(
            -1701534512, -129510452, -137907752, -58642361, -16368495, -16302073,
            197461, -2706114, 280258, -194140,
        ),
        sines=(
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ),
        constant=1.9210286913110057,
    ),
)

GELU_FINE = Fit(
    period=18.0,
    low=-5.6,
    high=5.6,
    error=2.0 ** -29.01,
    most_fraction=30,
    series=Series(
        harmonics=(
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
        ),
        cosines=(
            -1950949303, -97854630, -189883017, -49891592, -38670055, -16859737,
            -5527516, -3992811, -168823, -679139, 79820, -73021, 9434, -3107,
        ),
        sines=(
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ),
        constant=2.192765008572094,
    ),
)

GELU_TANH_COARSE = Fit(
    period=14.0,
    low=-4.0,
    high=4.0,
    error=2.0 ** -12.81,
    most_fraction=12,
    series=Series(
        harmonics=(
            1, 2, 3, 4, 5, 6,
        ),
        cosines=(
            -1139542308, -397878533, 63428880, -134132926, 25420780, -15823188,
        ),
        sines=(
            0, 0, 0, 0, 0, 0,
        ),
        constant=1.4888834929215695,
    ),
)

GELU_TANH = Fit(
    period=15.0,
    low=-4.8,
    high=4.8,
    error=2.0 ** -21.59,
    most_fraction=18,
    series=Series(
        harmonics=(
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
        ),
        cosines=(
            -1644152723, -87050252, -156135602, -30910982, -24487547, -5965546,
            -2032939, -843996, -18401, -85926,
        ),
        sines=(
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ),
        constant=1.8176469709133003,
    ),
)

GELU_TANH_FINE = Fit(
    period=16.0,
    low=-5.5,
    high=5.5,
    error=2.0 ** -27.02,
    most_fraction=30,
    series=Series(
        harmonics=(
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
        ),
        cosines=(
            -1792058354, -49518124, -203302214, -9790568, -49824334, 4937679, -11931539,
            3727222, -2915093, 1239240, -650149, 264455, -102316, 33091, -7995, 1483,
        ),
        sines=(
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ),
        constant=1.9649951810181823,
    ),
)
