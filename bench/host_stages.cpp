// Times the CPU's work before a GPU's first iteration and after its last one: reading, checking and
// rearranging weights; making and writing pictures, sheets, records and the page. Nothing is rendered: the
// results are synthetic, noise with waves, whose pictures compress as badly as real ones. bench/README.md
// explains the output.

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cxxopts.hpp>
#include <exception>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "host/base/atomic_file.h"
#include "host/base/error.h"
#include "host/base/sha256.h"
#include "host/gallery/curves.h"
#include "host/gallery/gallery.h"
#include "host/gallery/page.h"
#include "host/gallery/pictures.h"
#include "host/gallery/poster.h"
#include "host/model/weights/weights.h"
#include "host/output/png.h"
#include "host/store/file_names.h"
#include "host/store/journal.h"
#include "host/store/run_writer.h"
#include "host/store/sheet.h"
#include "host/store/stored_run.h"
#include "kernels/common/philox.h"
#include "tests/support/temporary_folder.h"

namespace {

using namespace filterscope;
namespace fs = std::filesystem;

struct Options {
  std::string weights;
  int filters;
  int size;
  int batches;
  fs::path out;
};

/// The CPU time of this process and of the children that it has waited for.
double processor_seconds() {
  double seconds = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    getrusage(who, &usage);
    for (const timeval& time : {usage.ru_utime, usage.ru_stime})
      seconds += static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  }
  return seconds;
}

/// The times of stages, printed as they are measured.
class Report {
 public:
  void heading(const std::string& text) {
    fmt::print("{}{:<44} {:>12} {:>12}\n", stages_.empty() ? "" : "\n", text, "processor s", "wall s");
    section_ = text;
  }
  template <typename Action>
  void stage(const std::string& name, Action&& action) {
    const double before = processor_seconds();
    const auto start = std::chrono::steady_clock::now();
    action();
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    add(name, processor_seconds() - before, wall.count());
  }
  void add(const std::string& name, double processor, double wall) {
    fmt::print("  {:<42} {:>12.3f} {:>12.3f}\n", name, processor, wall);
    std::fflush(stdout);
    stages_.push_back(
        {{"section", section_}, {"stage", name}, {"processor_seconds", processor}, {"wall_seconds", wall}});
  }
  void note(const std::string& text) const { fmt::print("  {}\n", text); }
  nlohmann::ordered_json json() const { return stages_; }

 private:
  std::string section_;
  nlohmann::ordered_json stages_ = nlohmann::ordered_json::array();
};

/// A result as of an ascent: uniform noise with some waves, scaled from minimum to maximum.
FilterResult result_of(FilterId id, Extent extent, int iterations) {
  constexpr int kWaves = 6;
  FilterResult result;
  result.id = id;
  result.iterations = iterations;
  std::uint32_t index = 0;
  Philox::Counter block{};
  const auto random = [&] {
    if (index % 4 == 0)
      block = random_block(1, RandomStream::initial_image, static_cast<std::uint32_t>(id.layer),
                           static_cast<std::uint32_t>(id.filter), index / 4);
    return to_unit_float(block[index++ % 4]);
  };
  std::vector<float> image(static_cast<std::size_t>(extent.positions()) * 3);
  for (float& value : image) value = random();
  for (int wave = 0; wave < kWaves; ++wave) {
    const float along_x = (random() - .5f) * 1.5f;
    const float along_y = (random() - .5f) * 1.5f;
    const float colours[] = {random() - .5f, random() - .5f, random() - .5f};
    for (int y = 0; y < extent.height; ++y)
      for (int x = 0; x < extent.width; ++x) {
        const float value = std::sin(along_x * static_cast<float>(x) + along_y * static_cast<float>(y));
        for (int c = 0; c < 3; ++c)
          image[static_cast<std::size_t>((y * extent.width + x) * 3 + c)] += .7f * colours[c] * value;
      }
  }
  const auto [low, high] = std::ranges::minmax(image);
  for (const float value : image)
    result.picture.push_back(static_cast<std::uint8_t>(255 * (value - low) / (high - low)));
  const float gain = 5 + 40 * random();
  const auto loss = [&](int steps) {
    return .3f + gain * std::sqrt(static_cast<float>(steps) / static_cast<float>(iterations)) +
           .01f * random();
  };
  result.first_loss = loss(0);
  const int every = std::max(iterations / 50, 1);
  for (int iteration = every; iteration <= iterations; iteration += every)
    result.trace.push_back({iteration, loss(iteration - 1)});
  result.final_loss = loss(iterations);
  result.gradient_norm = gain / 100;
  return result;
}

class Run {
 public:
  explicit Run(const Options& options) : options_(options), network_(vgg16()) {
    for (int layer = 0; layer < network_.layer_count(); ++layer)
      for (int i = 0; i < filters_of(layer); ++i) selection_.push_back({layer, i});
    recipe_.stages[0].extent = {options.size, options.size};
    for (const FilterId id : selection_) results_.push_back(result_of(id, extent(), recipe_.iterations()));
  }

