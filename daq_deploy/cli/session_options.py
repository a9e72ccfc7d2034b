"""Options of the verbs that run a network."""

from __future__ import annotations

from typing import Annotated

import typer

Provider = Annotated[
    str, typer.Option("--provider", metavar="cpu|cuda", help="Where the network runs; an error where it cannot.")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", help="Threads; one a physical core if not given.", show_default=False),
]
AllowFallback = Annotated[
    bool, typer.Option("--allow-fallback", help="Accept nodes that fall back to the CPU, and list them.")
]

Native = Annotated[
    bool,
    typer.Option(
        "--native/--no-native", help="Run quantized layers in the native kernels, where they are installed, on the CPU."
    ),
]

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="auto|ADDRESS",
        help="Share a folder's pictures among the workers of a Ray cluster, --threads processors each; auto: one that is "
        "found, or this machine.",
        show_default=False,
    ),
]

__all__ = ["AllowFallback", "Native", "Provider", "Ray", "Threads"]
