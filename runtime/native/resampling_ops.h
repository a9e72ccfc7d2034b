// The custom ops that change the size of a native map: checks of attributes and tensors around resampling.h.

#pragma once

#include "ops.h"
#include "ort_context.h"
#include "resampling.h"

namespace daq {

// daq.native.Resize (X, scales, sizes) -> Y, statistics; scales and sizes are those of the planar map, and one is empty
class ResizeOp {
 public:
  static constexpr const char* kName = "Resize";
  static constexpr const char* kDomain = kNativeDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat16, ort::kFloat, ort::kInt64};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat16, ort::kDouble};
  static constexpr bool kVariadic = false;

  explicit ResizeOp(const ort::Attributes& attributes);
  void compute(const ort::Context& context);

 private:
  ResizeParameters parameters_;
  int64_t channels_;
  bool statistics_;
};

// daq.native.MaxPool (X) -> Y, statistics
class MaxPoolOp {
 public:
  static constexpr const char* kName = "MaxPool";
  static constexpr const char* kDomain = kNativeDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat16};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat16, ort::kDouble};
  static constexpr bool kVariadic = false;

  explicit MaxPoolOp(const ort::Attributes& attributes);
  void compute(const ort::Context& context);

 private:
  PoolParameters parameters_;
  int64_t channels_;
  bool statistics_;
};

}  // namespace daq
