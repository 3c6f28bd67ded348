#pragma once

// An emulated terminal: the contents of its rows after a program has written to it and it was resized.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace filterscope {

class EmulatedTerminal {
 public:
  /// What happens to lines when the terminal is resized: xterm truncates them; VTE, kitty and tmux rewrap
  /// them.
  enum class Resizing { cuts, reflows };

  EmulatedTerminal(std::size_t columns, Resizing resizing) : columns_(columns), resizing_(resizing) {}

  void write(std::string_view more) {
    std::string text = begun_ + std::string(more);
    begun_.clear();
    for (const char* const begin : {"\x1b", "\x1b["}) {
      if (!text.ends_with(begin)) continue;
      begun_ = begin;
      text.resize(text.size() - begun_.size());
      break;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\r') {
        column_ = 0;
      } else if (text[i] == '\n') {
        column_ = 0;
        if (++row_ == rows_.size()) rows_.emplace_back();
      } else if (text.compare(i, 3, "\x1b[K") == 0 || text.compare(i, 3, "\x1b[J") == 0) {
        Row& row = rows_[row_];
        row.text.resize(std::min(row.text.size(), column_));
        row.goes_on = false;
        if (text[i + 2] == 'J') rows_.resize(row_ + 1);
        i += 2;
      } else {
        ASSERT_GE(static_cast<unsigned char>(text[i]), 0x20) << "unknown sequence in " << text;
        put(text[i]);
      }
    }
  }

  void resize(std::size_t columns) {
    if (resizing_ == Resizing::cuts) {
      for (Row& row : rows_) row = {row.text.substr(0, columns), false};
      column_ = std::min(column_, columns - 1);
    } else {
      reflow(columns);
    }
    columns_ = columns;
  }

  /// The rows, without empty ones at the end.
  std::vector<std::string> rows() const {
    std::vector<std::string> texts;
    for (const Row& row : rows_) texts.push_back(row.text.substr(0, row.text.find_last_not_of(' ') + 1));
    while (!texts.empty() && texts.back().empty()) texts.pop_back();
    return texts;
  }

 private:
  struct Row {
    std::string text;
    bool goes_on = false;  // Continues in the next row, since the terminal was too narrow.
  };

  void put(char character) {
    if (column_ == columns_) {
      rows_[row_].goes_on = true;
      column_ = 0;
      if (++row_ == rows_.size()) rows_.emplace_back();
    }
    std::string& text = rows_[row_].text;
    if (text.size() <= column_) text.resize(column_ + 1, ' ');
    text[column_++] = character;
  }

  void reflow(std::size_t columns) {
    std::vector<Row> reflowed;
    std::size_t cursor_row = 0, cursor_column = 0;
    for (std::size_t first = 0, next = 0; first < rows_.size(); first = next) {
      std::string line;
      bool holds_cursor = false;
      std::size_t cursor = 0;
      do {
        if (next == row_) {
          holds_cursor = true;
          cursor = line.size() + column_;
        }
        line += rows_[next].text;
      } while (rows_[next++].goes_on && next < rows_.size());
      if (holds_cursor) {
        cursor_row = reflowed.size() + cursor / columns;
        cursor_column = cursor % columns;
      }
      do {
        reflowed.push_back({line.substr(0, columns), line.size() > columns});
        line.erase(0, columns);
      } while (!line.empty());
      while (holds_cursor && reflowed.size() <= cursor_row) reflowed.emplace_back();
    }
    rows_ = reflowed;
    row_ = cursor_row;
    column_ = cursor_column;
  }

  std::size_t columns_;
  Resizing resizing_;
  std::string begun_;  // An incomplete escape sequence.
  std::vector<Row> rows_{1};
  std::size_t row_ = 0, column_ = 0;
};

}  // namespace filterscope
