"""Which line of a JSON file a field stands on, for messages about it."""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


def lines_of_fields(text: str) -> dict[str, int]:
    """The line of each field of the objects in a valid JSON text, by its path, "players.server0.address"."""
    lines: dict[str, int] = {}
    path: list[str] = []  # of the objects and lists that are open, each by the name of the field it is in
    name, line, counted = "", 1, 0
    tokens = list(_TOKEN.finditer(text))
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        word = token[0]
        line += text.count("\n", counted, token.start())
        counted = token.start()
        if word[0] == '"' and following is not None and following[0] == ":":
            name = json.loads(word)
            lines.setdefault(".".join([*filter(None, path), name]), line)
        elif word in "{[":
            path.append(name)
            name = ""  # of what stands in a list
        elif word in "}]":
            name = path.pop()
    return lines


def with_line(message: str, file: str, text: str) -> str:
    """A message that begins with a file and the path of a field in it, with the field's line beside the file."""
    rest = message.removeprefix(f"{file}: ")
    lines = lines_of_fields(text)
    named = [field for field in lines if re.match(re.escape(field) + r"(?![\w-])", rest)]
    if rest == message or not named:
        return message
    return f"{file}, line {lines[max(named, key=len)]}: {rest}"
