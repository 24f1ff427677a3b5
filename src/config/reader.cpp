#define TOML_IMPLEMENTATION
#include "config/reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/units.h"
#include "config/suggest.h"
#include "config/text.h"

namespace kvpool::config {
namespace {

int LineIn(const toml::source_region& source) { return static_cast<int>(source.begin.line); }

// `node` is a number.
double ToDouble(const toml::node& node) {
  if (const auto* whole = node.as_integer()) return static_cast<double>(whole->get());
  return node.as_floating_point()->get();
}

}  // namespace

void Report::Add(std::string key, int line, std::string sentence) {
  bad.insert(key);
  problems.push_back({std::move(key), std::move(sentence), line});
}

int Report::LineOf(std::string_view key) const {
  // A key that is absent is blamed on its table: "device[0].path", then "device[0].".
  while (true) {
    for (const auto& [name, line] : lines) {
      if (name == key) return line;
    }
    if (!key.empty() && key.back() == '.') key.remove_suffix(1);
    const std::size_t dot = key.rfind('.');
    if (dot == std::string_view::npos) return 0;
    key = key.substr(0, dot + 1);
  }
}

Reader::Reader(const toml::table& table, std::string prefix, std::string title, Report& report)
    : table_(table), prefix_(std::move(prefix)), title_(std::move(title)), report_(report) {
  if (!prefix_.empty()) report_.lines.emplace_back(prefix_, LineIn(table.source()));
}

const toml::node* Reader::Find(const char* key) {
  known_.emplace_back(key);
  const toml::node* node = table_.get(key);
  if (node != nullptr) report_.lines.emplace_back(prefix_ + key, LineIn(node->source()));
  return node;
}

void Reader::Wrong(const char* key, std::string_view what) {
  const std::string name = prefix_ + key;
  report_.Add(name, report_.LineOf(name), fmt::format("{}: {} {}", title_, key, what));
}

void Reader::Require(const char* key, const char* example) {
  if (table_.get(key) == nullptr) {
    Wrong(key, fmt::format("is missing: add {} = {}", key, example));
  }
}

void Reader::Text(const char* key, std::string& out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  if (const auto* text = node->as_string()) {
    out = text->get();
  } else {
    Wrong(key, "must be text in double quotes");
  }
}

void Reader::Path(const char* key, const std::filesystem::path& relative_to,
                  std::filesystem::path& out) {
  std::string text;
  Text(key, text);
  if (text.empty()) return;
  out = relative_to / std::filesystem::path(text);
}

void Reader::Flag(const char* key, bool& out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  if (const auto* flag = node->as_boolean()) {
    out = flag->get();
  } else {
    Wrong(key, "must be true or false");
  }
}

void Reader::Size(const char* key, std::uint64_t& out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  if (const auto* whole = node->as_integer(); whole != nullptr && whole->get() >= 0) {
    out = static_cast<std::uint64_t>(whole->get());
    return;
  }
  const auto* text = node->as_string();
  const auto bytes = ParseBytes(text != nullptr ? text->get() : "");
  if (text != nullptr && bytes) {
    out = *bytes;
  } else {
    Wrong(key, "must be a size such as \"4GiB\" or a whole number of bytes");
  }
}

void Reader::Size(const char* key, std::optional<std::uint64_t>& out) {
  std::uint64_t bytes = 0;
  Size(key, bytes);
  if (table_.get(key) != nullptr && !report_.bad.contains(prefix_ + key)) out = bytes;
}

void Reader::Rate(const char* key, double& out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  if (node->is_number()) {
    out = ToDouble(*node);
    return;
  }
  const auto* text = node->as_string();
  std::string_view size = text != nullptr ? std::string_view(text->get()) : "";
  const bool per_second = size.ends_with("/s");
  if (per_second) size.remove_suffix(2);
  const auto bytes = ParseBytes(size);
  if (per_second && bytes) {
    out = static_cast<double>(*bytes);
  } else {
    Wrong(key, "must be a rate such as \"800MB/s\" or a number of bytes per second");
  }
}

void Reader::Number(const char* key, double& out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  if (node->is_number()) {
    out = ToDouble(*node);
  } else {
    Wrong(key, "must be a number");
  }
}

void Reader::Names(const char* key, std::vector<std::string>& out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  const toml::array* list = node->as_array();
  if (list == nullptr || !std::all_of(list->begin(), list->end(),
                                      [](const toml::node& item) { return item.is_string(); })) {
    Wrong(key, "must be a list of names such as [\"ssd0\", \"ssd1\"]");
    return;
  }
  for (const toml::node& item : *list) out.push_back(item.as_string()->get());
}

void Reader::Accounts(const char* key, std::vector<std::string>& out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  const toml::array* list = node->as_array();
  const auto fits = [](const toml::node& item) {
    return item.is_string() || (item.is_integer() && item.as_integer()->get() >= 0);
  };
  if (list == nullptr || !std::all_of(list->begin(), list->end(), fits)) {
    Wrong(key, "must be a list of names or numbers such as [\"alice\", 1001]");
    return;
  }
  for (const toml::node& item : *list) {
    const auto* text = item.as_string();
    out.push_back(text != nullptr ? text->get() : fmt::format("{}", item.as_integer()->get()));
  }
}

void Reader::Choice(const char* key, std::span<const std::string_view> words, std::size_t& out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  const auto* text = node->as_string();
  const auto found =
      text == nullptr ? words.end() : std::find(words.begin(), words.end(), text->get());
  if (found == words.end()) {
    Wrong(key, fmt::format("must be one of \"{}\"", fmt::join(words, "\", \"")));
  } else {
    out = static_cast<std::size_t>(found - words.begin());
  }
}

bool Reader::ReadWhole(const char* key, std::int64_t& out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return false;
  const auto* whole = node->as_integer();
  if (whole == nullptr) {
    Wrong(key, "must be a whole number");
    return false;
  }
  out = whole->get();
  return true;
}

const toml::table* Reader::Table(const char* key) {
  const toml::node* node = Find(key);
  if (node == nullptr) return nullptr;
  if (!node->is_table()) Wrong(key, fmt::format("must be a table: write [{}{}]", prefix_, key));
  return node->as_table();
}

std::vector<const toml::table*> Reader::Tables(const char* key) {
  const toml::node* node = Find(key);
  if (node == nullptr) return {};
  const toml::array* list = node->as_array();
  std::vector<const toml::table*> tables;
  if (list != nullptr) {
    for (const toml::node& item : *list) tables.push_back(item.as_table());
  }
  if (list == nullptr || std::count(tables.begin(), tables.end(), nullptr) > 0) {
    Wrong(key, prefix_.empty()
                   ? fmt::format("must be written [[{}]], with two brackets, once for each", key)
                   : "must be a list of tables such as [{ ... }, { ... }]");
    return {};
  }
  return tables;
}

void Reader::Finish() {
  for (const auto& [key, value] : table_) {
    const std::string name(key.str());
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    report_.Add(
        prefix_ + name, LineIn(key.source()),
        fmt::format("{}: unknown key \"{}\": {}", title_, Printable(name), Suggest(name, known_)));
  }
}

}  // namespace kvpool::config
