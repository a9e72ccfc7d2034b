from __future__ import annotations

import pytest

from daq_deploy.cli.options import config_from_options
from daq_deploy.config import DaqConfig
from daq_deploy.errors import OptionError


def test_no_option_gives_the_profile_itself() -> None:
    assert config_from_options() == DaqConfig.of_profile("deploy", 4)
    assert config_from_options(profile="paper", bits=3) == DaqConfig.of_profile("paper", 3)


def test_an_option_changes_its_point_and_no_other() -> None:
    config = config_from_options(profile="paper", bits=4, activation_bits=6, range_rule="reference", int2=True)
    assert (config.weight_bits, config.activation_bits, config.range_rule) == (4, 6, "reference")
    assert config.int2
    assert config.layers == "body"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 9}, "--bits 9: choose 2 to 8"),
        ({"edge_bits": 16}, "--edge-bits 16: choose 2 to 8, or 32 for float"),
        ({"levels": "odd"}, "--levels odd: choose one of companded, even"),
        ({"range_rule": "best"}, "--range-rule best: choose one of"),
        ({"include": "("}, "--include '\\(' is not a regular expression"),
        ({"profile": "fast"}, "--profile fast: choose one of"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_option(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        config_from_options(**options)  # type: ignore[arg-type]
