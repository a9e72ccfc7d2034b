"""Run an ONNX file as anybody's program would: needs NumPy and ONNX Runtime alone. Started by compare.py.

run_model.py INPUT.npy OUTPUT.npy MODEL.onnx [LIBRARY]
"""

import sys

import numpy as np
import onnxruntime


def main() -> None:
    image, output, model, *libraries = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for library in libraries:
        options.register_custom_ops_library(library)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: np.load(image)})
    np.save(output, result)
    print(onnxruntime.__version__)


if __name__ == "__main__":
    main()
