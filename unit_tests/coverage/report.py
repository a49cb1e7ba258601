#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project
"""Lines and branches of include/ and src/ that tests on the host execute.

    report.py [--minimum PERCENT] [--all] EXPORT.json...

reads what "llvm-cov export" wrote, for one build or several, and counts by
position in the source, so over all instantiations of a template and all builds:

- A line counts when it has code inside a function: more than comments and
  brackets. It is covered when some region that begins or continues there ran.
- A branch is one outcome, true or false, of one condition (of each operand of
  && and ||), or a case of a switch. It is covered when it was taken in some
  instantiation, one that the compiler folds away when it was in another.
  "if constexpr" is no branch: its statements are lines.
- Nobody is spared for not being compiled: the lines of a template that no test
  instantiates, and of an "if constexpr" discarded in all instantiations, count as
  uncovered, and so do the branches that the words of their source suggest.
- Code inside KOKKOS_IF_ON_DEVICE, and what #if gives to another backend or
  compiler, no host build sees. It is counted apart, as "elsewhere".

What is uncovered must stand in uncovered.txt with its reason; what stands there
and is covered is an error too. The percentages know nothing of that list.
"""

import argparse
import bisect
import collections
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REASONS = HERE / "uncovered.txt"
CODE, SKIPPED = 0, 2  # kinds of regions in llvm-cov's export


class Source:
    """A file's text, with comments, literals and preprocessor lines blanked."""

    def __init__(self, path):
        self.path = path
        text = (ROOT / path).read_text()
        self.lines = text.split("\n")
        self.code = self._blank(text)
        self.starts = [0]
        for line in self.code.split("\n"):
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.closing = self._match_brackets()
        self.has_code = {
            number
            for number, line in enumerate(self.code.split("\n"), 1)
            if re.search(r"\w", line) and line.strip(" {};") != "else"
        }
        self.device = self._device_lines()
        self.conditional = self._conditional_lines(text)

    @staticmethod
    def _blank(text):
        token = re.compile(
            r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|(?<!\w)'(?:\\.|[^'\\\n])+'"
            r"|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.DOTALL | re.MULTILINE)

        def blank(match):
            # A literal is code, a comment is not.
            keep = "0" if match[0][0] in "\"'" else " "
            return "".join("\n" if c == "\n" else keep for c in match[0])

        return token.sub(blank, text)

    def _match_brackets(self):
        closing, open_ones = {}, []
        for at, c in enumerate(self.code):
            if c in "({":
                open_ones.append(at)
            elif c in ")}" and open_ones:
                closing[open_ones.pop()] = at
        return closing

    def line_of(self, at):
        return bisect.bisect_right(self.starts, at)

    def after_head(self, line, column):
        """The line of an "if constexpr", or the one where its statement begins."""
        at = self.starts[line - 1] + column - 1
        head = re.compile(r"if\s+constexpr\s*(?=\()").match(self.code, at)
        return self.line_of(self.closing[head.end()]) + 1 if head else line

    def position(self, at):
        line = self.line_of(at)
        return line, at - self.starts[line - 1] + 1

    def lines_within(self, first, last):
        return [n for n in range(first, last + 1) if n in self.has_code]

    def _device_lines(self):
        found = set()
        for match in re.finditer(r"\bKOKKOS_IF_ON_DEVICE\s*\(", self.code):
            end = self.closing[match.end() - 1]
            found.update(self.lines_within(self.line_of(match.start()),
                                           self.line_of(end)))
        return found

    def _conditional_lines(self, text):
        """Lines between #if and #endif; the guard of a header is not meant."""
        found, depth, guard = set(), 0, 0
        for number, line in enumerate(text.split("\n"), 1):
            if re.match(r"\s*#\s*if", line):
                depth += 1
                guard = guard or (depth if "ndef TOKKOS_" in line else 0)
            elif re.match(r"\s*#\s*endif", line):
                depth -= 1
            elif depth > guard:
                found.add(number)
        return found & self.has_code

    def function_bodies(self):
        """Where a function's body opens: pairs of offsets of its brackets."""
        at, head = 0, 0
        while at < len(self.code):
            c = self.code[at]
            if c in ";}":
                head = at + 1
            elif c == "(":
                at = self.closing[at]
            elif c == "{":
                words = self.code[head:at]
                if self._opens_scope(words):
                    head = at + 1
                elif self._opens_body(words):
                    yield at, self.closing[at]
                    at = self.closing[at]
                    head = at + 1
                else:
                    at = self.closing[at]
            at += 1

    @staticmethod
    def _opens_scope(head):
        plain = re.sub(r"template\s*<[^{;]*?>\s*(?=\w)", " ", head)
        return re.search(r"(^|[\s:])(namespace|struct|class|union)\b", plain) and \
            "(" not in re.sub(r"alignas\s*\(.*\)", "", plain)

    @staticmethod
    def _opens_body(head):
        if re.search(r"\benum\b", head) or "(" not in head:
            return False
        plain = re.sub(r"operator\s*\W+?\(", "(", head)
        plain = re.sub(r"\([^()]*\)", "()", plain)
        return not re.search(r"[^=!<>]=\s*$", plain)


