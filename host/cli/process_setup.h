#pragma once

namespace filterscope::cli {

/// Makes standard streams and signals what the program needs, however it was started. Call it first of all.
void prepare_process();

}  // namespace filterscope::cli
