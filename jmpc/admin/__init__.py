"""`jmpc-admin`: what the operator of a player does, beside running `jmpc-node`.

jmpc-admin keygen                      all key pairs of the players in config.json, for a cluster on one machine
jmpc-admin keygen --player server0     this player's pair only, on the machine where it runs
jmpc-admin check config.json           is the file sound, which keys are here, and are the others there
jmpc-admin status                      what the node on this machine is doing
jmpc-admin cancel RUN                  end a run that it takes part in, everywhere
jmpc-admin audit                       every run it ever took part in, and what was opened to whom
jmpc-admin data patients.csv           what a script has to say to use the file: its name and its types
"""

import sys

from ._commands import main as main

if __name__ == "__main__":
    sys.exit(main())
