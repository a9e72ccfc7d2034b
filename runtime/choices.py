"""Comma-separated lists on the command lines of the measuring tools."""

from __future__ import annotations

from collections.abc import Sequence

from daq_deploy.errors import OptionError


def chosen(option: str, text: str | None, known: Sequence[str]) -> list[str]:
    """Return the entries of a comma-separated list, in the order of `known`; all where there is no list.

    Raises:
        OptionError: an entry is not known.
    """
    if text is None:
        return list(known)
    wanted = text.split(",")
    for entry in wanted:
        if entry not in known:
            raise OptionError(f"{option} {entry}: choose from {', '.join(known)}")
    return [entry for entry in known if entry in wanted]


__all__ = ["chosen"]
