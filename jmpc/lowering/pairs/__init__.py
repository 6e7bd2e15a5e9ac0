"""Complex numbers as pairs of real ones: a pass over jaxprs before they are lowered, so that nothing else knows them.

Each complex variable that depends on a secret becomes two real variables, and each equation on them a few equations on
those, by a rule that is an ordinary JAX function of pairs. What is public stays complex, and exact, until it meets a
secret. Whoever submits a computation does this, so a player that lowers one meets no complex secret.
"""

from jmpc.lowering.pairs import elementwise as elementwise
from jmpc.lowering.pairs import factorisations as factorisations
from jmpc.lowering.pairs import fourier as fourier
from jmpc.lowering.pairs import linear as linear
from jmpc.lowering.pairs import reductions as reductions
from jmpc.lowering.pairs.computation import complex_as_pairs as complex_as_pairs
from jmpc.lowering.pairs.computation import without_complex as without_complex
