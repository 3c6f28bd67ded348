#pragma once

#include <span>
#include <string>

#include "../store/stored_run.h"
#include "pictures.h"

namespace filterscope {

/// A run on a page.
struct PageRun {
  const StoredRun& run;
  const PictureSurvey& survey;
  std::string folder;     ///< Path from the page's folder to the run's, with '/' at the end; empty: the same.
  std::string name = {};  ///< The folder's name; shown only if two runs are compared.
};

/// The text of index.html: tools/gallery's page, style and script, and the data of `runs` (one, or two of the
/// same network to be compared), in one file that needs no network. tools/gallery/README.md describes the
/// data.
std::string build_page(std::span<const PageRun> runs);

}  // namespace filterscope
