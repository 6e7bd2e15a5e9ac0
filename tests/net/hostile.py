"""Decodes hostile messages under an audit hook that lets nothing of Python's own machinery pass; run by a test.

The hook cannot be taken away again, so this is a process of its own. It begins when the honest samples were read:
what is imported when something is used for the first time is not what a message asks for.
"""

from __future__ import annotations

import sys

from net.decoders import decoders, mutants, refused_or_read

FORBIDDEN = (
    "import", "exec", "compile", "open", "subprocess.", "os.system", "os.exec", "os.fork", "os.spawn", "os.posix_spawn",
    "ctypes.", "socket.", "shutil.", "pickle.", "marshal.", "code.__new__", "function.__new__",
)  # fmt: skip


def main() -> int:
    for decoder in decoders().values():
        for sample in decoder.samples:
            assert refused_or_read(decoder, sample)
    for decoder, data in mutants(0, 300):  # and their errors
        refused_or_read(decoder, data)
    events: list[str] = []
    watching = True

    def hook(event: str, args: object) -> None:
        if watching and event.startswith(FORBIDDEN):
            events.append(f"{event} {args!r}"[:200])

    sys.addaudithook(hook)
    count = sum(1 for decoder, data in mutants(1, 2400) if refused_or_read(decoder, data) or True)
    watching = False
    print(f"{count} messages, {len(events)} events", *dict.fromkeys(events), sep="\n")
    return 1 if events else 0


if __name__ == "__main__":
    sys.exit(main())