  const std::vector<FilterResult>& results() const { return results_; }
  const Network& network() const { return network_; }
  Extent extent() const { return recipe_.picture_extent(); }
  const EngineDescription& engine() const { return engine_; }

  Manifest manifest() const {
    Weights weights;
    weights.name = "synthetic results";
    Manifest run = describe_run(network_, weights, recipe_, render_, engine_);
    run.command_lines = {"bench_host_stages"};
    return run;
  }
  std::vector<FilterId> selection() const { return selection_; }

  /// The results of batch `batch`: each has about the same share of every layer, deep layers first, as on a
  /// GPU.
  std::vector<FilterResult> batch(int batch) const {
    std::vector<FilterResult> part;
    for (const FilterResult& result : results_) {
      const int share = (filters_of(result.id.layer) + options_.batches - 1) / options_.batches;
      if (result.id.filter / share == batch) part.push_back(result);
    }
    std::ranges::stable_sort(part, std::ranges::greater{},
                             [](const FilterResult& one) { return one.id.layer; });
    return part;
  }

 private:
  int filters_of(int layer) const {
    return std::min(options_.filters, network_.convolutions[static_cast<std::size_t>(layer)].out_channels);
  }

  const Options& options_;
  const Network& network_;
  std::vector<FilterId> selection_;
  std::vector<FilterResult> results_;
  RenderOptions render_;
  Recipe recipe_ = find_recipe("seed");
  const EngineDescription engine_{.device = "cuda:0",
                                  .device_name = "none",
                                  .precision = Precision::fp16,
                                  .threads = 0,
                                  .libraries = {{"CUDA", "13.0"}, {"cuDNN", "9.19"}},
                                  .plans = {std::string(600, 'p')}};
};

void measure_start(const Options& options, Report& report) {
  report.heading("Start");
  if (!options.weights.starts_with("synthetic"))
    report.stage("SHA-256 of the weights alone", [&] { sha256_of_file(options.weights); });
  report.stage("weights: all of it", [&] { resolve_weights(options.weights, vgg16()); });
}

/// Times each stage after the ascent separately, on one thread unless the stage itself uses more.
void measure_stages(const Run& run, const fs::path& folder, Report& report) {
  const std::vector<FilterResult>& results = run.results();
  const Network& network = run.network();
  report.heading(fmt::format("Stages, {} filters, one after another", results.size()));
  std::vector<std::vector<std::uint8_t>> files;
  report.stage("pictures: encode", [&] {
    for (const FilterResult& result : results) files.push_back(encode_png(result.picture, run.extent()));
  });
  std::size_t bytes = 0;
  for (const auto& file : files) bytes += file.size();
  for (int layer = 0; layer < network.layer_count(); ++layer)
    create_folder(folder / layer_folder(network, layer));
  report.stage("pictures: write", [&] {
    for (std::size_t i = 0; i < files.size(); ++i)
      write_file(folder / picture_file(network, results[i].id), files[i]);
  });
  Manifest manifest = run.manifest();
  {
    Journal journal(folder / kJournalFile);
    report.stage("journal", [&] {
      for (const FilterResult& result : results) {
        const FilterRecord record{.id = result.id,
                                  .status = result.status,
                                  .iterations = result.iterations,
                                  .first_loss = result.first_loss,
                                  .final_loss = result.final_loss,
                                  .last_gradient_norm = result.gradient_norm,
                                  .file = picture_file(network, result.id)};
        journal.append(journal_line(record, result.trace, std::nullopt, 1, manifest));
        manifest.filters.push_back(record);
      }
    });
    journal.clear();
  }
  std::vector<RgbImage> sheets;
  report.stage("sheets: draw", [&] {
    for (int layer = 0; layer < network.layer_count(); ++layer) {
      std::vector<SheetTile> tiles;
      for (const FilterResult& result : results)
        if (result.id.layer == layer)
          tiles.push_back({result.id.filter, result.status, scale_tile(result.picture, run.extent())});
      sheets.push_back(draw_sheet({"synthetic results", "", false}, tiles, tile_extent(run.extent())));
    }
  });
  std::size_t sheet_bytes = 0;
  report.stage("sheets: encode", [&] {
    for (const RgbImage& sheet : sheets) sheet_bytes += encode_png(sheet.pixels, sheet.extent).size();
  });
  report.stage("the largest sheet: encode", [&] { encode_png(sheets.back().pixels, sheets.back().extent); });
  report.stage("manifest", [&] { write_file(folder / kManifestFile, to_json(manifest)); });
  report.note(fmt::format("pictures take {:.1f} MB, sheets {:.1f} MB", 1e-6 * double(bytes),
                          1e-6 * double(sheet_bytes)));
}

