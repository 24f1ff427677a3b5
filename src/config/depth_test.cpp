// A file that nests without end is refused before the parser runs out of stack.
#include "config/depth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace kvpool {
namespace {

using config::FindTooDeep;
using ::testing::HasSubstr;

std::string Repeated(const std::string& text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

TEST(ConfigDepth, EndlessKeysAreRefusedWithTheirLine) {
  const std::string key = Repeated("a.", 50'000) + "a";
  for (const std::string& text :
       {"\n" + key + " = 1", "\n[" + key + "]", "\n[[" + key + "]]", "\nx = { " + key + " = 1 }",
        "\n" + Repeated("'a' . ", 50'000) + "a = 1",
        "\nx = { a = \"\"\"b\"\"\"\", " + key + " = 1 }",
        "\nx = { a = '''b''''', " + key + " = 1 }"}) {
    const auto config = Config::Parse(text);
    ASSERT_FALSE(config);
    EXPECT_EQ(config.error().status, Status::kInvalid);
    EXPECT_THAT(config.error().message, HasSubstr("line 2: a key of more than 65 parts"));
  }
}

TEST(ConfigDepth, EndlessBracketsAreRefused) {
  for (const char* open : {"[", "{ a = ", "[ { a = "}) {
    const auto config = Config::Parse("x = " + Repeated(open, 10'000));
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error().message, HasSubstr("more than 64 brackets"));
  }
}

TEST(ConfigDepth, TheLimitItselfIsNoProblem) {
  EXPECT_FALSE(FindTooDeep(Repeated("a.", 64) + "a = 1"));
  EXPECT_TRUE(FindTooDeep(Repeated("a.", 65) + "a = 1"));
  EXPECT_FALSE(FindTooDeep("x = " + Repeated("[", 64) + Repeated("]", 64)));
  EXPECT_TRUE(FindTooDeep("x = " + Repeated("[", 65) + Repeated("]", 65)));
}

TEST(ConfigDepth, StringsAndCommentsDoNotCount) {
  const std::string dots(1000, '.');
  const std::string many = dots + Repeated("[", 1000);
  for (const std::string& text :
       {"a = \"" + many + "\"", "a = '" + many + "'", "a = \"\\\"" + many + "\"",
        "a = \"\"\"\n" + many + "\n\"" + many + "\"\"\"", "a = '''\n" + many + "\n'''",
        "a = 1 # " + many + "\nb = 2", "a = '\\' # " + many, "a = [" + Repeated("1.5, ", 500) + "]",
        "a = \"" + many, "a = \"\"\"" + many, std::string("a = \"\\")}) {
    EXPECT_FALSE(FindTooDeep(text)) << text.substr(0, 20);
  }
}

}  // namespace
}  // namespace kvpool
