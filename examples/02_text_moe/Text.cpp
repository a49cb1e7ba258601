// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Text.hpp"

#include "../common/File.hpp"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace TextMoe {

namespace {

struct CodePoints {
  char32_t first, last;
};

template <std::size_t N>
bool in(const std::array<CodePoints, N>& ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(), [c](const CodePoints& r) {
    return r.first <= c && c <= r.last;
  });
}

// Blanks, punctuation and symbols by Unicode's blocks; a demonstration needs no
// table of every character. Everything outside ASCII that is not here is taken
// for a letter.
constexpr std::array<CodePoints, 11> separators = {{
    {0x80, 0xa9},
    {0xab, 0xb4},
    {0xb6, 0xb9},
    {0xbb, 0xbf},
    {0xd7, 0xd7},
    {0xf7, 0xf7},
    {0x2000, 0x206f},  // spaces, dashes, quotation marks, invisible marks
    {0x2190, 0x25ff},  // arrows, mathematics, boxes
    {0x3000, 0x303f},  // Chinese and Japanese punctuation
    {0xfe00, 0xfe6f},  // variants of a character, forms of punctuation
    {0xfeff, 0xff0f},  // byte order mark, wide punctuation
}};

constexpr std::array<CodePoints, 6> words_alone = {{
    {0x2600, 0x27bf},    // pictures and ornaments
    {0x3040, 0x30ff},    // Hiragana, Katakana
    {0x3400, 0x9fff},    // Chinese characters
    {0xf900, 0xfaff},    // more of them
    {0x1f000, 0x1faff},  // emoji
    {0x20000, 0x3ffff},  // rare Chinese characters
}};

enum class Kind { separator, letter, alone };

Kind kindOf(char32_t c) {
  if (c < 0x80) {
    const bool letter = (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z') ||
                        (c >= U'0' && c <= U'9');
    return letter ? Kind::letter : Kind::separator;
  }
  if (in(separators, c)) return Kind::separator;
  return in(words_alone, c) ? Kind::alone : Kind::letter;
}

// Latin, Greek and Cyrillic, as far as a capital stands at a fixed distance.
char32_t lowerCase(char32_t c) {
  if ((c >= U'A' && c <= U'Z') || (c >= 0xc0 && c <= 0xde) ||
      (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
    return c + 32;
  return c >= 0x400 && c <= 0x40f ? c + 80 : c;
}

bool isApostrophe(char32_t c) {
  return c == U'\'' || c == 0x2019;
}

std::size_t endOfWord(std::u32string_view text, std::size_t begin) {
  if (kindOf(text[begin]) == Kind::alone) return begin + 1;
  const auto letterAt = [text](std::size_t i) {
    return i < text.size() && kindOf(text[i]) == Kind::letter;
  };
  std::size_t end = begin + 1;
  while (letterAt(end) ||
         (end < text.size() && isApostrophe(text[end]) && letterAt(end + 1)))
    ++end;
  return end;
}

/// Bytes of the character that begins with this one; 0 when none does.
std::size_t lengthFromLead(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}

/// False for what is no character, or one written longer than it must be.
bool isValid(char32_t c, std::size_t length) {
  constexpr std::array<char32_t, 5> smallest = {0, 0, 0x80, 0x800, 0x10000};
  return c >= smallest[length] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
}

}  // namespace

std::u32string decodeUtf8(const std::string& name, std::string_view bytes) {
  std::u32string text;
  text.reserve(bytes.size());
  for (std::size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    if (lead == 0)
      throw Examples::BadInput(name + ": a binary file, no text: byte " +
                               std::to_string(i) + " is zero");
    const std::size_t length = lengthFromLead(lead);
    char32_t c               = length <= 1 ? lead : lead & (0x7fu >> length);
    bool valid               = length > 0 && i + length <= bytes.size();
    for (std::size_t j = 1; valid && j < length; ++j) {
      const auto next = static_cast<unsigned char>(bytes[i + j]);
      valid           = (next & 0xc0u) == 0x80u;
      c               = c << 6 | (next & 0x3fu);
    }
    if (!valid || !isValid(c, length))
      throw Examples::BadInput(name + ": not UTF-8 text: byte " +
                               std::to_string(i) + " begins no character");
    text.push_back(c);
    i += length;
  }
  return text;
}

std::string encodeUtf8(std::u32string_view text) {
  std::string bytes;
  const auto put = [&bytes](char32_t byte) {
    bytes.push_back(static_cast<char>(byte));
  };
  for (const char32_t c : text) {
    if (c < 0x80) {
      put(c);
    } else if (c < 0x800) {
      put(0xc0 | c >> 6);
      put(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
      put(0xe0 | c >> 12);
      put(0x80 | (c >> 6 & 0x3f));
      put(0x80 | (c & 0x3f));
    } else {
      put(0xf0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3f));
      put(0x80 | (c >> 6 & 0x3f));
      put(0x80 | (c & 0x3f));
    }
  }
  return bytes;
}

Text splitIntoWords(std::u32string_view text) {
  Text result;
  std::unordered_map<std::u32string, int> numbers;
  for (std::size_t i = 0; i < text.size();) {
    if (kindOf(text[i]) == Kind::separator) {
      ++i;
      continue;
    }
    const std::size_t end = endOfWord(text, i);
    std::u32string word(text.substr(i, end - i));
    std::transform(word.begin(), word.end(), word.begin(), lowerCase);
    const auto [entry, is_new] =
        numbers.try_emplace(word, static_cast<int>(result.words.size()));
    if (is_new) result.words.push_back(word);
    result.tokens.push_back(entry->second);
    i = end;
  }
  return result;
}

Text readText(const std::string& path) {
  return splitIntoWords(decodeUtf8(path, Examples::readFile(path)));
}

}  // namespace TextMoe
