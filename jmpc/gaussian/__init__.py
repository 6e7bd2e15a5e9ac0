"""The discrete Gaussian: sampled exactly, and what noise of several players guarantees. Knows nothing of protocols."""

from jmpc.gaussian.accounting import Summed as Summed
from jmpc.gaussian.accounting import epsilon as epsilon
from jmpc.gaussian.accounting import zcdp_epsilon as zcdp_epsilon
from jmpc.gaussian.sampler import MOST_DEVIATION as MOST_DEVIATION
from jmpc.gaussian.sampler import DiscreteGaussian as DiscreteGaussian
