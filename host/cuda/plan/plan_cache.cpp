#include "plan_cache.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <utility>

#include "../../base/atomic_file.h"
#include "../../base/error.h"
#include "../../base/text.h"

namespace filterscope::cuda {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "filterscope CUDA plans 3";
// Larger than any run writes; larger files are not read.
constexpr std::streamoff kLargestFile = 16 << 20;

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

bool is_time(const json& value) {
  return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() >= 0;
}

bool is_entry(const json& value) {
  return value.is_object() && value.contains("plan") && value["plan"].is_string() &&
         is_time(value.value("milliseconds", json())) && is_time(value.value("setup_seconds", json()));
}

}  // namespace

PlanCache::PlanCache(std::filesystem::path folder, Environment environment,
                     std::function<void(const std::string&)> warn)
    : environment_(std::move(environment)), warn_(std::move(warn)) {
  if (folder.empty()) return;
  path_ =
      folder / fmt::format("cuda-plans-{:016x}.json",
                           fnv1a(json(environment_).dump(-1, ' ', false, json::error_handler_t::replace)));
  entries_ = read();
}

PlanCache::Entries PlanCache::read() const {
  // Reading a pipe or a device of that name would block.
  std::error_code error;
  if (!std::filesystem::is_regular_file(path_, error)) return {};
  std::ifstream file(path_, std::ios::binary);
  // Taken from the open file, since another process may replace it meanwhile.
  file.seekg(0, std::ios::end);
  const std::streamoff size = file.tellg();
  if (size < 0 || size > kLargestFile) return {};
  std::string text(static_cast<std::size_t>(size), '\0');
  file.seekg(0);
  file.read(text.data(), size);
  text.resize(static_cast<std::size_t>(file.gcount()));
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || document.value("format", json()) != kFormat ||
      document.value("environment", json()) != json(environment_)) {
    return {};
  }
  Entries entries;
  const json plans = document.value("plans", json());
  if (!plans.is_object()) return {};
  for (const auto& [problem, value] : plans.items()) {
    if (is_entry(value))
      entries[problem] = {value["plan"].get<std::string>(), value["milliseconds"].get<double>(),
                          value["setup_seconds"].get<double>()};
  }
  return entries;
}

const PlanCache::Entry* PlanCache::find(const std::string& problem) const {
  const auto found = entries_.find(problem);
  return found == entries_.end() ? nullptr : &found->second;
}

void PlanCache::store(const std::string& problem, Entry entry) {
  unsaved_[problem] = entry;
  entries_[problem] = std::move(entry);
}

void PlanCache::save() {
  if (path_.empty() || unsaved_.empty()) return;
  Entries merged = read();
  for (const auto& [problem, entry] : unsaved_) merged[problem] = entry;
  json plans = json::object();
  for (const auto& [problem, entry] : merged) {
    plans[problem] = {
        {"plan", entry.plan}, {"milliseconds", entry.milliseconds}, {"setup_seconds", entry.setup_seconds}};
  }
  const json document{{"format", kFormat}, {"environment", environment_}, {"plans", std::move(plans)}};
  unsaved_.clear();
  try {
    create_folder(path_.parent_path(), "$XDG_CACHE_HOME");
    write_file(path_, document.dump(1, ' ', false, json::error_handler_t::replace) + "\n", "$XDG_CACHE_HOME");
  } catch (const Error& error) {
    if (!warned_) warn_(fmt::format("timings are not kept for the next run: {}", error.what()));
    warned_ = true;
  }
}

std::string PlanCache::describe() const {
  if (path_.empty()) return "not kept: neither $XDG_CACHE_HOME nor $HOME is set";
  std::error_code error;
  if (!std::filesystem::exists(path_, error)) return path_.string() + ": none yet";
  if (entries_.empty()) return path_.string() + ": cannot be used, the next run replaces it";
  return fmt::format("{}: {} of this device with these libraries", path_.string(),
                     counted(static_cast<std::int64_t>(entries_.size()), "timing"));
}

void PlanCache::warn_on_stderr(const std::string& message) {
  std::fprintf(stderr, "filterscope: %s\n", message.c_str());
}

std::filesystem::path cache_folder() {
  // The XDG base directory specification: paths that are not absolute count as unset.
  for (const auto& [variable, below] : {std::pair{"XDG_CACHE_HOME", ""}, std::pair{"HOME", ".cache"}}) {
    const char* const value = std::getenv(variable);
    const std::filesystem::path path = value != nullptr ? value : "";
    if (path.is_absolute()) return path / below / "filterscope";
  }
  return {};
}

}  // namespace filterscope::cuda