def exported(paths):
    """Yields (file, record) for files and for functions of this project."""
    for path in paths:
        with open(path) as file:
            data = json.load(file)["data"][0]
        yield from ((record["filename"], "file", record) for record in data["files"])
        for record in data["functions"]:
            yield record["filenames"][0], "function", record


def line_counts(segments):
    """llvm-cov's own rule: a line's count is the largest of the region that it
    begins in and of those that begin on it."""
    counts, before, i = {}, None, 0
    last = segments[-1][0] if segments else 0
    first = segments[0][0] if segments else 1
    for line in range(first, last + 1):
        here = []
        while i < len(segments) and segments[i][0] == line:
            here.append(segments[i])
            i += 1
        entries = [s[2] for s in here if s[3] and s[4] and not s[5]]
        wrapped = before[2] if before and before[3] else None
        skipped = here and not here[0][3] and here[0][4]
        if not skipped and (wrapped is not None or entries):
            counts[line] = max(entries + ([] if wrapped is None else [wrapped]))
        if here:
            before = here[-1]
    return counts


class Coverage:
    def __init__(self, path):
        self.source = Source(path)
        self.lines = {}
        self.branches = collections.Counter()  # (line, column, end, outcome): times
        self.bodies = set()
        self.skipped = set()

    def add_file(self, record):
        for line, count in line_counts(record["segments"]).items():
            self.lines[line] = self.lines.get(line, 0) + count

    def add_function(self, record):
        for r in record["regions"]:
            if r[5] == 0 and r[7] == CODE:
                self.bodies.add((r[0], r[1]))
            elif r[5] == 0 and r[7] == SKIPPED:
                self.skipped.update(range(self.source.after_head(r[0], r[1]), r[2] + 1))
        for b in record["branches"]:
            if b[6] == 0:
                for outcome, count in (("true", b[4]), ("false", b[5])):
                    self.branches[(b[0], b[1], (b[2], b[3]), outcome)] += count

    def finish(self):
        source = self.source
        in_functions = set()
        self.never_compiled = set()
        for begin, end in source.function_bodies():
            lines = source.lines_within(source.line_of(begin), source.line_of(end))
            in_functions.update(lines)
            if source.position(begin) not in self.bodies:
                self.never_compiled.update(lines)
        self.elsewhere = source.device | {
            n for n in source.conditional & in_functions if n not in self.lines}
        self.lines = {n: count for n, count in self.lines.items()
                      if n in source.has_code and n not in self.elsewhere}
        self.never_compiled |= self.skipped & source.has_code
        self.never_compiled -= set(self.lines) | self.elsewhere
        self._count_never_compiled()

    def _count_never_compiled(self):
        text = self.source.code.split("\n")
        condition = re.compile(r"\bif\s*\(|\bfor\s*\(|\bwhile\s*\(|&&|\|\||\?")
        for line in self.never_compiled:
            self.lines[line] = 0
            for match in condition.finditer(text[line - 1]):
                for outcome in ("true", "false"):
                    self.branches[(line, match.start() + 1, None, outcome)] += 0

    def uncovered_lines(self):
        return sorted(n for n, count in self.lines.items() if count == 0)

    def uncovered_branches(self):
        return sorted((b[0], b[1], b[3]) for b, n in self.branches.items() if n == 0)


