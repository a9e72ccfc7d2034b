"""Small networks in the shapes that super-resolution networks have, as ONNX graphs with random weights."""

from __future__ import annotations

import zlib

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import onnxruntime


def network(
    body: str, opset: int = 21, channels: int = 3, batch: str = "n", output: str = "y", **shapes: tuple
) -> onnx.ModelProto:
    """Build a graph from `x` to `y`; initializers `<name>_weight` and so on are random, of the shapes given by name.

    An array instead of a shape is taken as it is. `head_weight` is renamed to `head.weight`, as exporters write it.
    """
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": {opset}]>
        network (float[{batch},{channels},h,w] x) => (float[{batch},c,a,b] {output}) {{ {body} }}"""
    )
    for name, shape in shapes.items():
        if isinstance(shape, tuple):
            scale = 0.1 if len(shape) == 1 else 1.2 / np.sqrt(np.prod(shape[1:]))
            shape = np.random.default_rng(zlib.crc32(name.encode())).normal(0, scale, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(shape), _dotted(name)))
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = _dotted(name)
    onnx.checker.check_model(model, full_check=True)
    return model


def _dotted(name: str) -> str:
    for kind in ("weight", "bias"):
        name = name.replace(f"_{kind}", f".{kind}")
    return name


PAD = "<pads = [1, 1, 1, 1]>"
"""Attributes of a 3x3 convolution that keeps height and width."""


def edsr(**options: str) -> onnx.ModelProto:
    """Head, two residual blocks, closing convolution with the long skip, pixel shuffle, tail."""
    return network(
        f"""head = Conv{PAD}(x, head_weight, head_bias)
        a1 = Conv{PAD}(head, a1_weight, a1_bias) r1 = Relu(a1) b1 = Conv{PAD}(r1, b1_weight, b1_bias) s1 = Add(head, b1)
        a2 = Conv{PAD}(s1, a2_weight) r2 = Relu(a2) b2 = Conv{PAD}(r2, b2_weight) s2 = Add(s1, b2)
        close = Conv{PAD}(s2, close_weight) long = Add(close, head)
        up = Conv{PAD}(long, up_weight) shuffled = DepthToSpace<blocksize = 2, mode = "CRD">(up)
        y = Conv{PAD}(shuffled, tail_weight, tail_bias)""",
        head_weight=(8, 3, 3, 3), head_bias=(8,), a1_weight=(8, 8, 3, 3), a1_bias=(8,), b1_weight=(8, 8, 3, 3),
        b1_bias=(8,), a2_weight=(8, 8, 3, 3), b2_weight=(8, 8, 3, 3), close_weight=(8, 8, 3, 3),
        up_weight=(32, 8, 3, 3), tail_weight=(3, 8, 3, 3), tail_bias=(3,), **options,
    )  # fmt: skip


def rlfn() -> onnx.ModelProto:
    """A block whose output is gated by spatial attention, with a strided convolution, max pool and resize in the branch."""
    return network(
        f"""head = Conv{PAD}(x, head_weight)
        c1 = Conv{PAD}(head, c1_weight) r1 = LeakyRelu<alpha = 0.05>(c1) c2 = Conv(r1, c2_weight)
        e1 = Conv(c2, e1_weight) e2 = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(e1, e2_weight)
        pool = MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(e2) e3 = Conv{PAD}(pool, e3_weight)
        size = Shape<start = 2>(c2) channels = Shape<end = 2>(e3) full = Concat<axis = 0>(channels, size)
        larger = Resize<mode = "linear">(e3, , , full)
        sum = Add(larger, e1) e4 = Conv(sum, e4_weight) gate = Sigmoid(e4) gated = Mul(c2, gate)
        close = Conv{PAD}(gated, close_weight) long = Add(close, head)
        up = Conv{PAD}(long, up_weight) y = DepthToSpace<blocksize = 2, mode = "CRD">(up)""",
        head_weight=(8, 3, 3, 3), c1_weight=(8, 8, 3, 3), c2_weight=(8, 8, 1, 1), e1_weight=(4, 8, 1, 1),
        e2_weight=(4, 4, 3, 3), e3_weight=(4, 4, 3, 3), e4_weight=(8, 4, 1, 1), close_weight=(8, 8, 3, 3),
        up_weight=(12, 8, 3, 3),
    )  # fmt: skip


def unpadded_attention() -> onnx.ModelProto:
    """A gate whose strided convolution and pool have no padding: 11 pixels are the fewest that they can look at."""
    return network(
        f"""head = Conv{PAD}(x, head_weight) b = Conv{PAD}(head, b_weight)
        e1 = Conv<strides = [2, 2]>(b, e1_weight) pool = MaxPool<kernel_shape = [7, 7], strides = [3, 3]>(e1)
        e2 = Conv{PAD}(pool, e2_weight) size = Shape<start = 2>(b) channels = Shape<end = 2>(e2)
        full = Concat<axis = 0>(channels, size) larger = Resize<mode = "linear">(e2, , , full)
        gate = Sigmoid(larger) gated = Mul(b, gate)
        up = Conv{PAD}(gated, up_weight) y = DepthToSpace<blocksize = 2, mode = "CRD">(up)""",
        head_weight=(8, 3, 3, 3), b_weight=(8, 8, 3, 3), e1_weight=(8, 8, 3, 3), e2_weight=(8, 8, 3, 3),
        up_weight=(12, 8, 3, 3),
    )  # fmt: skip


def rcan(gate_first: bool = False) -> onnx.ModelProto:
    """A residual block with channel attention behind a global pool."""
    gated = "Mul(gate, b1)" if gate_first else "Mul(b1, gate)"
    return network(
        f"""head = Conv{PAD}(x, head_weight)
        a1 = Conv{PAD}(head, a1_weight) r1 = Relu(a1) b1 = Conv{PAD}(r1, b1_weight)
        pool = GlobalAveragePool(b1) d = Conv(pool, down_weight, down_bias) rd = Relu(d) u = Conv(rd, raise_weight)
        gate = Sigmoid(u) gated = {gated} s1 = Add(head, gated)
        close = Conv{PAD}(s1, close_weight) long = Add(close, head)
        up = Conv{PAD}(long, up_weight) y = DepthToSpace<blocksize = 2, mode = "CRD">(up)""",
        head_weight=(8, 3, 3, 3), a1_weight=(8, 8, 3, 3), b1_weight=(8, 8, 3, 3), down_weight=(2, 8, 1, 1),
        down_bias=(2,), raise_weight=(8, 2, 1, 1), close_weight=(8, 8, 3, 3), up_weight=(12, 8, 3, 3),
    )  # fmt: skip


def fsrcnn() -> onnx.ModelProto:
    """PReLU between convolutions and a transposed convolution at the end."""
    return network(
        f"""head = Conv<pads = [2, 2, 2, 2]>(x, head_weight) h = PRelu(head, slope0)
        shrink = Conv(h, shrink_weight) s = PRelu(shrink, slope1)
        map = Conv{PAD}(s, map_weight) m = PRelu(map, slope1) expand = Conv(m, expand_weight) e = PRelu(expand, slope0)
        y = ConvTranspose<strides = [2, 2], pads = [1, 1, 1, 1]>(e, last_weight)""",
        head_weight=(8, 3, 5, 5), shrink_weight=(4, 8, 1, 1), map_weight=(4, 4, 3, 3), expand_weight=(8, 4, 1, 1),
        last_weight=(8, 3, 4, 4), slope0=np.full((8, 1, 1), 0.2, np.float32), slope1=np.full((4, 1, 1), 0.1, np.float32),
    )  # fmt: skip


def esrgan() -> onnx.ModelProto:
    """Dense block by Concat, residual scaling, and upsampling by nearest resize followed by a convolution."""
    return network(
        f"""head = Conv{PAD}(x, head_weight)
        d1 = Conv{PAD}(head, d1_weight) l1 = LeakyRelu<alpha = 0.2>(d1) cat1 = Concat<axis = 1>(head, l1)
        d2 = Conv{PAD}(cat1, d2_weight) l2 = LeakyRelu<alpha = 0.2>(d2) cat2 = Concat<axis = 1>(cat1, l2)
        d3 = Conv{PAD}(cat2, d3_weight, d3_bias) scaled = Mul(d3, scale) s1 = Add(scaled, head)
        close = Conv{PAD}(s1, close_weight) long = Add(close, head)
        big = Resize<mode = "nearest">(long, , factors) up = Conv{PAD}(big, up_weight) lu = LeakyRelu<alpha = 0.2>(up)
        hr = Conv{PAD}(lu, hr_weight) lh = LeakyRelu<alpha = 0.2>(hr) y = Conv{PAD}(lh, tail_weight)""",
        head_weight=(8, 3, 3, 3), d1_weight=(4, 8, 3, 3), d2_weight=(4, 12, 3, 3), d3_weight=(8, 16, 3, 3), d3_bias=(8,),
        close_weight=(8, 8, 3, 3), up_weight=(8, 8, 3, 3), hr_weight=(8, 8, 3, 3), tail_weight=(3, 8, 3, 3),
        scale=np.array(0.2, np.float32), factors=np.array([1, 1, 2, 2], np.float32),
    )  # fmt: skip


def grouped() -> onnx.ModelProto:
    """Depthwise and grouped convolutions, one with stride 2 and no padding."""
    return network(
        f"""head = Conv{PAD}(x, head_weight) r = Relu(head)
        deep = Conv<group = 8, pads = [1, 1, 1, 1]>(r, deep_weight)
        two = Conv<group = 2, pads = [1, 1, 1, 1]>(deep, two_weight)
        small = Conv<strides = [2, 2], auto_pad = "SAME_UPPER">(two, small_weight)
        up = Conv{PAD}(small, up_weight) y = DepthToSpace<blocksize = 4, mode = "CRD">(up)""",
        head_weight=(8, 3, 3, 3), deep_weight=(8, 1, 3, 3), two_weight=(8, 4, 3, 3), small_weight=(8, 8, 3, 3),
        up_weight=(48, 8, 3, 3),
    )  # fmt: skip


def wide() -> onnx.ModelProto:
    """More channels than are rounded together: a residual block, a dense layer by Concat, a 1x1 convolution, an upsampler."""
    return network(
        f"""head = Conv{PAD}(x, head_weight)
        a = Conv{PAD}(head, a_weight) r = Relu(a) b = Conv{PAD}(r, b_weight) s = Add(head, b)
        d = Conv{PAD}(s, d_weight) l = LeakyRelu<alpha = 0.2>(d) cat = Concat<axis = 1>(s, l) one = Conv(cat, one_weight)
        up = Conv{PAD}(one, up_weight) shuffled = DepthToSpace<blocksize = 2, mode = "CRD">(up)
        y = Conv{PAD}(shuffled, tail_weight)""",
        head_weight=(20, 3, 3, 3), a_weight=(18, 20, 3, 3), b_weight=(20, 18, 3, 3), d_weight=(9, 20, 3, 3),
        one_weight=(17, 29, 1, 1), up_weight=(48, 17, 3, 3), tail_weight=(3, 12, 3, 3),
    )  # fmt: skip


def with_outliers(model: onnx.ModelProto, layer: str, feeder: str) -> onnx.ModelProto:
    """Spoil one layer for coarse steps, and no other.

    A channel that its feeder makes zero gets weights so large that the steps, one an output channel, lose all others.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def change(name: str, index: object, value: float) -> None:
        if name in tensors:
            array = onnx.numpy_helper.to_array(tensors[name]).copy()
            array[index] = value
            tensors[name].CopyFrom(onnx.numpy_helper.from_array(array, name))

    change(f"{feeder}.weight", 0, 0)
    change(f"{feeder}.bias", 0, 0)
    change(f"{layer}.weight", (slice(None), 0, 0, 0), 20)
    return model


