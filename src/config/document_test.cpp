// The examples in docs/configuration.md are valid, and its table names every key.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "kvpool/config.h"

namespace kvpool {
namespace {

std::string Document() {
  std::ifstream file(std::string(KVPOOL_SOURCE_DIR) + "/docs/configuration.md");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> Examples(const std::string& document) {
  const std::string fence = "```toml\n";
  std::vector<std::string> examples;
  for (std::size_t at = 0; (at = document.find(fence, at)) != std::string::npos;) {
    at += fence.size();
    const std::size_t end = document.find("```", at);
    examples.push_back(document.substr(at, end - at));
    at = end;
  }
  return examples;
}

// What is known to a table is what its complaint about an unknown key lists.
std::vector<std::string> KnownKeys(const std::string& toml) {
  const std::string complaint = Config::Parse(toml).error().message;
  std::vector<std::string> keys;
  std::size_t at = complaint.find("\"zzzzzzzz\": known are ");
  at = complaint.find('"', complaint.find("known are", at));
  const std::size_t end = complaint.find('\n', at);
  while (at < end) {
    const std::size_t close = complaint.find('"', at + 1);
    keys.push_back(complaint.substr(at + 1, close - at - 1));
    at = complaint.find('"', close + 1);
  }
  return keys;
}

TEST(ConfigurationDocument, ExamplesParse) {
  const auto examples = Examples(Document());
  ASSERT_GE(examples.size(), 2u);
  for (const std::string& example : examples) {
    const auto config = Config::Parse(example);
    EXPECT_TRUE(config) << example << config.error().message;
  }
}

TEST(ConfigurationDocument, NamesEveryKey) {
  const std::string document = Document();
  std::size_t keys = 0;
  for (const char* table :
       {"[pool]", "[[device]]", "[[device]]\n[device.slow]", "[[link]]", "[[gpu]]", "[[tenant]]"}) {
    for (const std::string& key : KnownKeys(std::string(table) + "\nzzzzzzzz = 1\n")) {
      EXPECT_NE(document.find("| `" + key + "` |"), std::string::npos) << table << " " << key;
      ++keys;
    }
  }
  EXPECT_EQ(keys, 46u);
}

}  // namespace
}  // namespace kvpool
