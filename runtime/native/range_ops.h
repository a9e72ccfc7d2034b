// The custom ops that give ranges, as ONNX Runtime sees them.

#pragma once

#include <vector>

#include "ort_context.h"
#include "range.h"

namespace daq {

constexpr char kFunctionDomain[] = "daq";       // ops that stand in for the functions of a portable graph
constexpr char kNativeDomain[] = "daq.native";  // ops of a fused graph

// daq.ChannelRange (X) -> lo, step
class ChannelRangeOp {
 public:
  static constexpr const char* kName = "ChannelRange";
  static constexpr const char* kDomain = kFunctionDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat, ort::kFloat};
  static constexpr bool kVariadic = false;

  explicit ChannelRangeOp(const ort::Attributes& attributes);
  void compute(const ort::Context& context);

 private:
  RangeParameters parameters_;
};

// What the ops share whose channels have bits and tails of their own.
class RangeOfOwnBits {
 public:
  RangeOfOwnBits(const ort::Attributes& attributes, bool companded);
  void compute(const ort::Context& context);

 private:
  RangeParameters parameters_;
};

// daq.MixedChannelRange (X, bits, tail) -> lo, step, span
class MixedChannelRangeOp : public RangeOfOwnBits {
 public:
  static constexpr const char* kName = "MixedChannelRange";
  static constexpr const char* kDomain = kFunctionDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kInt32, ort::kFloat};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat, ort::kFloat, ort::kFloat};
  static constexpr bool kVariadic = false;

  explicit MixedChannelRangeOp(const ort::Attributes& attributes) : RangeOfOwnBits(attributes, false) {}
};

// daq.CompandedRange (X, bits, tail) -> lo, step, span, origin
class CompandedRangeOp : public RangeOfOwnBits {
 public:
  static constexpr const char* kName = "CompandedRange";
  static constexpr const char* kDomain = kFunctionDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kInt32, ort::kFloat};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat};
  static constexpr bool kVariadic = false;

  explicit CompandedRangeOp(const ort::Attributes& attributes) : RangeOfOwnBits(attributes, true) {}
};

// daq.native.Range (statistics...) -> lo, step, origin, which is empty where levels are even
class RangeOp {
 public:
  static constexpr const char* kName = "Range";
  static constexpr const char* kDomain = kNativeDomain;
  static constexpr ort::ElementType kInputs[] = {ort::kDouble};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat, ort::kFloat, ort::kFloat};
  static constexpr bool kVariadic = true;

  explicit RangeOp(const ort::Attributes& attributes);
  void compute(const ort::Context& context);

 private:
  RangeParameters parameters_;
  std::vector<int64_t> first_channel_, channels_;
};

}  // namespace daq
