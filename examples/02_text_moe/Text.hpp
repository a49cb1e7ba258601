// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_TEXT_MOE_TEXT_HPP
#define TOKKOS_EXAMPLES_TEXT_MOE_TEXT_HPP

#include <string>
#include <string_view>
#include <vector>

namespace TextMoe {

/// A text as tokens: every word that occurs has a number.
struct Text {
  std::vector<std::u32string> words;  ///< the distinct ones, as they appeared
  std::vector<int> tokens;            ///< the number of every word of the text
};

/// \throws Examples::BadInput when the file cannot be read, is empty, or is not
///   UTF-8 text
Text readText(const std::string& path);

/// \throws Examples::BadInput at a NUL byte or invalid UTF-8; name begins the
///   message
std::u32string decodeUtf8(const std::string& name, std::string_view bytes);

std::string encodeUtf8(std::u32string_view text);

/// Cuts a text into lower-case words. A word is a run of letters and digits of
/// any script, with apostrophes inside; of Chinese and Japanese characters,
/// which are written without blanks, and of emoji every one is a word.
Text splitIntoWords(std::u32string_view text);

}  // namespace TextMoe

#endif
