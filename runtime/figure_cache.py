"""Figures that took long to measure, kept in a file by what they depend on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from daq_deploy.errors import OptionError
from daq_deploy.files import atomic_write

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Figures = TypeVar("Figures", bound="DataclassInstance")


class FigureCache(Generic[Figures]):
    """Figures, instances of a dataclass, by key; the JSON file is written after each.

    Args:
        path: of the file; where there is none, nothing is known yet.
        decode: makes figures from their values in JSON; raises TypeError, ValueError, KeyError or AttributeError on others'.

    Raises:
        OptionError: the file is not one of ours.
    """

    def __init__(self, path: Path, decode: Callable[[Any], Figures]) -> None:
        self._path = path
        self._decode = decode
        self._known = self._read()

    def _read(self) -> dict[str, Figures]:
        try:
            known = json.loads(self._path.read_text()) if self._path.exists() else {}
            return {key: self._decode(values) for key, values in known.items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise OptionError(f"--cache {self._path}: is not a file of figures; remove it") from error

    def __iter__(self) -> Iterator[Figures]:
        return iter(self._known.values())

    def get(self, key: str) -> Figures | None:
        """Return the figures of a key, None where they are not known."""
        return self._known.get(key)

    def put(self, key: str, figures: Figures) -> None:
        """Keep figures, beside those that another process has put into the file since.

        Raises:
            OptionError: the file is not one of ours any more.
        """
        self._known = {**self._read(), key: figures}
        with atomic_write(self._path, force=True) as temporary:
            temporary.write_text(json.dumps({key: asdict(known) for key, known in self._known.items()}, indent=1))


__all__ = ["FigureCache"]
