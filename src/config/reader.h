// Reader: one TOML table, read key by key. A key that nobody asked for is an unknown one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/problem.h"
#include "config/toml.h"

namespace kvpool::config {

// What reading has found wrong. Threads: one.
struct Report {
  std::vector<Problem> problems;
  std::vector<std::pair<std::string, int>> lines;  // of every key that was read
  std::set<std::string> bad;                       // keys that already have their problem

  void Add(std::string key, int line, std::string sentence);
  int LineOf(std::string_view key) const;
};

// Each method leaves `out` alone where the key is absent or wrong; wrong ones go to the report.
// Threads: one. The table and the report outlive it.
class Reader {
 public:
  // `prefix` of keys in the report, such as "device[0]."; `title` names the table to people.
  Reader(const toml::table& table, std::string prefix, std::string title, Report& report);

  // The keys that must be there. `example` is what follows the key's name in the advice.
  void Require(const char* key, const char* example);

  void Text(const char* key, std::string& out);
  void Path(const char* key, const std::filesystem::path& relative_to, std::filesystem::path& out);
  void Flag(const char* key, bool& out);
  void Size(const char* key, std::uint64_t& out);  // "4GiB" or bytes
  void Size(const char* key, std::optional<std::uint64_t>& out);
  void Rate(const char* key, double& out);  // "800MB/s" or bytes per second
  void Number(const char* key, double& out);
  void Names(const char* key, std::vector<std::string>& out);
  // Unix users or groups, by name or number.
  void Accounts(const char* key, std::vector<std::string>& out);
  // One of `words`; `out` becomes its position.
  void Choice(const char* key, std::span<const std::string_view> words, std::size_t& out);

  template <class T>
  void Whole(const char* key, T& out) {
    std::int64_t value = 0;
    if (!ReadWhole(key, value)) return;
    if (std::in_range<T>(value)) {
      out = static_cast<T>(value);
    } else {
      Wrong(key, "is out of range: write a smaller whole number");
    }
  }

  const toml::table* Table(const char* key);
  std::vector<const toml::table*> Tables(const char* key);  // [[key]]

  // Reports what was never asked for. Call last.
  void Finish();

 private:
  const toml::node* Find(const char* key);
  bool ReadWhole(const char* key, std::int64_t& out);
  void Wrong(const char* key, std::string_view what);

  const toml::table& table_;
  std::string prefix_;
  std::string title_;
  Report& report_;
  std::vector<std::string> known_;
};

}  // namespace kvpool::config
