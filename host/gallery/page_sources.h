#pragma once

#include <string_view>

namespace filterscope {

/// The files of tools/gallery, compiled into the program.
extern const std::string_view kPageHtml;    ///< index.html
extern const std::string_view kPageStyle;   ///< style.css
extern const std::string_view kPageScript;  ///< All *.js, in the order of cmake/EmbedPage.cmake.

}  // namespace filterscope
