// Options that the benches share.
#pragma once

#include <string>

#include "apps/kvpool/options.h"
#include "bench/compare/bench.h"

namespace kvpool::cli {

// An option whose text `parse` turns into `value`, with parse's own sentence where it cannot.
template <class Value, class Parse>
CLI::Option* AddParsed(CLI::App& command, const std::string& name, Value& value, Parse parse,
                       const std::string& what) {
  return command.add_option_function<std::string>(
      name,
      [&value, parse, name](const std::string& text) {
        auto parsed = parse(text);
        if (!parsed) throw CLI::ValidationError(name, parsed.error().message);
        value = *parsed;
      },
      what);
}

// Context, prefixes, repeats, checksums, geometry.
void AddRunOptions(CLI::App& command, bench::BenchOptions& options);

// --report FILE.html.
void AddReport(CLI::App& command, std::string& file);

}  // namespace kvpool::cli
