"""Fixed-point mathematics on secrets, for every protocol family.

Each function takes the protocol, its operands (`Ring` sharings), the number of fractional bits f where it needs
it, and options; it returns `Ring` sharings at scale 2^f. It works on any shape and only traces. A
docstring says where the function is right and how far (an ulp is 2^-f; the exact value is that of the
fixed-point input), what comes out elsewhere, and what it costs with rep3: rounds, and bits sent by all
parties for each element at f = 18.
"""

from jmpc.functions.comparison import Extremum as Extremum
from jmpc.functions.comparison import absolute as absolute
from jmpc.functions.comparison import argmax as argmax
from jmpc.functions.comparison import argmin as argmin
from jmpc.functions.comparison import clip as clip
from jmpc.functions.comparison import equal as equal
from jmpc.functions.comparison import extremum_with_index as extremum_with_index
from jmpc.functions.comparison import flip as flip
from jmpc.functions.comparison import greater_equal as greater_equal
from jmpc.functions.comparison import greater_than as greater_than
from jmpc.functions.comparison import less_equal as less_equal
from jmpc.functions.comparison import less_than as less_than
from jmpc.functions.comparison import maximum as maximum
from jmpc.functions.comparison import minimum as minimum
from jmpc.functions.comparison import not_equal as not_equal
from jmpc.functions.comparison import reduce_max as reduce_max
from jmpc.functions.comparison import reduce_min as reduce_min
from jmpc.functions.comparison import relu as relu
from jmpc.functions.comparison import relu_with_mask as relu_with_mask
from jmpc.functions.comparison import signum as signum
from jmpc.functions.exponential import exp as exp
from jmpc.functions.exponential import exp2 as exp2
from jmpc.functions.exponential import exp_nonpositive as exp_nonpositive
from jmpc.functions.logarithm import log as log
from jmpc.functions.logarithm import log1p as log1p
from jmpc.functions.logarithm import log2 as log2
from jmpc.functions.normalize import Method as Method
from jmpc.functions.power import integer_power as integer_power
from jmpc.functions.power import power as power
from jmpc.functions.power import public_power as public_power
from jmpc.functions.reciprocal import divide as divide
from jmpc.functions.reciprocal import reciprocal as reciprocal
from jmpc.functions.remainder import remainder as remainder
from jmpc.functions.roots import norm as norm
from jmpc.functions.roots import ratio_to_root as ratio_to_root
from jmpc.functions.roots import rsqrt as rsqrt
from jmpc.functions.roots import sqrt as sqrt
from jmpc.functions.saturating import erf as erf
from jmpc.functions.saturating import gelu as gelu
from jmpc.functions.saturating import gelu_tanh as gelu_tanh
from jmpc.functions.saturating import sigmoid as sigmoid
from jmpc.functions.saturating import silu as silu
from jmpc.functions.saturating import tanh as tanh
from jmpc.functions.series import Bounds as Bounds
from jmpc.functions.softmax import log_softmax as log_softmax
from jmpc.functions.softmax import logsumexp as logsumexp
from jmpc.functions.softmax import softmax as softmax
from jmpc.functions.trigonometric import atan as atan
from jmpc.functions.trigonometric import atan2 as atan2
from jmpc.functions.trigonometric import atan_unit as atan_unit
from jmpc.functions.trigonometric import cos as cos
from jmpc.functions.trigonometric import sin as sin
from jmpc.functions.trigonometric import sin_cos as sin_cos
from jmpc.functions.trigonometric import tan as tan
