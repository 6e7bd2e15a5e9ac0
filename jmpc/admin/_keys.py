"""`jmpc-admin keygen`, `rotate-keys` and `revoke`."""

import argparse
from pathlib import Path

from ..config import RemoteConfig
from ..errors import ConfigError
from ..net import authors
from ..net.keys import fingerprint, generate, read_key, revoke, revoked_file, rotate
from ..runtime.control import ask
from ..runtime.host import control_path


def keygen(arguments: argparse.Namespace) -> int:
    """Makes key pairs, of all players, of one, or of an author."""
    config = RemoteConfig.load(arguments.config, environment={})
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


def rotate_keys(arguments: argparse.Namespace) -> int:
    """Makes a new pair for a player that has one."""
    config = RemoteConfig.load(arguments.config, environment={})
    name = config.get_player(arguments.player).name
    rotate(config.keys, name)
    print(f"made a new pair of {name} in {config.keys}; the old one ends in .old")
    print(f"    {name}  {fingerprint(read_key(config.keys, name, 'public'))}")
    print(
        f"Restart jmpc-node {name}. Give {config.keys / name}.public to all others, who put it in place of theirs and "
        "run `jmpc-admin reload`: until then they do not let it in."
    )
    return 0


def revoke_key(arguments: argparse.Namespace) -> int:
    """Has a player's key be used no more on this machine."""
    config = RemoteConfig.load(arguments.config, environment={})
    name = config.get_player(arguments.name).name
    revoke(config.keys, name)
    print(f"the key of {name} is used no more here; to let it in again, put a new {name}.public into {config.keys} and")
    print(f"remove {revoked_file(config.keys, name)}")
    return reload(arguments)


def reload(arguments: argparse.Namespace) -> int:
    """Has the nodes on this machine read the public keys again."""
    config = RemoteConfig.load(arguments.config, environment={})
    there = [name for name in config.players if control_path(config, name).exists()]
    for name in there:
        try:
            peers = ask(control_path(config, name), "reload")
            print(f"jmpc-node {name} has read the keys of {', '.join(peers)}")
        except ConfigError as error:
            print(f"jmpc-node {name}: {error}")
    if not there:
        print("no node is running here")
    return 0
