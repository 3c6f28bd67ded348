#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace filterscope {
namespace {

constexpr std::string_view kLettersAndDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

}  // namespace

std::string with_thousands(std::int64_t number) {
  std::string digits = fmt::to_string(number);
  for (std::size_t from_end = 3; from_end + (number < 0 ? 1 : 0) < digits.size(); from_end += 4) {
    digits.insert(digits.size() - from_end, 1, ',');
  }
  return digits;
}

std::string counted(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", with_thousands(count), noun, count == 1 ? "" : "s");
}

std::string size_text(Extent extent) {
  return fmt::format("{} x {}", extent.width, extent.height);
}

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string shown(text.substr(0, kLongest));
  std::ranges::replace_if(
      shown, [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '?');
  return text.size() > kLongest ? shown + "..." : shown;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const auto byte = [&](std::size_t i) {
      return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
    };
    const unsigned first = byte(0);
    const std::size_t length = first < 0x80       ? 1
                               : first >> 5 == 6  ? 2
                               : first >> 4 == 14 ? 3
                               : first >> 3 == 30 ? 4
                                                  : 0;
    if (length == 0) return false;
    unsigned code = length == 1 ? first : first & (0x7fu >> length);
    for (std::size_t i = 1; i < length; ++i) {
      if (byte(i) >> 6 != 2) return false;
      code = code << 6 | (byte(i) & 0x3f);
    }
    // Each code point has only one valid form, and some are not characters.
    constexpr std::array<unsigned, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
    if (code < kLeast[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string percent_encoded(std::string_view path) {
  std::string address;
  for (const char c : path) {
    if (kLettersAndDigits.find(c) != std::string_view::npos ||
        std::string_view("-_.~/").find(c) != std::string_view::npos)
      address += c;
    else
      address += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return address;
}

std::string shell_quoted(std::span<const std::string> arguments) {
  const auto is_plain = [](char c) {
    return kLettersAndDigits.find(c) != std::string_view::npos ||
           std::string_view("_-+=./,:@%").find(c) != std::string_view::npos;
  };
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  std::string line;
  for (const std::string& argument : arguments) {
    if (!line.empty()) line += ' ';
    const bool text = is_utf8(argument);
    if (!argument.empty() && std::ranges::all_of(argument, is_plain)) {
      line += argument;
    } else if (text && std::ranges::none_of(argument, is_control)) {
      line += '\'';
      for (const char c : argument) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
      line += '\'';
    } else {
      line += "$'";
      for (const char c : argument) {
        if (is_control(c) || (!text && static_cast<unsigned char>(c) > 0x7f))
          line += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
        else
          line += c == '\'' || c == '\\' ? std::string{'\\', c} : std::string(1, c);
      }
      line += '\'';
    }
  }
  return line;
}

std::vector<std::string> shell_words(std::string_view line) {
  enum class Quotes { none, plain, numbers };
  std::vector<std::string> words(1);
  Quotes quotes = Quotes::none;
  const auto is_octal = [&](std::size_t i) { return i < line.size() && line[i] >= '0' && line[i] <= '7'; };
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\'') {
      quotes = quotes == Quotes::none ? Quotes::plain : Quotes::none;
    } else if (quotes == Quotes::none && line.substr(i).starts_with("$'")) {
      quotes = Quotes::numbers;
      ++i;
    } else if (line[i] == ' ' && quotes == Quotes::none) {
      words.emplace_back();
    } else if (line[i] == '\\' && quotes == Quotes::numbers && is_octal(i + 1)) {
      int byte = 0;
      for (int digits = 0; digits < 3 && is_octal(i + 1); ++digits) byte = 8 * byte + (line[++i] - '0');
      words.back() += static_cast<char>(byte);
    } else {
      if (line[i] == '\\' && quotes != Quotes::plain && i + 1 < line.size()) ++i;
      words.back() += line[i];
    }
  }
  return words;
}

}  // namespace filterscope
