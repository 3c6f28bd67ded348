#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <span>

#include "../engine.h"
#include "runtime.h"

namespace filterscope::cuda {

/// Milliseconds that the device takes for what `launch` enqueues on `stream`, without the host's share: after
/// a warm-up, the median over replays of a graph of several launches. If a first launch takes longer than
/// `hopeless`, that is returned at once.
double device_milliseconds(const Stream& stream, const std::function<void()>& launch,
                           double hopeless = std::numeric_limits<double>::infinity());

/// `bytes` bytes, `sequence` over and over. Throws OutOfMemory.
DeviceBuffer<std::byte> repeated(std::span<const std::byte> sequence, std::size_t bytes);

/// `count` values in [-1, 1) in the precision's storage type. Random, since tensor cores draw less power, and
/// run faster, on zeros. Throws OutOfMemory.
DeviceBuffer<std::byte> random_values(std::size_t count, Precision precision);

}  // namespace filterscope::cuda
