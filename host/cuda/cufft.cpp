#include "cufft.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

#include "../base/error.h"

namespace filterscope::cuda {

namespace {

// CUDA 12 has cuFFT 11, and CUDA 13 cuFFT 12.
constexpr int kMajor = CUDART_VERSION / 1000 - 1;

struct Loaded {
  CufftFunctions functions{};
  std::string failure;  // Empty: all of them are there.
};

void* open(std::string& failure) {
  // First the library of the toolkit that the program was built with, in case this is the build machine.
  for (const std::string& path :
       {std::string(FILTERSCOPE_CUFFT_LIBRARY), fmt::format("libcufft.so.{}", kMajor)}) {
    if (path.empty()) continue;
    if (void* const library = dlopen(path.c_str(), RTLD_NOW)) return library;
    failure = dlerror();
  }
  return nullptr;
}

Loaded load() {
  Loaded loaded;
  void* const library = open(loaded.failure);
  if (library == nullptr) return loaded;
  loaded.failure.clear();
  const auto find = [&]<class Function>(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(dlsym(library, name));
    if (function == nullptr) loaded.failure = dlerror();
  };
  CufftFunctions& functions = loaded.functions;
  find(functions.create, "cufftCreate");
  find(functions.destroy, "cufftDestroy");
  find(functions.set_auto_allocation, "cufftSetAutoAllocation");
  find(functions.make_plan_many, "cufftMakePlanMany");
  find(functions.set_work_area, "cufftSetWorkArea");
  find(functions.set_stream, "cufftSetStream");
  find(functions.execute_real_to_complex, "cufftExecR2C");
  find(functions.execute_complex_to_real, "cufftExecC2R");
  find(functions.get_version, "cufftGetVersion");
  return loaded;
}

}  // namespace

const CufftFunctions& cufft() {
  static const Loaded loaded = load();
  if (loaded.failure.empty()) return loaded.functions;
  throw Error(
      ErrorKind::device,
      fmt::format("cuFFT {} cannot be loaded ({}), which recipes with Fourier parameters need; install "
                  "it (libcufft of the CUDA Toolkit {}, or pip's nvidia-cufft), or add its folder to "
                  "LD_LIBRARY_PATH",
                  kMajor, loaded.failure, CUDART_VERSION / 1000));
}

}  // namespace filterscope::cuda
