// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "FuzzInput.hpp"

#include "../../examples/02_text_moe/Input.hpp"
#include "../../examples/02_text_moe/Options.hpp"
#include "../../examples/02_text_moe/Text.hpp"
#include "../../examples/common/File.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

// Any bytes as a text, and as a command line, of the text example.
namespace Fuzz {

/// One row of table 3-7 of the Unicode standard: the well-formed sequences.
/// Bytes behind the second lie in [0x80, 0xbf].
struct Sequence {
  unsigned first_low, first_high, second_low, second_high;
  std::size_t length;
};
constexpr Sequence well_formed[] = {
    {0x01, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2},
    {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
    {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
    {0xf4, 0xf4, 0x80, 0x8f, 4}};

bool in(unsigned low, unsigned value, unsigned high) {
  return low <= value && value <= high;
}

/// The characters of a text without zeros; nothing when it is none.
std::optional<std::u32string> decodePlainly(std::string_view bytes) {
  const auto at = [bytes](std::size_t i) -> unsigned {
    return static_cast<unsigned char>(bytes[i]);
  };
  std::u32string text;
  for (std::size_t i = 0; i < bytes.size();) {
    const auto* const s =
        std::find_if(std::begin(well_formed), std::end(well_formed),
                     [&](const Sequence& row) {
                       return in(row.first_low, at(i), row.first_high) &&
                              i + row.length <= bytes.size() &&
                              (row.length == 1 ||
                               in(row.second_low, at(i + 1), row.second_high));
                     });
    if (s == std::end(well_formed)) return {};
    char32_t c = s->length == 1 ? at(i) : at(i) % (1u << (7 - s->length));
    for (std::size_t j = 1; j < s->length; ++j) {
      if (!in(0x80, at(i + j), 0xbf)) return {};
      c = c * 64 + at(i + j) % 64;
    }
    text.push_back(c);
    i += s->length;
  }
  return text;
}

/// A vector has length 1, unless everything in it cancelled.
void checkVectors(const TextMoe::Text& text, int hidden) {
  const auto vectors = TextMoe::embedWords(text.words, hidden);
  const auto width   = static_cast<std::size_t>(hidden);
  require(vectors.size() == text.words.size() * width, "a vector for a word");
  for (std::size_t i = 0; i < vectors.size(); i += width) {
    double sum = 0;
    for (std::size_t h = i; h < i + width; ++h)
      sum += double(vectors[h]) * vectors[h];
    require(sum == 0 || std::abs(sum - 1) < 1e-5, "the length of a vector");
  }
}

void checkWords(const std::u32string& characters) {
  const TextMoe::Text text = TextMoe::splitIntoWords(characters);
  int seen                 = 0;
  std::u32string again;
  for (const int token : text.tokens) {
    require(0 <= token && token <= seen && token < int(text.words.size()),
            "words have numbers in the order of their appearance");
    seen = std::max(seen, token + 1);
    again += text.words[static_cast<std::size_t>(token)] + U' ';
  }
  require(seen == int(text.words.size()), "every word occurs");
  require(std::set(text.words.begin(), text.words.end()).size() ==
              text.words.size(),
          "the words are distinct");
  for (const auto& word : text.words)
    require(!word.empty(), "a word has characters");
  // The words of the words are themselves.
  const TextMoe::Text second = TextMoe::splitIntoWords(again);
  require(second.words == text.words && second.tokens == text.tokens,
          "the words of the words");
  checkVectors(text, 1 + int(characters.size() % 40));
}

void checkText(std::string_view bytes) {
  const auto expected = decodePlainly(bytes);
  std::optional<std::u32string> text;
  try {
    text = TextMoe::decodeUtf8("bytes", bytes);
  } catch (const Examples::BadInput&) {
  }
  require(text == expected, "the text");
  if (!text) return;
  require(TextMoe::encodeUtf8(*text) == bytes, "the text's bytes");
  checkWords(*text);
}

/// The words of a line of the text are the arguments of the program.
void checkCommandLine(std::string_view line) {
  std::vector<std::string> words{"tokkos_text_moe"};
  for (std::size_t i = 0; i < line.size();) {
    const std::size_t end = std::min(line.find(' ', i), line.size());
    words.emplace_back(line.substr(i, end - i));
    i = end + 1;
  }
  std::vector<const char*> arguments;
  for (const auto& word : words)
    arguments.push_back(word.c_str());
  try {
    const auto options =
        TextMoe::parseOptions(int(arguments.size()), arguments.data());
    require(options.help ||
                (1 <= options.top_k && options.top_k <= options.num_experts &&
                 options.num_experts <= 4096 && 1 <= options.hidden &&
                 options.hidden <= 16384 && options.capacity >= 0 &&
                 options.num_experts * options.hidden <= 1 << 22),
            "options in their ranges");
  } catch (const Examples::BadInput&) {
  }
}

}  // namespace Fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Fuzz::checkText(bytes);
  Fuzz::checkCommandLine(bytes.substr(0, bytes.find('\n')));
  return 0;
}
