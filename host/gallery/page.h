#pragma once

#include <span>
#include <string>

#include "../store/stored_run.h"
#include "pictures.h"

namespace filterscope {

/// One run as a page shows it.
struct PageRun {
  const StoredRun& run;
  const PictureSurvey& survey;
  std::string folder;     ///< From the page's folder to the run's, with '/' at the end; empty: the same.
  std::string name = {};  ///< The folder's name as shown; set only when two runs are compared.
};

/// index.html: tools/gallery's page, style and script, and the data of `runs` (one, or two to be compared; of
/// one network), all in one file that needs nothing from the internet. tools/gallery/README.md describes the
/// data.
std::string build_page(std::span<const PageRun> runs);

}  // namespace filterscope
