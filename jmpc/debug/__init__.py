"""Looking into a computation on data that one has in the clear. Nothing here runs among players."""

from jmpc.debug.report import Report as Report
from jmpc.debug.rows import Concern as Concern
from jmpc.debug.rows import Place as Place
from jmpc.debug.rows import Row as Row
from jmpc.debug.twin import compare as compare
