#include "apps/kvpool/options.h"

#include <fmt/format.h>

#include <charconv>

#include "apps/kvpool/outputs.h"
#include "base/units.h"

namespace kvpool::cli {

CLI::App& AddCommand(CLI::App& app, const std::string& name, const std::string& what,
                     const std::string& examples, Action& action, Action run) {
  CLI::App& command = *app.add_subcommand(name, what);
  command.footer("Examples:\n" + examples);
  command.callback([&action, run = std::move(run)] { action = run; });
  return command;
}

namespace {

template <class Bytes>
CLI::Option* AddSize(CLI::App& command, const std::string& names, Bytes& bytes,
                     const std::string& what) {
  const auto parse = [&bytes, names](const std::string& text) {
    const Result<std::uint64_t> parsed = ParseBytes(text);
    if (!parsed) throw CLI::ValidationError(names, parsed.error().message);
    bytes = *parsed;
  };
  return command.add_option_function<std::string>(names, parse, what)->type_name("SIZE");
}

}  // namespace

CLI::Option* AddBytes(CLI::App& command, const std::string& names, std::uint64_t& bytes,
                      const std::string& what) {
  CLI::Option* option = AddSize(command, names, bytes, what);
  if (bytes > 0) option->default_str(FormatBytes(bytes));
  return option;
}

CLI::Option* AddBytes(CLI::App& command, const std::string& names,
                      std::optional<std::uint64_t>& bytes, const std::string& what) {
  return AddSize(command, names, bytes, what);
}

CLI::Validator WholeNumber(std::uint64_t most) {
  return {[most](std::string& text) -> std::string {
            std::uint64_t number = 0;
            const char* end = text.data() + text.size();
            const auto [last, error] = std::from_chars(text.data(), end, number);
            if (error == std::errc{} && last == end && number <= most) return {};
            return fmt::format("\"{}\" is not a whole number from 0 to {}", text, most);
          },
          std::string{}};
}

CLI::Option* AddJson(CLI::App& command, std::string& file) {
  return command
      .add_option("--json", file,
                  "Write the figures as a JSON list of flat objects; \"-\" is standard output")
      ->type_name("FILE");
}

CLI::Option* AddPool(CLI::App& command, std::filesystem::path& file) {
  return command.add_option("--pool", file, "The pool file, as `kvpool probe --out` writes it")
      ->type_name("POOL.toml")
      ->required();
}

Result<Config> LoadPoolFile(const std::filesystem::path& file) {
  auto config = Config::Load(file);
  if (!config) return Fail(Status::kInvalid, config.error().message, config.error().system_errno);
  if (auto other = CheckNotItself(file, *config); !other) return tl::unexpected(other.error());
  return config;
}

Result<std::unique_ptr<Pool>> OpenPool(Config config) {
  if (!config.socket.empty() && !config.devices.empty()) {
    auto pool = Pool::Open(config);
    if (pool || pool.error().status != Status::kNotFound) return pool;
    config.socket.clear();
  }
  return Pool::Open(config);
}

Result<void> CheckNoDaemon(const Config& config) {
  if (config.socket.empty() || !Pool::Open(config)) return {};
  return Fail(Status::kBusy,
              fmt::format("kvpoold has the drives of this pool and serves it at {}: stop it first",
                          config.socket.string()));
}

}  // namespace kvpool::cli
