// What the files of the shim share: what their handles hold, and how they tell what went wrong.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

struct collective_store {
  c10::intrusive_ptr<c10d::Store> store;
};

struct collective_backend {
  c10::intrusive_ptr<c10d::Backend> backend;
};

// An operation under way, with the tensors that it reads and writes.
struct collective_running {
  c10::intrusive_ptr<c10d::Work> work;
  std::vector<at::Tensor> tensors;
};

namespace collective {

using std::chrono::milliseconds;

// Whoever lives is waited for: the caller knows who does, and stops waiting by itself.
constexpr milliseconds kPatient = std::chrono::hours(24 * 7);

inline char* copied(const char* words) noexcept {
  char* copy = strdup(words);
  if (copy == nullptr) {
    std::abort(); // without memory for a line nothing can be told any more
  }
  return copy;
}

template <typename Action>
char* told(Action action) noexcept {
  try {
    action();
    return nullptr;
  } catch (const c10::Error& error) {
    return copied(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return copied(error.what());
  } catch (...) {
    return copied("an exception without words");
  }
}

} // namespace collective
