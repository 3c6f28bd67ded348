#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../output/files.h"
#include "host/store/run_writer.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {

using nlohmann::json;

inline constexpr Extent kExtent{20, 24};

/// A made-up result with values that only this filter has.
inline FilterResult result_of(FilterId id, bool with_image = false, int frame_every = 0) {
  FilterResult result;
  result.id = id;
  const int key = id.layer * 600 + id.filter;
  result.iterations = 4;
  result.first_loss = static_cast<float>(key) / 8;
  result.final_loss = result.first_loss + 1;
  result.gradient_norm = 0.5f;
  result.trace = {{2, static_cast<float>(key) / 3}, {4, static_cast<float>(key)}};
  for (std::int64_t i = 0; i < kExtent.positions() * 3; ++i) {
    result.picture.push_back(static_cast<std::uint8_t>(key * 31 + i));
    if (with_image) result.image.push_back(static_cast<float>(key) + static_cast<float>(i) / 1024);
  }
  result.frame_every = frame_every;
  if (frame_every > 0) {
    const int count = frame_count(result.iterations, frame_every);
    for (int frame = 1; frame < count; ++frame)
      result.frames.emplace_back(result.picture.size(), static_cast<std::uint8_t>(key + frame));
    result.frames.push_back(result.picture);
  }
  return result;
}

class RunWriterTest : public testing::Test {
 protected:
  RunWriterTest() {
    options_.seed = 5;
    weights_.name = "synthetic:0";
    recipe_.stages.front().extent = kExtent;
    recipe_.stages.front().iterations = 4;
  }

  RunWriter writer(std::vector<FilterId> selection, const std::filesystem::path& folder) const {
    Manifest run = describe_run(vgg16(), weights_, recipe_, options_, engine_);
    run.command_lines = {"filterscope render"};
    return {folder,
            std::move(run),
            std::move(selection),
            {.keep_images = options_.keep_images,
             .frame_every = options_.frame_every,
             .force = force_,
             .processors_free = processors_free_}};
  }
  RunWriter writer(std::vector<FilterId> selection) const { return writer(std::move(selection), out_); }

  /// Makes a whole run. Returns the filters that it had to render.
  std::vector<FilterId> render(std::vector<FilterId> selection, const std::filesystem::path& folder) const {
    RunWriter run = writer(std::move(selection), folder);
    for (const FilterId id : run.remaining())
      run.add(result_of(id, options_.keep_images, options_.frame_every), engine_);
    run.finish(kSeconds);
    EXPECT_EQ(run.counts().missing, 0);
    return run.remaining();
  }
  std::vector<FilterId> render(std::vector<FilterId> selection) const {
    return render(std::move(selection), out_);
  }
  /// Like a run that is killed once these are in the journal.
  void render_and_die(const std::vector<FilterId>& selection, const std::vector<FilterId>& finished) const {
    RunWriter run = writer(selection);
    for (const FilterId id : finished)
      run.add(result_of(id, options_.keep_images, options_.frame_every), engine_);
    wait_for([&] { return filters_in_journal() == std::ssize(finished); });
  }
  std::ptrdiff_t filters_in_journal() const {
    std::istringstream lines(read_text(out_ / "journal.jsonl"));
    std::ptrdiff_t count = 0;
    for (std::string line; std::getline(lines, line);) count += line.starts_with("{\"filter\"") ? 1 : 0;
    return count;
  }
  static void wait_for(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(condition());
  }
  /// Expects that out_ equals the folder of one uninterrupted run, except for times.
  void expect_as_uninterrupted(const std::vector<FilterId>& selection) const {
    const std::filesystem::path reference = folder_ / "reference";
    std::filesystem::remove_all(reference);
    render(selection, reference);
    const std::vector<std::string> files = files_below(reference);
    ASSERT_EQ(files_below(out_), files);
    for (const std::string& file : files) {
      if (file == "manifest.json") continue;
      EXPECT_EQ(read_text(out_ / file), read_text(reference / file)) << file;
    }
    EXPECT_EQ(without_times(out_), without_times(reference));
  }
  static json without_times(const std::filesystem::path& folder) {
    json manifest = json::parse(read_text(folder / "manifest.json"));
    for (const char* time : {"started", "wall_seconds", "phases", "filters_per_second"}) manifest.erase(time);
    return manifest;
  }

  json manifest() const { return json::parse(read_text(out_ / "manifest.json")); }
  std::vector<std::string> statuses() const {
    std::vector<std::string> all;
    const json all_of_run = manifest();
    for (const json& record : all_of_run["filters"]) all.push_back(record["status"]);
    return all;
  }

  const TemporaryFolder folder_;
  const std::filesystem::path out_ = folder_ / "deep" / "out";
  RenderOptions options_;
  Weights weights_;
  Recipe recipe_ = find_recipe("seed");
  EngineDescription engine_{.device = "cpu",
                            .device_name = "Some CPU",
                            .precision = Precision::fp32,
                            .threads = 2,
                            .libraries = {{"CUDA", "13.0.88"}},
                            .plans = {"a plan"}};
  bool force_ = false;
  bool processors_free_ = false;
  static constexpr double kSeconds = 2;
  const std::vector<FilterId> selection_{{0, 3}, {0, 63}, {8, 0}, {8, 1}, {8, 511}};
};

}  // namespace filterscope
