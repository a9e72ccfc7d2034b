// ONNX Runtime's C ABI in C++ terms: tensors, attributes, threads, errors. Nothing else here calls the ABI.

#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "onnxruntime_abi.h"

namespace daq::ort {

// What is wrong with a node; becomes ONNX Runtime's status.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Shape = std::vector<int64_t>;

int64_t element_count(const Shape& shape);

void set_api(const Slot* api);
Status* make_status(ErrorCode code, const std::string& message);

// Attributes of a node, read while its kernel is created.
class Attributes {
 public:
  explicit Attributes(const KernelInfo* info) : info_(info) {}
  int64_t integer(const char* name) const;
  double real(const char* name) const;
  std::string string(const char* name) const;
  std::vector<int64_t> integers(const char* name) const;
  std::vector<float> floats(const char* name) const;

 private:
  const KernelInfo* info_;
};

template <class T>
struct Tensor {
  T* data;
  Shape shape;
  bool empty() const { return element_count(shape) == 0; }
};

// One run of a node.
class Context {
 public:
  explicit Context(KernelContext* context) : context_(context) {}

  size_t input_count() const;

  template <class T>
  Tensor<const T> input(size_t index) const {
    Shape shape;
    const void* data = input_data(index, shape);
    return {static_cast<const T*>(data), std::move(shape)};
  }

  template <class T>
  T* output(size_t index, const Shape& shape) const {
    return static_cast<T*>(output_data(index, shape));
  }

  // Calls work(0) .. work(count - 1) on the session's threads, and returns when all are done. Rethrows the first failure.
  void parallel(int64_t count, const std::function<void(int64_t)>& work) const;

 private:
  const void* input_data(size_t index, Shape& shape) const;
  void* output_data(size_t index, const Shape& shape) const;

  KernelContext* context_;
};


}  // namespace daq::ort
