"""Random calls of every native operator against the reference: `python kernel_cases.py CASES SEED`, in the tier of DAQ_ISA.

Prints one JSON document: the tier that ran, the number of cases of each operator, and what went wrong.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from convolution_cases import codes_of_real_maps, conv
from kernel_calls import Wrong
from map_cases import borders, broken_pictures, elementwise, float_conv, native_range, resampling

from daq_deploy.runtime.library import load_library

CASES: Mapping[str, tuple[Callable[[np.random.Generator], None], int]] = {
    "convolution": (conv, 6),
    "codes": (codes_of_real_maps, 2),
    "range": (native_range, 1),
    "float convolution": (float_conv, 1),
    "elementwise": (elementwise, 1),
    "resampling": (resampling, 3),
    "borders": (borders, 1),
    "broken pictures": (broken_pictures, 1),
}
"""What is tested, and how often in a round."""


def main(rounds: int, seed: int) -> None:
    library = load_library()
    assert library is not None
    done: Counter[str] = Counter()
    problems = []
    for index in range(rounds):
        for name, (case, times) in CASES.items():
            for number in range(times):
                key = [seed, index, number]
                done[name] += 1
                try:
                    with np.errstate(all="ignore"):
                        case(np.random.default_rng([*key, *name.encode()]))
                except Wrong as error:
                    problems.append(f"{name} {key}: {error}")
                except Exception:
                    problems.append(f"{name} {key}: {traceback.format_exc(limit=2).splitlines()[-1]}")
    print(json.dumps({"isa": library.isa, "cases": done, "problems": problems}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
