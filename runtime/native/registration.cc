// What ONNX Runtime and Python call: the registration of the ops, and the library's account of itself.

#include <array>
#include <iterator>
#include <mutex>
#include <new>
#include <string>

#include "exports.h"
#include "isa.h"
#include "ops.h"
#include "resampling_ops.h"

namespace daq {
namespace {

template <class Op>
std::string prefixed(const char* what) {
  return std::string(Op::kDomain) + "." + Op::kName + ": " + what;
}

// Runs `work` and turns what it throws into a status that names the op.
template <class Op, class Work>
ort::Status* guarded(const Work& work) {
  try {
    work();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return ort::make_status(ort::kFail, prefixed<Op>("out of memory; try smaller tiles"));
  } catch (const std::exception& error) {
    return ort::make_status(ort::kFail, prefixed<Op>(error.what()));
  }
}

// Inputs that the first output may be written over: no place of them is read after it was written. ONNX Runtime does so where
// it knows that the shapes are the same, and nobody reads the input afterwards.
template <class Op>
std::array<int, 0> overwritten = {};
template <>
std::array<int, 1> overwritten<ConvOp> = {8};
template <>
std::array<int, 2> overwritten<ElementwiseOp> = {0, 2};

template <class Op>
const ort::CustomOp* custom_op() {
  using ort::CustomOp;
  static const CustomOp op = [] {
    CustomOp table = {};
    table.version = ort::kApiVersion;
    table.get_name = [](const CustomOp*) { return Op::kName; };
    table.get_execution_provider_type = [](const CustomOp*) { return "CPUExecutionProvider"; };
    table.get_input_type_count = [](const CustomOp*) { return std::size(Op::kInputs); };
    table.get_input_type = [](const CustomOp*, size_t index) { return Op::kInputs[index]; };
    table.get_output_type_count = [](const CustomOp*) { return std::size(Op::kOutputs); };
    table.get_output_type = [](const CustomOp*, size_t index) { return Op::kOutputs[index]; };
    table.get_input_characteristic = [](const CustomOp*, size_t index) {
      return Op::kVariadic && index + 1 == std::size(Op::kInputs) ? ort::kVariadic : ort::kRequired;
    };
    table.get_output_characteristic = [](const CustomOp*, size_t) { return ort::kRequired; };
    table.get_input_memory_type = [](const CustomOp*, size_t) { return 0; };
    table.get_variadic_input_min_arity = [](const CustomOp*) { return 1; };
    table.get_variadic_input_homogeneity = [](const CustomOp*) { return 1; };
    table.get_variadic_output_min_arity = [](const CustomOp*) { return 1; };
    table.get_variadic_output_homogeneity = [](const CustomOp*) { return 1; };
    table.create_kernel_v2 = [](const CustomOp*, const ort::Slot*, const ort::KernelInfo* info, void** kernel) {
      return guarded<Op>([&] { *kernel = new Op(ort::Attributes(info)); });
    };
    table.kernel_compute_v2 = [](void* kernel, ort::KernelContext* context) {
      return guarded<Op>([&] { static_cast<Op*>(kernel)->compute(ort::Context(context)); });
    };
    table.kernel_destroy = [](void* kernel) { delete static_cast<Op*>(kernel); };
    table.get_may_inplace = [](int** inputs, int** outputs) {
      static int first_output[overwritten<Op>.size() + 1] = {};
      *inputs = overwritten<Op>.data();
      *outputs = first_output;
      return overwritten<Op>.size();
    };
    table.release_may_inplace = [](int*, int*) {};  // nothing was made for the call
    table.get_start_version = [](const CustomOp*) { return 1; };
    table.get_end_version = [](const CustomOp*) { return 2147483647; };
    return table;
  }();
  return &op;
}

const ort::CustomOp* const kFunctionOps[] = {custom_op<ChannelRangeOp>(), custom_op<MixedChannelRangeOp>(),
                                             custom_op<CompandedRangeOp>()};
const ort::CustomOp* const kNativeOps[] = {custom_op<RangeOp>(),       custom_op<ConvOp>(),     custom_op<PlanarConvOp>(),
                                           custom_op<FloatConvOp>(),   custom_op<ElementwiseOp>(), custom_op<ToNativeOp>(),
                                           custom_op<ToPlanarOp>(),    custom_op<ResizeOp>(),   custom_op<MaxPoolOp>()};

using Add = ort::Status* (*)(ort::Domain*, const ort::CustomOp*);
using AddDomain = ort::Status* (*)(ort::SessionOptions*, ort::Domain*);
using Create = ort::Status* (*)(const char*, ort::Domain**);

template <size_t kCount>
ort::Status* make_domain(const ort::Slot* api, const char* name, const ort::CustomOp* const (&ops)[kCount],
                         ort::Domain** domain) {
  if (auto* status = reinterpret_cast<Create>(api[ort::kCreateCustomOpDomain])(name, domain)) return status;
  for (const ort::CustomOp* op : ops) {
    if (auto* status = reinterpret_cast<Add>(api[ort::kCustomOpDomainAdd])(*domain, op)) return status;
  }
  return nullptr;
}

// The domains are made once and live as long as the process: every session refers to them.
ort::Status* add_domains(const ort::Slot* api, ort::SessionOptions* options) {
  static std::mutex mutex;
  static ort::Domain* domains[2] = {nullptr, nullptr};
  const std::lock_guard<std::mutex> lock(mutex);
  if (domains[1] == nullptr) {
    if (auto* status = make_domain(api, kFunctionDomain, kFunctionOps, &domains[0])) return status;
    if (auto* status = make_domain(api, kNativeDomain, kNativeOps, &domains[1])) return status;
  }
  for (ort::Domain* domain : domains) {
    if (auto* status = reinterpret_cast<AddDomain>(api[ort::kAddCustomOpDomain])(options, domain)) return status;
  }
  return nullptr;
}

}  // namespace
}  // namespace daq

// The entry point that ONNX Runtime's RegisterCustomOpsLibrary looks for.
DAQ_EXPORT daq::ort::Status* RegisterCustomOps(daq::ort::SessionOptions* options, const daq::ort::ApiBase* base) {
  const daq::ort::Slot* api = base->get_api(daq::ort::kApiVersion);
  if (api == nullptr) return nullptr;  // older than any ONNX Runtime that is supported; it says so itself
  daq::ort::set_api(api);
  return daq::add_domains(api, options);
}

DAQ_EXPORT int daq_native_abi_version() { return 6; }
DAQ_EXPORT const char* daq_native_isa() { return daq::isa_name(daq::chosen_isa()); }
DAQ_EXPORT const char* daq_native_isa_reason() { return daq::isa_reason(); }
