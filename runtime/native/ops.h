// The custom ops but those of ranges, as ONNX Runtime sees them: attributes and tensors in, calls of the kernels, tensors out. What each op
// reads and gives is written down in docs/kernels.md.

#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "convolution.h"
#include "maps.h"
#include "ort_context.h"
#include "range_ops.h"

namespace daq {

// What Conv and PlanarConv share.
class QuantizedConvolution {
 public:
  QuantizedConvolution(const ort::Attributes& attributes, bool planar);
  void compute(const ort::Context& context);

 private:
  const Convolution& convolution(const ort::Context& context);

  ConvolutionParameters parameters_;
  bool statistics_;
  bool mid_rise_;
  std::mutex mutex_;
  std::unique_ptr<Convolution> convolution_;  // built at the first run, when the weights are at hand
};

// daq.native.Conv (lo, step, origin, feedback, weight codes, weight step, bias, slope, operand, X...) -> Y, statistics
class ConvOp : public QuantizedConvolution {
 public:
  static constexpr const char* kName = "Conv";
  static constexpr const char* kDomain = kNativeDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat,   ort::kInt8,
                                                 ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat16, ort::kFloat16};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat16, ort::kDouble};
  static constexpr bool kVariadic = true;

  explicit ConvOp(const ort::Attributes& attributes) : QuantizedConvolution(attributes, false) {}
};

// daq.native.PlanarConv (as Conv) -> Y
class PlanarConvOp : public QuantizedConvolution {
 public:
  static constexpr const char* kName = "PlanarConv";
  static constexpr const char* kDomain = kNativeDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat,   ort::kInt8,
                                                 ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat16, ort::kFloat16};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat};
  static constexpr bool kVariadic = true;

  explicit PlanarConvOp(const ort::Attributes& attributes) : QuantizedConvolution(attributes, true) {}
};

// daq.native.FloatConv (X planar, weight, bias, slope) -> Y, statistics
class FloatConvOp {
 public:
  static constexpr const char* kName = "FloatConv";
  static constexpr const char* kDomain = kNativeDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat16, ort::kDouble};
  static constexpr bool kVariadic = false;

  explicit FloatConvOp(const ort::Attributes& attributes);
  void compute(const ort::Context& context);

 private:
  FloatConvolutionParameters parameters_;
  bool statistics_;
  std::mutex mutex_;
  std::unique_ptr<FloatConvolution> convolution_;
};

// daq.native.Elementwise (X, slope, operand, gate) -> Y, statistics
class ElementwiseOp {
 public:
  static constexpr const char* kName = "Elementwise";
  static constexpr const char* kDomain = kNativeDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat16, ort::kFloat, ort::kFloat16, ort::kFloat16};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat16, ort::kDouble};
  static constexpr bool kVariadic = false;

  explicit ElementwiseOp(const ort::Attributes& attributes);
  void compute(const ort::Context& context);

 private:
  ElementwiseParameters parameters_;
  int64_t channels_;
  bool statistics_;
};

// daq.native.ToNative (X planar) -> Y, statistics
class ToNativeOp {
 public:
  static constexpr const char* kName = "ToNative";
  static constexpr const char* kDomain = kNativeDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat16, ort::kDouble};
  static constexpr bool kVariadic = false;

  explicit ToNativeOp(const ort::Attributes& attributes) : statistics_(attributes.integer("statistics") != 0) {}
  void compute(const ort::Context& context);

 private:
  bool statistics_;
};

// daq.native.ToPlanar (X) -> Y planar
class ToPlanarOp {
 public:
  static constexpr const char* kName = "ToPlanar";
  static constexpr const char* kDomain = kNativeDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat16};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat};
  static constexpr bool kVariadic = false;

  explicit ToPlanarOp(const ort::Attributes& attributes) : channels_(attributes.integer("channels")) {}
  void compute(const ort::Context& context);

 private:
  int64_t channels_;
};

}  // namespace daq
