"""`jmpc-admin`: what the operator of a player does, beside running `jmpc-node`.

jmpc-admin keygen                      all key pairs of the players in config.json, for a cluster on one machine
jmpc-admin keygen --player server0     this player's pair only, on the machine where it runs
jmpc-admin keygen --author alice       the key of somebody who signs computations
jmpc-admin rotate-keys --player NAME   a new pair for a player of this machine
jmpc-admin revoke PLAYER               let a player in no longer, at once, at the nodes of this machine
jmpc-admin reload                      have these nodes read the public keys again
jmpc-admin check config.json           is the file sound, which keys are here, and are the others there
jmpc-admin status                      what the node on this machine is doing
jmpc-admin cancel RUN                  end a run that it takes part in, everywhere
jmpc-admin pending                     computations that its policy has refused, and those that are approved
jmpc-admin approve COMPUTATION         show what a refused one does, and let it run from now on
jmpc-admin withdraw COMPUTATION        take an approval back
jmpc-admin audit                       every run it ever took part in, and what was opened to whom
jmpc-admin trace FILE...               the traces of all players of a run as one, for Perfetto
jmpc-admin data patients.csv           what a script has to say to use the file: its name and its types
"""

import sys

from ._commands import main as main

if __name__ == "__main__":
    sys.exit(main())
