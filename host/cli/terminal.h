#pragma once

#include <cstddef>
#include <cstdio>
#include <functional>
#include <span>
#include <string>

namespace filterscope::cli {

/// Whether `stream` is a terminal on which a line can be rewritten: not one of $TERM dumb, as Emacs' shell
/// is, or unknown.
bool is_rewritable(std::FILE* stream);

/// Columns of the terminal `stream`, as it is now: what it says, else $COLUMNS (serial lines and terminals
/// made by `script` or `docker run -t` may not know), else 80. 0 while another job is in its foreground: what
/// the user types there must not be overwritten.
int terminal_columns(std::FILE* stream);

/// One line on a terminal that is rewritten. It never wraps, and leaves nothing behind when the terminal
/// becomes narrower, whether that cuts lines (xterm) or breaks them again (VTE, kitty, tmux): the cursor
/// waits at the beginning of the line, which is the place that both keep.
class StatusLine {
 public:
  /// `columns`: of the terminal, asked whenever something is to be shown; 0: nothing may be.
  StatusLine(std::FILE* stream, std::function<int()> columns);
  ~StatusLine() { clear(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  /// Whether something may be shown now.
  bool is_visible() const { return columns_() != 0; }
  /// Shows the first of `texts` (ASCII) that leaves the last column free; nothing if there is none.
  void show(std::span<const std::string> texts);
  /// Takes the line off the terminal, so that something else can be printed.
  void clear();

 private:
  std::FILE* stream_;
  std::function<int()> columns_;
  std::size_t shown_ = 0;  ///< Characters on the screen.
};

}  // namespace filterscope::cli
