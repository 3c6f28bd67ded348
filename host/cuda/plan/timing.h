#pragma once

#include <cstddef>
#include <functional>
#include <limits>

#include "../../run/precision.h"
#include "../runtime.h"

namespace filterscope::cuda {

/// Milliseconds of device time for what `launch` enqueues on `stream`, without the host's overhead: after a
/// warm-up, the median over replays of a graph of several launches. If the first launch takes longer than
/// `cutoff`, its time is returned at once.
double device_milliseconds(const Stream& stream, const std::function<void()>& launch,
                           double cutoff = std::numeric_limits<double>::infinity());

/// `count` values in [-1, 1) in the precision's storage type. They are random, since tensor cores draw less
/// power, and run faster, on zeros. They repeat with a prime period, so that images differ. Throws
/// OutOfMemory.
DeviceBuffer<std::byte> random_values(std::size_t count, Precision precision);
/// `count` bytes in which only the bits of `mask` are random, in the same way. Throws OutOfMemory.
DeviceBuffer<std::byte> random_bytes(std::size_t count, std::byte mask = std::byte{0xff});

}  // namespace filterscope::cuda
