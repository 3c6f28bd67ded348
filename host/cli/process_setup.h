#pragma once

namespace filterscope::cli {

/// What the program needs of its process, whoever started it; to be called first of all.
void prepare_process();

}  // namespace filterscope::cli
