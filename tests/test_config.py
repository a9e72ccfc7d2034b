from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq_deploy.config import CONFIG_VERSION, EDGE_ROLES, RANGE_RULES, WEIGHT_RULES, DaqConfig
from daq_deploy.errors import ModelError, OptionError

bits = st.integers(2, 8)
configs = st.builds(
    DaqConfig,
    weight_bits=bits,
    activation_bits=bits,
    edge_bits=bits | st.just(32),
    attention_bits=bits | st.just(32),
    edges=st.lists(st.sampled_from(EDGE_ROLES), unique=True).map(tuple),
    layers=st.sampled_from(["all", "body"]),
    include=st.none() | st.just("^body"),
    exclude=st.none() | st.just("tail$"),
    range_rule=st.sampled_from(RANGE_RULES),
    weight_rule=st.sampled_from(WEIGHT_RULES),
    range_bits=st.sampled_from([None, 4, 8]),
    dynamic_batch=st.booleans(),
    int2=st.booleans(),
    profile=st.sampled_from(["deploy", "paper"]),
)


@given(configs)
def test_json_brings_back_the_same_configuration(config):
    text = config.to_json()
    assert "\n" not in text
    assert json.loads(text)["version"] == CONFIG_VERSION
    assert set(json.loads(text)) == {"version", *(field.name for field in fields(DaqConfig))}
    assert DaqConfig.from_json(text) == config


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"text"', "{}", '{"version": 1, "edges": 3}'])
def test_damaged_json_is_refused(text):
    with pytest.raises(ModelError, match=r"daq\.config"):
        DaqConfig.from_json(text)


def test_a_newer_version_or_an_unknown_field_asks_for_an_update():
    values = json.loads(DaqConfig().to_json())
    for changed in (values | {"version": CONFIG_VERSION + 1}, values | {"colour": "red"}):
        with pytest.raises(ModelError, match="update it"):
            DaqConfig.from_json(json.dumps(changed))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 1}, "--weight-bits 1: choose 2 to 8"),
        ({"activation_bits": 32}, "--activation-bits 32: choose 2 to 8"),
        ({"edge_bits": 9}, "--edge-bits 9: choose 2 to 8, or 32 for float"),
        ({"attention_bits": 0}, "--attention-bits 0"),
        ({"layers": "some"}, "--layers some: choose one of all, body"),
        ({"range_rule": "x"}, "--range-rule x"),
        ({"weight_rule": "x"}, "--weight-rule x"),
        ({"range_bits": 5}, "--range-bits 5: choose one of none, 4, 8"),
        ({"edges": ("body",)}, "--edges body"),
        ({"include": "*"}, r"--include '\*' is not a regular expression"),
        ({"exclude": "("}, "--exclude"),
        ({"profile": "x"}, "--profile x"),
    ],
)
def test_a_field_out_of_its_range_is_refused_by_the_name_of_its_option(options, message):
    with pytest.raises(OptionError, match=message):
        DaqConfig(**options)


def test_damaged_values_inside_valid_json_are_refused():
    text = json.dumps(json.loads(DaqConfig().to_json()) | {"weight_bits": 99})
    with pytest.raises((ModelError, OptionError), match="99"):
        DaqConfig.from_json(text)


def test_profiles_differ_where_the_paper_does():
    paper, deploy = DaqConfig.of_profile("paper", 3), DaqConfig.of_profile("deploy", 3)
    assert (paper.weight_bits, paper.activation_bits) == (deploy.weight_bits, deploy.activation_bits) == (3, 3)
    assert (paper.layers, paper.range_rule, paper.weight_rule, paper.range_bits) == ("body", "paper", "paper", 4)
    assert (deploy.layers, deploy.range_rule, deploy.weight_rule) == ("all", "deploy", "deploy")
    with pytest.raises(OptionError, match="--profile best"):
        DaqConfig.of_profile("best")
