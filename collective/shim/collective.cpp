// A C face of libtorch's c10d: its store over TCP, its Gloo backend, and the collective operations of
// whatever backend is open (NCCL's is opened in nccl.cpp).
//
// Every function answers null, or what went wrong as words that the caller hands to
// `collective_free`; no exception leaves this file. Tensors are pointers to `at::Tensor`, as tch has
// them.

#include "collective.h"

#include <thread>

#include <ATen/Version.h>
#include <c10/core/DeviceGuard.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/version.h>

using namespace collective;

namespace {

using Gloo = c10d::ProcessGroupGloo;

// How often it is looked whether a GPU has done an operation.
constexpr std::chrono::microseconds kGlance(50);

// Waits on the CPU until a GPU has done an operation, for a while; what is computed afterwards on the
// current stream sees its results. c10d's own wait would leave a lost process unnoticed without a
// time limit, and abort the operation with one.
bool done_on_gpu(c10d::Work& work, at::Device gpu, milliseconds at_most) {
  // Without it the question would open the first GPU too, for which there may be another process.
  const c10::DeviceGuard guard(gpu);
  const auto deadline = std::chrono::steady_clock::now() + at_most;
  while (!work.isCompleted()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(kGlance);
  }
  if (const auto failure = work.exception()) {
    std::rethrow_exception(failure);
  }
  work.synchronize();
  return true;
}

} // namespace

extern "C" {

void collective_free(void* memory) {
  std::free(memory);
}

// The version of libtorch whose headers these lines were compiled with, and what the loaded one says
// of itself.
char* collective_versions(char** compiled, char** loaded) {
  return told([&] {
    *compiled = copied(TORCH_VERSION);
    *loaded = copied(at::show_config().c_str());
  });
}

// Connects to the store at host and port, and serves it before where `serves`. What c10d writes to
// standard error is what TORCH_CPP_LOG_LEVEL asks for, which libtorch reads for Python alone.
char* collective_store_open(
    const char* host, uint16_t port, bool serves, int64_t timeout_ms, collective_store** opened) {
  return told([&] {
    c10::initLogging();
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = milliseconds(timeout_ms);
    *opened = new collective_store{c10::make_intrusive<c10d::TCPStore>(host, options)};
  });
}

void collective_store_close(collective_store* store) {
  char* words = told([&] { delete store; });
  std::free(words);
}

char* collective_store_set(
    collective_store* store, const char* key, const uint8_t* bytes, size_t count) {
  return told([&] { store->store->set(key, std::vector<uint8_t>(bytes, bytes + count)); });
}

char* collective_store_has(collective_store* store, const char* key, bool* has) {
  return told([&] { *has = store->store->check({key}); });
}

// Bytes that the caller frees.
char* collective_store_get(
    collective_store* store, const char* key, uint8_t** bytes, size_t* count) {
  return told([&] {
    const auto value = store->store->get(key);
    auto* copy = static_cast<uint8_t*>(std::malloc(value.size() + 1));
    TORCH_CHECK(copy != nullptr, "no memory for ", value.size(), " bytes");
    std::copy(value.begin(), value.end(), copy);
    *bytes = copy;
    *count = value.size();
  });
}

char* collective_store_add(collective_store* store, const char* key, int64_t more, int64_t* sum) {
  return told([&] { *sum = store->store->add(key, more); });
}

// Joins the others; `address` is the one of this machine that they reach it by.
char* collective_backend_open(
    collective_store* store,
    int rank,
    int size,
    const char* address,
    int64_t timeout_ms,
    collective_backend** opened) {
  return told([&] {
    auto options = Gloo::Options::create(milliseconds(timeout_ms));
    options->devices.push_back(Gloo::createDeviceForHostname(address));
    *opened =
        new collective_backend{c10::make_intrusive<Gloo>(store->store, rank, size, options)};
  });
}

// Waits for what is under way; whoever is lost keeps it waiting.
char* collective_backend_shut_down(collective_backend* backend) {
  return told([&] { backend->backend->shutdown(); });
}

// Ends what is under way on a GPU.
char* collective_backend_abort(collective_backend* backend) {
  return told([&] { backend->backend->abort(); });
}

void collective_backend_close(collective_backend* backend) {
  char* words = told([&] { delete backend; });
  std::free(words);
}

// The sum over all processes, in place.
char* collective_all_reduce(
    collective_backend* backend, at::Tensor* tensor, collective_running** running) {
  return told([&] {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::AllreduceOptions options;
    options.timeout = kPatient;
    auto work = backend->backend->allreduce(tensors, options);
    *running = new collective_running{work, tensors};
  });
}

// What `root` has, in place.
char* collective_broadcast(
    collective_backend* backend, at::Tensor* tensor, int root, collective_running** running) {
  return told([&] {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    options.timeout = kPatient;
    auto work = backend->backend->broadcast(tensors, options);
    *running = new collective_running{work, tensors};
  });
}

// The rows of all processes, which have equally many, in the order of the processes.
char* collective_all_gather(
    collective_backend* backend,
    at::Tensor* own,
    at::Tensor* all,
    collective_running** running) {
  return told([&] {
    at::Tensor input = *own, output = *all;
    c10d::AllgatherOptions options;
    options.timeout = kPatient;
    auto work = backend->backend->_allgather_base(output, input, options);
    *running = new collective_running{work, {input, output}};
  });
}

// Waits for an operation for a while; `done` says whether it has ended well.
char* collective_wait(collective_running* running, int64_t timeout_ms, bool* done) {
  return told([&] {
    const at::Device device = running->tensors.front().device();
    if (device.is_cuda()) {
      *done = done_on_gpu(*running->work, device, milliseconds(timeout_ms));
      return;
    }
    try {
      *done = running->work->wait(milliseconds(timeout_ms));
    } catch (const std::exception&) {
      *done = false;
      // Work::wait throws alike for what failed and for what is still under way.
      if (running->work->isCompleted()) {
        throw;
      }
    }
  });
}

void collective_running_close(collective_running* running) {
  char* words = told([&] { delete running; });
  std::free(words);
}

} // extern "C"
