// Figures for machines: a JSON list of objects without nesting, one header, then rows.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kvpool/result.h"

namespace kvpool::cli {

// One flat object; keys stay in the order in which they were added.
using Row = nlohmann::ordered_json;

// {commit, config_hash, machine, date}; see bench::MakeHeader.
Row Header(std::string_view settings);

// Does nothing when `file` is empty; "-" is standard output.
Result<void> WriteRows(const std::string& file, const std::vector<Row>& rows);

// Replaces a text file.
Result<void> WriteText(const std::string& file, std::string_view text);

}  // namespace kvpool::cli
