"""The bar that shows how far a long step is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

    from daq_deploy.calibration import Progress


@contextmanager
def progress_bar(shown: bool = True) -> Iterator[Progress]:
    """Yield a function that is told what is being done and the share that is done; its bar is on stderr and goes away."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    bar = Bar(console=console, transient=True, disable=not (shown and console.is_terminal))
    tasks: dict[str, TaskID] = {}

    def report(title: str, share: float) -> None:
        bar.start()  # not before there is something to show: an empty bar leaves an empty line
        if title not in tasks:
            for task in tasks.values():
                bar.update(task, completed=1)
            tasks[title] = bar.add_task(title, total=1)
        bar.update(tasks[title], completed=share)

    try:
        yield report
    finally:
        if tasks:
            bar.stop()


__all__ = ["progress_bar"]
