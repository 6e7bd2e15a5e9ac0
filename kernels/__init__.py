"""The arithmetic under jmpc's protocols: ring products, keystream, bits.

Nothing here knows of players, messages or protocols.
"""

from jmpc.kernels.ring import conv_general_dilated as conv_general_dilated
from jmpc.kernels.ring import dot_general as dot_general
from jmpc.kernels.ring import matmul as matmul
