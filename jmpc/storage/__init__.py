"""What a player keeps on its disk across restarts: sealed files of its own part of what was saved."""
