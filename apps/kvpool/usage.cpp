#include "apps/kvpool/usage.h"

#include <fmt/format.h>

#include <vector>

#include "config/suggest.h"

namespace kvpool::cli {
namespace {

const CLI::App& ParsedCommand(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : *commands.front();
}

std::vector<std::string> KnownWords(const CLI::App& app, const CLI::App& command) {
  std::vector<std::string> words;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  }
  if (&app != &command) return words;
  for (const CLI::App* each : app.get_subcommands({})) words.push_back(each->get_name());
  return words;
}

std::string Unexpected(const CLI::App& app, const CLI::App& command) {
  const std::vector<std::string> rest = app.remaining(true);
  const std::string typed = rest.empty() ? std::string{} : rest.front();
  const bool is_option = typed.starts_with("-");
  const char* what = is_option ? "option" : &app == &command ? "command" : "argument";
  return fmt::format("there is no {} \"{}\", {}", what, typed,
                     config::Suggest(typed.substr(0, typed.find('=')), KnownWords(app, command)));
}

}  // namespace

std::string UsageError(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = ParsedCommand(app);
  const bool root = &command == &app;
  const std::string called = root ? "kvpool" : "kvpool " + command.get_name();
  std::string what = error.what();
  const bool required = error.get_name() == "RequiredError";
  // An option that is missing may have been misspelt: that says more.
  if (error.get_name() == "ExtrasError" || (required && !app.remaining(true).empty())) {
    what = Unexpected(app, command);
  } else if (root && required) {
    what = "name a command, such as probe or bench";
  }
  while (!what.empty() && (what.back() == '.' || what.back() == '\n')) what.pop_back();
  const char* join = what.ends_with("?") ? " See " : "; see ";
  return fmt::format("{}: {}{}{} --help", called, what, join, called);
}

}  // namespace kvpool::cli
