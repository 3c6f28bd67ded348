#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace filterscope::cli {

namespace {

constexpr int kUsualColumns = 80;

std::string_view environment_text(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Whether another job is in the terminal's foreground. Not if its group is unknown, since the terminal does
/// not control this process or the group is in another namespace.
bool has_another_job(int terminal) {
  const pid_t foreground = tcgetpgrp(terminal);
  return foreground > 0 && foreground != getpgrp();
}

}  // namespace

bool is_rewritable(std::FILE* stream) {
  const std::string_view kind = environment_text("TERM");
  return isatty(fileno(stream)) != 0 && !kind.empty() && kind != "dumb";
}

int terminal_columns(std::FILE* stream) {
  const int terminal = fileno(stream);
  if (has_another_job(terminal)) return 0;
  winsize size{};
  if (ioctl(terminal, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const std::string_view text = environment_text("COLUMNS");
  unsigned short columns = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), columns);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  return whole && columns > 0 ? columns : kUsualColumns;
}

StatusLine::StatusLine(std::FILE* stream, std::function<int()> columns)
    : stream_(stream), columns_(std::move(columns)) {}

void StatusLine::show(std::span<const std::string> texts) {
  const int columns = columns_();
  if (columns == 0) {  // The other job's output has scrolled the line away.
    shown_ = 0;
    return;
  }
  const auto room = static_cast<std::size_t>(columns - 1);
  const auto text =
      std::ranges::find_if(texts, [&](const std::string& candidate) { return candidate.size() <= room; });
  const std::string line = text == texts.end() ? "" : *text;
  if (line.empty() && shown_ == 0) return;
  // If the previous line may have been wrapped, its rest is in the rows below.
  const char* const erase = shown_ > room ? "\x1b[J" : "\x1b[K";
  std::fputs(("\r" + line + erase + "\r").c_str(), stream_);
  std::fflush(stream_);
  shown_ = line.size();
}

void StatusLine::clear() {
  show({});
}

}  // namespace filterscope::cli
