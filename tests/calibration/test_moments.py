from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from networks import network, picture, run

from daq_deploy.calibration.moments import moments, unfold
from daq_deploy.passes.graph import convolutions

AUTO_PAD = 'auto_pad = "SAME_LOWER", strides = [2, 2]'


@pytest.mark.parametrize("attributes", ["", "strides = [2, 2]", "pads = [1, 0, 2, 1]", "dilations = [2, 1]", AUTO_PAD])
def test_unfolded_maps_times_weights_are_the_convolution(attributes):
    brackets = f"<{attributes}>" if attributes else ""
    proto = network(f"y = Conv{brackets}(x, w_weight)", w_weight=(5, 3, 3, 3))
    (node,) = convolutions(ir.from_proto(proto).graph)
    image = picture(13, 11)
    weight = onnx.numpy_helper.to_array(proto.graph.initializer[0])
    expected = run(proto, image)[0].reshape(5, -1)
    np.testing.assert_allclose(weight.reshape(5, -1) @ unfold(node, image[0], (3, 3)), expected, rtol=1e-3, atol=0.01)


def test_moments_are_covariances_of_what_is_read_and_given():
    proto = network("y = Conv(x, w_weight)", w_weight=(2, 3, 3, 3))
    (node,) = convolutions(ir.from_proto(proto).graph)
    generator = np.random.default_rng(0)
    feature_map, output = (
        generator.normal(size=shape).astype(np.float32) for shape in ((2, 3, 12, 12), (2, 2, 10, 10))
    )
    found = moments(node, feature_map, output, (3, 3))
    read = np.concatenate([unfold(node, image, (3, 3)) for image in feature_map], axis=1)
    given = output.transpose(1, 0, 2, 3).reshape(2, -1)
    both = np.cov(np.concatenate([given, read]), bias=True)
    np.testing.assert_allclose(found.covariance, both[2:, 2:], atol=1e-4)
    np.testing.assert_allclose(found.cross, both[:2, 2:], atol=1e-5)
