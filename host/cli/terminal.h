#pragma once

#include <cstddef>
#include <cstdio>
#include <functional>
#include <span>
#include <string>

namespace filterscope::cli {

/// Whether `stream` is a terminal on which a line can be rewritten: not if $TERM is unset or dumb, as in
/// Emacs' shell.
bool is_rewritable(std::FILE* stream);

/// The current width of the terminal `stream`: as it reports, else $COLUMNS (serial lines and terminals made
/// by `script` or `docker run -t` may not know), else 80. 0 while another job is in its foreground, whose
/// text must not be overwritten.
int terminal_columns(std::FILE* stream);

/// One line on a terminal that is rewritten. It never wraps, and leaves nothing behind if the terminal
/// becomes narrower, whether that truncates lines (xterm) or rewraps them (VTE, kitty, tmux): the cursor
/// waits at the beginning of the line, which both keep in place.
class StatusLine {
 public:
  /// `columns` returns the terminal's width, and is called whenever something is to be shown; 0: show
  /// nothing.
  StatusLine(std::FILE* stream, std::function<int()> columns);
  ~StatusLine() { clear(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  /// Whether something may be shown now.
  bool is_visible() const { return columns_() != 0; }
  /// Shows the first of `texts` (ASCII) that leaves the last column free; nothing if none does.
  void show(std::span<const std::string> texts);
  /// Erases the line, so that something else can be printed.
  void clear();

 private:
  std::FILE* stream_;
  std::function<int()> columns_;
  std::size_t shown_ = 0;  ///< Characters on the screen.
};

}  // namespace filterscope::cli
