#include "device.h"

namespace filterscope::test {

#if defined(FILTERSCOPE_EMULATED)

std::vector<std::string> thread_orders() {
  return {"ascending", "descending", "shuffled"};
}
void DeviceTest::SetUp() {
  emulation::set_order(GetParam() == "ascending"    ? emulation::Order::ascending
                       : GetParam() == "descending" ? emulation::Order::descending
                                                    : emulation::Order::shuffled);
}
void DeviceTest::TearDown() {
  emulation::set_order(emulation::Order::ascending);
}

#else

std::vector<std::string> thread_orders() {
  return {"real"};
}
void DeviceTest::SetUp() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    cudaGetLastError();
    GTEST_SKIP() << "no CUDA device; the emulated tests run the same bodies";
  }
}
void DeviceTest::TearDown() {}

#endif

}  // namespace filterscope::test
