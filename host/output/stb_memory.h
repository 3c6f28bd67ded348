#pragma once

namespace filterscope {

/// stb_image does not say whether it failed for lack of memory, which is not the file's fault.
/// stb_lacked_memory() returns whether an allocation of stb_image failed on this thread since
/// start_noting_stb_memory().
void start_noting_stb_memory();
bool stb_lacked_memory();

}  // namespace filterscope