NETWORKS = {
    "edsr": edsr, "rlfn": rlfn, "rcan": rcan, "fsrcnn": fsrcnn, "esrgan": esrgan, "grouped": grouped,
}  # fmt: skip


def picture(height: int, width: int, images: int = 1, channels: int = 3) -> np.ndarray:
    """Smooth waves in 0..255, another for each image, float32 (images, channels, height, width)."""
    n, c, y, x = np.meshgrid(*(np.arange(size) for size in (images, channels, height, width)), indexing="ij")
    return (127.5 + 127.5 * np.sin(0.3 * x + 0.2 * y * (c + 1) + 1.7 * n)).astype(np.float32)


def run(model: onnx.ModelProto | bytes, image: np.ndarray, level: str = "ENABLE_ALL") -> np.ndarray:
    """Run in ONNX Runtime as it comes: no option is set but the optimization level, and quiet."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def nearest_x2(
    shape: str = "n,3,h,w", value_range: str | None = None, metadata: dict[str, str] | None = None
) -> onnx.ModelProto:
    """Build a network small enough to know its output: every pixel becomes 2x2 pixels of the same colour."""
    rows = ", ".join("1" if row // 4 == column else "0" for row in range(12) for column in range(3))
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        nearest_x2 (float[{shape}] image) => (float[a,3,b,c] larger)
        <float[12,3,1,1] weight = {{{rows}}}>
        {{
            copies = Conv(image, weight)
            positive = Relu(copies)
            larger = DepthToSpace<blocksize = 2, mode = "CRD">(positive)
        }}"""
    )
    properties = dict(metadata or {})
    if value_range is not None:
        properties["daq.value_range"] = value_range
    onnx.helper.set_model_props(model, properties)
    return model


__all__ = [
    "NETWORKS", "PAD", "edsr", "esrgan", "fsrcnn", "grouped", "nearest_x2", "network", "picture", "rcan", "rlfn",
    "run", "wide", "with_outliers",
]  # fmt: skip
