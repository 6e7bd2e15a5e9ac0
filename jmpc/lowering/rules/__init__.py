"""The rules, by family; importing this package fills the registry."""

from jmpc.lowering.rules import cast as cast
from jmpc.lowering.rules import clipping as clipping
from jmpc.lowering.rules import comparison as comparison
from jmpc.lowering.rules import control as control
from jmpc.lowering.rules import eigen as eigen
from jmpc.lowering.rules import elementwise as elementwise
from jmpc.lowering.rules import factorisations as factorisations
from jmpc.lowering.rules import fitted as fitted
from jmpc.lowering.rules import gamma as gamma
from jmpc.lowering.rules import generic as generic
from jmpc.lowering.rules import hints as hints
from jmpc.lowering.rules import indexing as indexing
from jmpc.lowering.rules import integers as integers
from jmpc.lowering.rules import linear as linear
from jmpc.lowering.rules import logic as logic
from jmpc.lowering.rules import nonlinear as nonlinear
from jmpc.lowering.rules import orthogonal as orthogonal
from jmpc.lowering.rules import powers as powers
from jmpc.lowering.rules import reductions as reductions
from jmpc.lowering.rules import refused as refused
from jmpc.lowering.rules import rounding as rounding
from jmpc.lowering.rules import scattering as scattering
from jmpc.lowering.rules import shape as shape
from jmpc.lowering.rules import sorting as sorting
from jmpc.lowering.rules import special as special
from jmpc.lowering.rules import windows as windows