class Reasons:
    """uncovered.txt: paragraphs of comments, the reason, and then entries
        FILE: SOURCE LINE
    for everything uncovered in lines with that text, or with " ..." behind it, in
    the blocks that they open."""

    def __init__(self, path):
        self.entries, self.used, self.problems = [], set(), []
        reason = False
        for number, line in enumerate(path.read_text().split("\n"), 1):
            if line.startswith("#"):
                reason = True
            elif not line.strip():
                reason = False
            else:
                if not reason:
                    self.problems.append(f"{path.name}:{number}: no reason above it")
                file, text = line.split(": ", 1)
                self.entries.append((number, file, text.strip()))

    def lines_of(self, coverage):
        """{line: entries that name it} in one file."""
        named = collections.defaultdict(list)
        source = coverage.source
        for entry in self.entries:
            number, file, text = entry
            if file != source.path:
                continue
            block = text.endswith(" ...")
            wanted = text[:-4].strip() if block else text
            for line, actual in enumerate(source.lines, 1):
                if actual.strip() != wanted:
                    continue
                last = line
                if block:
                    at = source.code.find("{", source.starts[line - 1])
                    last = source.line_of(source.closing[at])
                for n in range(line, last + 1):
                    named[n].append(number)
        return named

    def check(self, files):
        """Lists what is uncovered and not named, and the reverse."""
        unlisted = []
        for coverage in files:
            named = self.lines_of(coverage)
            for line in sorted(set(coverage.uncovered_lines()) |
                               {b[0] for b in coverage.uncovered_branches()}):
                self.used.update(named[line])
                if not named[line]:
                    unlisted.append((coverage, line))
        for number, file, text in self.entries:
            if number not in self.used:
                self.problems.append(
                    f"uncovered.txt:{number}: {file}: all of this is covered: {text}")
        return unlisted


def describe(coverage, line):
    what = ["line"] if coverage.lines.get(line) == 0 else []
    if line in coverage.never_compiled:
        what = ["never compiled"]
    else:
        what += [f"{column} never {outcome}"
                 for at, column, outcome in coverage.uncovered_branches() if at == line]
    return (f"{coverage.source.path}:{line}: {', '.join(what)}\n"
            f"    {coverage.source.lines[line - 1].strip()}")


def percent(covered, of):
    return 100.0 * covered / of if of else 100.0


def table(files):
    total = [0] * 5
    print(f"{'':44} {'lines':>12} {'%':>7} {'branches':>12} {'%':>7} {'elsewhere':>10}")
    for coverage in files:
        lines, branches = len(coverage.lines), len(coverage.branches)
        row = [lines - len(coverage.uncovered_lines()), lines,
               branches - len(coverage.uncovered_branches()), branches,
               len(coverage.elsewhere)]
        total = [a + b for a, b in zip(total, row)]
        if any(row):
            print_row(coverage.source.path, row)
    print_row("all", total)
    return percent(*total[0:2]), percent(*total[2:4])


def print_row(name, row):
    print(f"{name:44} {row[0]:>6}/{row[1]:<5} {percent(row[0], row[1]):7.2f} "
          f"{row[2]:>6}/{row[3]:<5} {percent(row[2], row[3]):7.2f} {row[4]:>10}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minimum", type=float, default=0)
    parser.add_argument("--all", action="store_true",
                        help="list what uncovered.txt names, too")
    parser.add_argument("exports", nargs="+")
    arguments = parser.parse_args()

    paths = sorted(path.relative_to(ROOT).as_posix() for folder in ("include", "src")
                   for path in (ROOT / folder).rglob("*.?pp"))
    files = {path: Coverage(path) for path in paths}
    for name, kind, record in exported(arguments.exports):
        path = name.removeprefix(f"{ROOT}/")
        if path in files:
            add = files[path].add_file if kind == "file" else files[path].add_function
            add(record)
    files = list(files.values())
    for coverage in files:
        coverage.finish()

    lines, branches = table(files)
    reasons = Reasons(REASONS)
    unlisted = reasons.check(files)
    listed = [(c, n) for c in files for n in
              sorted(set(c.uncovered_lines()) | {b[0] for b in c.uncovered_branches()})]
    for coverage, line in listed if arguments.all else unlisted:
        print(describe(coverage, line))
    for problem in reasons.problems:
        print(problem)
    print(f"lines {lines:.2f} %, branches {branches:.2f} %; uncovered lines of source: "
          f"{len(listed)}, of them without a reason in uncovered.txt: {len(unlisted)}")
    passed = min(lines, branches) >= arguments.minimum
    if not passed:
        print(f"less than {arguments.minimum} %")
    return 0 if passed and not unlisted and not reasons.problems else 1


if __name__ == "__main__":
    sys.exit(main())
