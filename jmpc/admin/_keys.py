"""`jmpc-admin keygen`."""

import argparse
from pathlib import Path

from ..config import RemoteConfig
from ..net import authors
from ..net.keys import fingerprint, generate, read_key


def keygen(arguments: argparse.Namespace) -> int:
    """Makes key pairs, of all players, of one, or of an author."""
    config = RemoteConfig.load(arguments.config)
    directory = Path(arguments.keys or config.keys)
    if arguments.author is not None:
        public = authors.generate(directory, arguments.author, force=arguments.force)
        print(f"made the key of the author {arguments.author} in {directory}. Who trusts them writes into a policy:")
        print(f'\n[authors]\n{arguments.author} = "{public}"')
        return 0
    names = [config.get_player(name).name for name in arguments.player or config.players]
    paths = generate(names, directory, force=arguments.force)
    print(f"made {len(paths)} files in {directory}, the key pairs of {', '.join(names)}")
    if arguments.player:
        files = ", ".join(f"{directory / name}.public" for name in names)
        print(f"Give {files} to all others; the .secret files stay here. Compare by telephone:")
        for name in names:
            print(f"    {name}  {fingerprint(read_key(directory, name, 'public'))}")
    elif not config.loopback:
        print("Players on other machines should make their own: jmpc-admin keygen --player NAME")
    return 0
