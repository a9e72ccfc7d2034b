// Working memory that is kept between runs: a run takes a piece and gives it back, so that nothing is allocated once the
// largest picture was seen, and runs at the same time do not share.

#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

namespace daq {

template <class T>
class Pool {
 public:
  class Loan {
   public:
    Loan(Pool& pool, std::unique_ptr<T> item) : pool_(pool), item_(std::move(item)) {}
    ~Loan() { pool_.give_back(std::move(item_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    T& operator*() const { return *item_; }
    T* operator->() const { return item_.get(); }

   private:
    Pool& pool_;
    std::unique_ptr<T> item_;
  };

  Loan take() {
    return take([](const T&) { return false; });
  }

  // One of those that are preferred, where there is such a one.
  template <class Preferred>
  Loan take(const Preferred& preferred) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        const auto found = std::find_if(free_.begin(), free_.end(), [&](const auto& item) { return preferred(*item); });
        if (found != free_.end()) std::swap(*found, free_.back());
        std::unique_ptr<T> item = std::move(free_.back());
        free_.pop_back();
        return Loan(*this, std::move(item));
      }
    }
    return Loan(*this, std::make_unique<T>());
  }

 private:
  void give_back(std::unique_ptr<T> item) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(item));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> free_;
};

}  // namespace daq
