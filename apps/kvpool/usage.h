// What the command line says when it was typed wrong.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace kvpool::cli {

// One sentence: what is wrong, with the nearest known word where one was misspelt, and which help
// to read.
std::string UsageError(const CLI::App& app, const CLI::ParseError& error);

}  // namespace kvpool::cli
