// How NCCL is opened, c10d's backend for tensors that lie on GPUs. A build without CUDA's headers has
// the same functions, which say that it is one.

#include "collective.h"

using namespace collective;

#ifdef USE_C10D_NCCL

#include <array>
#include <cstdio>
#include <string>

#include <ATen/cuda/CUDAContextLight.h>
#include <c10/util/env.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace {

using Nccl = c10d::ProcessGroupNCCL;

// c10d and NCCL read these when a backend is opened; what the user has set stays.
constexpr std::array<std::array<const char*, 2>, 3> kSettings{{
    // No thread of c10d's that ends the program when a process is lost or slow: the caller looks
    // after the others by itself and tells who is lost.
    {"TORCH_NCCL_BLOCKING_WAIT", "1"},
    // Its record of past operations points into those that such a thread keeps.
    {"TORCH_FR_BUFFER_SIZE", "0"},
    // All connections are made while the backend connects, none in the midst of an operation, where
    // whoever waits for a lost process could not be told.
    {"NCCL_RUNTIME_CONNECT", "0"},
}};

} // namespace

extern "C" {

// What tells a GPU from all others, on whatever machine: its UUID. The caller frees it.
char* collective_gpu_id(int device, char** id) {
  return told([&] {
    TORCH_CHECK(device >= 0 && device < at::cuda::getNumGPUs(), "there is no cuda:", device);
    const auto& uuid = at::cuda::getDeviceProperties(static_cast<c10::DeviceIndex>(device))->uuid;
    std::string digits;
    for (const char byte : uuid.bytes) {
      char pair[3];
      std::snprintf(pair, sizeof pair, "%02x", static_cast<unsigned char>(byte));
      digits += pair;
    }
    *id = copied(digits.c_str());
  });
}

// A backend that is not connected with any other yet.
char* collective_nccl_open(collective_store* store, int rank, int size, collective_backend** opened) {
  return told([&] {
    for (const auto& [name, value] : kSettings) {
      c10::utils::set_env(name, value, /*overwrite=*/false);
    }
    auto options = Nccl::Options::create();
    options->timeout = kPatient;
    auto own = c10::make_intrusive<c10d::PrefixStore>("nccl", store->store);
    *opened = new collective_backend{c10::make_intrusive<Nccl>(own, rank, size, options)};
  });
}

// Connects the GPU with those of all others, and waits for them for as long as it takes.
char* collective_nccl_connect(collective_backend* backend, int device) {
  return told([&] {
    const at::Device gpu(at::kCUDA, static_cast<c10::DeviceIndex>(device));
    backend->backend->eagerConnectSingleDevice(gpu);
  });
}

} // extern "C"

#else

extern "C" {

char* collective_gpu_id(int, char**) {
  return copied("this program was built without NCCL");
}

char* collective_nccl_open(collective_store*, int, int, collective_backend**) {
  return copied("this program was built without NCCL");
}

char* collective_nccl_connect(collective_backend*, int) {
  return copied("this program was built without NCCL");
}

} // extern "C"

#endif
