"""Keeps users, passwords and tokens of addresses out of what is shown, logged and written.

A camera's address is at once its name and the key to it. Whatever text may hold one goes through
`without_credentials`: error messages when they are made, log lines, the output of a stage that
died, and the configuration wherever it is shown.

It takes away too much rather than too little: a password may hold any character, so all from `://`
to the last `@` of the line is one; and so is a whole query.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_USER = re.compile(r"(?<=://)[^\n]*@")
_QUERY = re.compile(r"(?<=://)([^\s?#'\"]*)[?#][^\s'\"]*")
_NAMED = re.compile(
    r"(?i)((?:pass(?:word|wd|phrase)?|pwd|token|secret|auth|api_?key|user(?:name)?)=)[^&/\s'\"]+"
)


def without_credentials(text: str) -> str:
    """Return text whose addresses show no user, password or query."""
    if "://" not in text:
        return text
    return "\n".join(map(_clean_line, text.split("\n")))


def _clean_line(line: str) -> str:
    before, separator, rest = line.partition("://")
    if not separator:
        return line
    address = _USER.sub(f"{HIDDEN}@", separator + rest)
    address = _QUERY.sub(rf"\1?{HIDDEN}", address)
    return before + _NAMED.sub(rf"\1{HIDDEN}", address)


def public(data: Any) -> Any:
    """Return JSON-safe data with every text in it as `without_credentials` has it."""
    if isinstance(data, str):
        return without_credentials(data)
    if isinstance(data, Mapping):
        return {key: public(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [public(value) for value in data]
    return data


def hide_credentials(record: logging.LogRecord) -> bool:
    """Clean a line of the log; a filter for handlers."""
    record.msg, record.args = without_credentials(record.getMessage()), None
    return True
