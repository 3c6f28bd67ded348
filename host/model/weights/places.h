#pragma once

#include <filesystem>
#include <string_view>

namespace filterscope::weights_formats {

inline constexpr std::string_view kWeightsAdvice =
    "weights/fetch.sh downloads the ImageNet-trained VGG16; `--weights synthetic` renders a made-up network "
    "without a download";

bool is_file(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);

/// What a folder without a weights file is, and what to do with it.
std::string_view folder_text(const std::filesystem::path& folder);

}  // namespace filterscope::weights_formats
