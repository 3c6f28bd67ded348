#pragma once

#include <string_view>

namespace filterscope {

/// The files of tools/gallery, compiled into the program.
extern const std::string_view kPageHtml;    ///< index.html
extern const std::string_view kPageStyle;   ///< style.css
extern const std::string_view kPageScript;  ///< gallery.js

}  // namespace filterscope