/// Times the same work as a run does it.
void measure_run(const Options& options, const Run& run, const fs::path& folder, Report& report) {
  report.heading(fmt::format("A run, {} batches", options.batches));
  std::optional<RunWriter> writer;
  report.stage("begin", [&] {
    writer.emplace(folder, run.manifest(), run.selection(), RunWriter::Options{.processors_free = true});
  });
  const auto hand_over = [&](std::vector<FilterResult> results) {
    for (FilterResult& result : results) writer->add(std::move(result), run.engine());
  };
  std::size_t lines = 0;
  const auto written = [&] {  // One line for the engine and one per filter.
    std::ifstream journal(folder / kJournalFile);
    return static_cast<std::size_t>(
        std::count(std::istreambuf_iterator<char>(journal), std::istreambuf_iterator<char>(), '\n'));
  };
  for (int batch = 0; batch + 1 < options.batches; ++batch) {
    std::vector<FilterResult> results = run.batch(batch);
    lines += results.size();
    const double before = processor_seconds();
    const auto start = std::chrono::steady_clock::now();
    hand_over(std::move(results));
    const std::chrono::duration<double> blocked = std::chrono::steady_clock::now() - start;
    while (written() < lines + 1) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    report.add(fmt::format("batch {}: until handed over", batch + 1), processor_seconds() - before,
               blocked.count());
  }
  std::vector<FilterResult> last = run.batch(options.batches - 1);
  const double before = processor_seconds();
  const auto start = std::chrono::steady_clock::now();
  report.stage("the last batch: until handed over", [&] { hand_over(std::move(last)); });
  report.stage("finish", [&] { writer->finish(1); });
  report.stage("page", [&] { write_gallery(folder); });
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  report.add("all after the last iteration", processor_seconds() - before, wall.count());
}

void measure_page(const fs::path& folder, Report& report) {
  report.heading("The page, step by step");
  std::optional<StoredRun> run;
  report.stage("records", [&] { run = read_records(folder, vgg16()); });
  PictureSurvey survey;
  report.stage("small pictures (all cores)",
               [&] { survey = survey_pictures(*run, folder, kGalleryFolder, poster_tile(*run)); });
  report.stage("curves", [&] {
    for (const LayerAtlases& layer : survey.layers)
      write_file(folder / curves_file(run->manifest.network, layer.layer),
                 draw_curves(*run, layer.first, layer.count));
  });
  RgbImage poster;
  report.stage("poster: draw", [&] { poster = draw_poster(*run, survey); });
  report.stage("poster: encode", [&] { write_png(folder / kPosterFile, poster.pixels, poster.extent); });
  report.stage("page", [&] {
    const std::vector<PageRun> pages{PageRun{.run = *run, .survey = survey, .folder = ""}};
    write_file(folder / kPageFile, build_page(pages));
  });
}

Options parse(int argc, char** argv, std::string& json) {
  cxxopts::Options parser("bench_host_stages", "Times the CPU's work before and after a GPU's ascent.\n");
  // clang-format off
  parser.add_options()
    ("weights", "As --weights of `filterscope render`; write_weights writes a file", cxxopts::value<std::string>()->default_value("synthetic"), "FILE")
    ("filters", "Filters of each layer, at most", cxxopts::value<int>()->default_value("512"), "N")
    ("size", "Height and width of the pictures", cxxopts::value<int>()->default_value("96"), "PIXELS")
    ("batches", "Number of batches of results", cxxopts::value<int>()->default_value("2"), "N")
    ("out", "Folder of the output, which is kept (default: a temporary folder)", cxxopts::value<std::string>()->default_value(""), "DIR")
    ("json", "Also write the times to this file", cxxopts::value<std::string>()->default_value(""), "FILE")
    ("help", "Print this");
  // clang-format on
  const auto given = parser.parse(argc, argv);
  if (given.count("help") != 0) {
    fmt::print("{}", parser.help());
    std::exit(0);
  }
  json = given["json"].as<std::string>();
  const Options options{.weights = given["weights"].as<std::string>(),
                        .filters = given["filters"].as<int>(),
                        .size = given["size"].as<int>(),
                        .batches = given["batches"].as<int>(),
                        .out = given["out"].as<std::string>()};
  if (options.filters < 1 || options.size < 1 || options.batches < 1)
    throw std::invalid_argument("--filters, --size, --batches: expected numbers from 1");
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::string json;
    const Options options = parse(argc, argv, json);
    const TemporaryFolder temporary;
    const fs::path folder = options.out.empty() ? temporary.path() : options.out;
    create_folder(folder);
    Report report;
    measure_start(options, report);
    const Run run(options);
    measure_stages(run, temporary / "stages", report);
    measure_run(options, run, folder / "run", report);
    measure_page(folder / "run", report);
    if (!json.empty()) {
      const nlohmann::ordered_json all{{"program", "bench_host_stages"},
                                       {"processors", std::thread::hardware_concurrency()},
                                       {"filters", run.results().size()},
                                       {"stages", report.json()}};
      write_file(json, all.dump(1) + "\n", "--json");
    }
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "bench_host_stages: {}\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_host_stages: {}\n", error.what());
    return 2;
  }
}
