// The part of ONNX Runtime's C ABI that this library uses, declared by ourselves: its headers are in no package registry.
//
// The ABI only ever grows at its end. OrtApi is a table of function pointers, here an array that is indexed by slot;
// OrtCustomOp is a table that we fill in. Source: the public documentation of onnxruntime_c_api.h, API version 18.

#pragma once

#include <cstddef>
#include <cstdint>

namespace daq::ort {

constexpr uint32_t kApiVersion = 18;  // of ONNX Runtime 1.18; later versions serve it too

struct Status;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorInfo;
struct SessionOptions;
struct Domain;

using Slot = void (*)();

struct ApiBase {
  const Slot* (*get_api)(uint32_t version);
  const char* (*get_version_string)();
};

// Slots of OrtApi.
enum : int {
  kCreateStatus = 0,
  kGetErrorMessage = 2,
  kCreateCustomOpDomain = 26,
  kCustomOpDomainAdd = 27,
  kAddCustomOpDomain = 28,
  kGetTensorMutableData = 51,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kGetTensorTypeAndShape = 65,
  kKernelInfoGetAttributeFloat = 85,
  kKernelInfoGetAttributeInt64 = 86,
  kKernelInfoGetAttributeString = 87,
  kKernelContextGetInputCount = 88,
  kKernelContextGetInput = 90,
  kKernelContextGetOutput = 91,
  kReleaseStatus = 93,
  kReleaseTensorTypeAndShapeInfo = 99,
  kKernelInfoGetAttributeArrayFloat = 162,
  kKernelInfoGetAttributeArrayInt64 = 163,
  kKernelContextParallelFor = 274,
};

enum ErrorCode : int { kFail = 1 };

enum ElementType : int { kFloat = 1, kInt8 = 3, kInt32 = 6, kInt64 = 7, kFloat16 = 10, kDouble = 11 };

enum Characteristic : int { kRequired = 0, kVariadic = 2 };

// OrtCustomOp. The members up to `get_end_version` are those of API version 18.
struct CustomOp {
  uint32_t version;
  void* (*create_kernel)(const CustomOp*, const Slot* api, const KernelInfo*);
  const char* (*get_name)(const CustomOp*);
  const char* (*get_execution_provider_type)(const CustomOp*);
  ElementType (*get_input_type)(const CustomOp*, size_t index);
  size_t (*get_input_type_count)(const CustomOp*);
  ElementType (*get_output_type)(const CustomOp*, size_t index);
  size_t (*get_output_type_count)(const CustomOp*);
  void (*kernel_compute)(void* kernel, KernelContext*);
  void (*kernel_destroy)(void* kernel);
  Characteristic (*get_input_characteristic)(const CustomOp*, size_t index);
  Characteristic (*get_output_characteristic)(const CustomOp*, size_t index);
  int (*get_input_memory_type)(const CustomOp*, size_t index);
  int (*get_variadic_input_min_arity)(const CustomOp*);
  int (*get_variadic_input_homogeneity)(const CustomOp*);
  int (*get_variadic_output_min_arity)(const CustomOp*);
  int (*get_variadic_output_homogeneity)(const CustomOp*);
  Status* (*create_kernel_v2)(const CustomOp*, const Slot* api, const KernelInfo*, void** kernel);
  Status* (*kernel_compute_v2)(void* kernel, KernelContext*);
  Slot infer_output_shape;
  int (*get_start_version)(const CustomOp*);
  int (*get_end_version)(const CustomOp*);
  size_t (*get_may_inplace)(int** inputs, int** outputs);
  void (*release_may_inplace)(int* inputs, int* outputs);
  Slot get_alias_map;
  Slot release_alias_map;
};

static_assert(offsetof(CustomOp, kernel_compute_v2) == 18 * sizeof(void*), "OrtCustomOp is a table of pointers");
static_assert(offsetof(CustomOp, get_may_inplace) == 22 * sizeof(void*), "OrtCustomOp is a table of pointers");

}  // namespace daq::ort
