"""Differential privacy of what is opened: norms clipped under MPC, noise of all servers, and what that guarantees.

See docs/privacy.md for what it means, for whom, and what it does not cover.
"""

from jmpc.privacy._clipping import clip as clip
from jmpc.privacy._gaussian import Adjacency as Adjacency
from jmpc.privacy._gaussian import Gaussian as Gaussian
from jmpc.privacy._gaussian import epsilon as epsilon
from jmpc.privacy._noise import add_noise as add_noise
from jmpc.privacy._sums import private_mean as private_mean
from jmpc.privacy._sums import private_sum as private_sum
