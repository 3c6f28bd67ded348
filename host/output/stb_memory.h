#pragma once

namespace filterscope {

/// stb_image gives no reason for some of its failures, and a lack of memory is not the file's fault.
/// After start_noting_stb_memory(), stb_lacked_memory() tells whether stb_image asked for memory in vain, on
/// this thread.
void start_noting_stb_memory();
bool stb_lacked_memory();

}  // namespace filterscope
