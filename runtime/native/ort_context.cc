#include "ort_context.h"

#include <exception>
#include <mutex>

namespace daq::ort {
namespace {

const Slot* g_api = nullptr;

template <class Function>
Function slot(int index) {
  return reinterpret_cast<Function>(g_api[index]);
}

void check(Status* status) {
  if (status == nullptr) return;
  const std::string message = slot<const char* (*)(const Status*)>(kGetErrorMessage)(status);
  slot<void (*)(Status*)>(kReleaseStatus)(status);
  throw Error(message);
}

struct ParallelWork {
  const std::function<void(int64_t)>* work;
  std::mutex mutex;
  std::exception_ptr failure;
};

void run_one(void* data, size_t index) {
  auto& shared = *static_cast<ParallelWork*>(data);
  try {
    (*shared.work)(static_cast<int64_t>(index));
  } catch (...) {  // an exception must not leave through ONNX Runtime's thread pool
    const std::lock_guard<std::mutex> lock(shared.mutex);
    if (!shared.failure) shared.failure = std::current_exception();
  }
}

}  // namespace

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

void set_api(const Slot* api) { g_api = api; }

Status* make_status(ErrorCode code, const std::string& message) {
  return slot<Status* (*)(ErrorCode, const char*)>(kCreateStatus)(code, message.c_str());
}

int64_t Attributes::integer(const char* name) const {
  int64_t value = 0;
  check(slot<Status* (*)(const KernelInfo*, const char*, int64_t*)>(kKernelInfoGetAttributeInt64)(info_, name, &value));
  return value;
}

double Attributes::real(const char* name) const {
  float value = 0;
  check(slot<Status* (*)(const KernelInfo*, const char*, float*)>(kKernelInfoGetAttributeFloat)(info_, name, &value));
  return value;
}

std::string Attributes::string(const char* name) const {
  const auto get = slot<Status* (*)(const KernelInfo*, const char*, char*, size_t*)>(kKernelInfoGetAttributeString);
  size_t size = 0;
  check(get(info_, name, nullptr, &size));
  std::string value(size, '\0');
  check(get(info_, name, value.data(), &size));
  value.resize(size > 0 ? size - 1 : 0);  // the size counts the closing zero
  return value;
}

std::vector<int64_t> Attributes::integers(const char* name) const {
  const auto get = slot<Status* (*)(const KernelInfo*, const char*, int64_t*, size_t*)>(kKernelInfoGetAttributeArrayInt64);
  size_t size = 0;
  check(get(info_, name, nullptr, &size));
  std::vector<int64_t> values(size);
  check(get(info_, name, values.data(), &size));
  return values;
}

std::vector<float> Attributes::floats(const char* name) const {
  const auto get = slot<Status* (*)(const KernelInfo*, const char*, float*, size_t*)>(kKernelInfoGetAttributeArrayFloat);
  size_t size = 0;
  check(get(info_, name, nullptr, &size));
  std::vector<float> values(size);
  check(get(info_, name, values.data(), &size));
  return values;
}

size_t Context::input_count() const {
  size_t count = 0;
  check(slot<Status* (*)(const KernelContext*, size_t*)>(kKernelContextGetInputCount)(context_, &count));
  return count;
}

const void* Context::input_data(size_t index, Shape& shape) const {
  const Value* value = nullptr;
  check(slot<Status* (*)(const KernelContext*, size_t, const Value**)>(kKernelContextGetInput)(context_, index, &value));
  TensorInfo* info = nullptr;
  check(slot<Status* (*)(const Value*, TensorInfo**)>(kGetTensorTypeAndShape)(value, &info));
  size_t rank = 0;
  Status* status = slot<Status* (*)(const TensorInfo*, size_t*)>(kGetDimensionsCount)(info, &rank);
  if (status == nullptr) {
    shape.resize(rank);
    status = slot<Status* (*)(const TensorInfo*, int64_t*, size_t)>(kGetDimensions)(info, shape.data(), rank);
  }
  slot<void (*)(TensorInfo*)>(kReleaseTensorTypeAndShapeInfo)(info);
  check(status);
  void* data = nullptr;
  check(slot<Status* (*)(Value*, void**)>(kGetTensorMutableData)(const_cast<Value*>(value), &data));
  return data;
}

void* Context::output_data(size_t index, const Shape& shape) const {
  Value* value = nullptr;
  check(slot<Status* (*)(KernelContext*, size_t, const int64_t*, size_t, Value**)>(kKernelContextGetOutput)(
      context_, index, shape.data(), shape.size(), &value));
  void* data = nullptr;
  check(slot<Status* (*)(Value*, void**)>(kGetTensorMutableData)(value, &data));
  return data;
}

void Context::parallel(int64_t count, const std::function<void(int64_t)>& work) const {
  if (count <= 0) return;
  if (count == 1) return work(0);
  ParallelWork shared{&work, {}, nullptr};
  using Run = Status* (*)(const KernelContext*, void (*)(void*, size_t), size_t, size_t, void*);
  check(slot<Run>(kKernelContextParallelFor)(context_, run_one, static_cast<size_t>(count), 0, &shared));
  if (shared.failure) std::rethrow_exception(shared.failure);
}

}  // namespace daq::ort
