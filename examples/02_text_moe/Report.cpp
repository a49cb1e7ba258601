// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Report.hpp"

#include "../common/File.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace TextMoe {

namespace {

constexpr std::size_t top_words  = 5;
constexpr std::size_t word_width = 16;
constexpr int bar_width          = 30;

std::string shortened(const std::u32string& word) {
  if (word.size() <= word_width) return encodeUtf8(word);
  return encodeUtf8(word.substr(0, word_width - 3)) + "...";
}

/// The words that occur most; of equally frequent ones the first in the text.
std::vector<std::string> mostFrequent(const Text& text,
                                      std::vector<int> words) {
  struct Entry {
    int word, count;
  };
  std::sort(words.begin(), words.end());
  std::vector<Entry> entries;
  for (const int word : words) {
    if (entries.empty() || entries.back().word != word)
      entries.push_back({word, 0});
    ++entries.back().count;
  }
  std::stable_sort(
      entries.begin(), entries.end(),
      [](const Entry& a, const Entry& b) { return a.count > b.count; });
  entries.resize(std::min(entries.size(), top_words));
  std::vector<std::string> result;
  for (const Entry& entry : entries)
    result.push_back(
        shortened(text.words[static_cast<std::size_t>(entry.word)]));
  return result;
}

std::string joined(const std::vector<std::string>& words) {
  std::string result;
  for (const std::string& word : words)
    result += (result.empty() ? "" : ", ") + word;
  return result;
}

std::string quoted(const std::string& field) {
  if (field.find_first_of(",\"\r\n") == std::string::npos) return field;
  std::string result = "\"";
  for (const char c : field) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + '"';
}

}  // namespace

std::vector<Load> loadOfExperts(const Text& text, const Input& input,
                                const Plan& plan) {
  std::vector<Load> loads;
  for (std::size_t e = 0; e < plan.counts.size(); ++e) {
    std::vector<int> words;
    for (int r = plan.offsets[e]; r < plan.offsets[e] + plan.counts[e]; ++r) {
      const int a = plan.assignment_of_row[static_cast<std::size_t>(r)];
      words.push_back(text.tokens[static_cast<std::size_t>(a / input.top_k)]);
    }
    loads.push_back(
        {plan.counts[e], plan.dropped[e],
         plan.num_rows > 0 ? double(plan.counts[e]) / plan.num_rows : 0.0,
         mostFrequent(text, std::move(words))});
  }
  return loads;
}

void printLoads(const std::vector<Load>& loads) {
  int largest   = 1;
  bool any_lost = false;
  for (const Load& load : loads) {
    largest  = std::max(largest, load.count);
    any_lost = any_lost || load.dropped > 0;
  }
  std::printf("expert    tokens  share%s  load%*s  words it saw most\n",
              any_lost ? "   dropped" : "", bar_width - 4, "");
  for (std::size_t e = 0; e < loads.size(); ++e) {
    const Load& load = loads[e];
    std::printf("%6zu  %8d  %4.1f%%", e, load.count, 100 * load.share);
    if (any_lost) std::printf("  %8d", load.dropped);
    // An expert with any work has a bar.
    const auto bar =
        (static_cast<long long>(load.count) * bar_width + largest - 1) /
        largest;
    std::printf("  %-*s  %s\n", bar_width,
                std::string(static_cast<std::size_t>(bar), '#').c_str(),
                joined(load.top_words).c_str());
  }
}

void printTimes(const std::vector<StageTime>& times) {
  std::printf("stage                  time/ms      GB/s\n");
  for (const StageTime& time : times)
    std::printf("%-20s  %8.3f  %8.2f\n", time.name.c_str(), 1e3 * time.seconds,
                time.seconds > 0 ? 1e-9 * time.bytes / time.seconds : 0.0);
}

void writeCsv(const std::string& path, const std::vector<Load>& loads) {
  std::ofstream file(path);
  file << "expert,count,dropped,share,top_words\n";
  for (std::size_t e = 0; e < loads.size(); ++e)
    file << e << ',' << loads[e].count << ',' << loads[e].dropped << ','
         << loads[e].share << ',' << quoted(joined(loads[e].top_words)) << '\n';
  if (!file.flush()) throw Examples::BadInput(path + ": cannot be written");
}

}  // namespace TextMoe
