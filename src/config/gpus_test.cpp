#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "kvpool/config.h"

namespace kvpool {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kPool = R"(
[pool]
version = 1
[[device]]
name = "ram"
kind = "memory"
capacity = "4GiB"
read_bandwidth = "1GB/s"
write_bandwidth = "1GB/s"
)";

Config Parsed(const std::string& more) { return Config::Parse(kPool + more).value(); }

std::string Refused(const std::string& more) {
  const auto parsed = Config::Parse(kPool + more);
  return parsed ? "" : parsed.error().message;
}

TEST(ConfigGpus, AreRead) {
  const Config config = Parsed(R"(
[[gpu]]
name = "gpu1"
kind = "cuda"
ordinal = 1
bandwidth = "50GB/s"
numa_node = 1
[[gpu]]
name = "toy"
kind = "null"
bandwidth = "2GB/s"
latency_us = 7.5
)");
  ASSERT_EQ(config.gpus.size(), 2u);
  EXPECT_EQ(config.gpus[0], (GpuConfig{"gpu1", GpuKind::kCuda, 1, 50e9, 0, 1}));
  EXPECT_EQ(config.gpus[1], (GpuConfig{"toy", GpuKind::kNull, 0, 2e9, 7.5, -1}));
}

TEST(ConfigGpus, ACudaGpuNeedsItsNameAndKindOnly) {
  const Config config = Parsed("[[gpu]]\nname = \"g\"\nkind = \"cuda\"\n");
  EXPECT_EQ(config.gpus.front(), (GpuConfig{"g", GpuKind::kCuda, 0, 0, 0, -1}));
}

TEST(ConfigGpus, MistakesGetASentence) {
  EXPECT_THAT(Refused("[[gpu]]\nname = \"g\"\n"), HasSubstr("kind"));
  EXPECT_THAT(Refused("[[gpu]]\nname = \"g\"\nkind = \"rocm\"\n"), HasSubstr("\"cuda\""));
  EXPECT_THAT(Refused("[[gpu]]\nname = \"g\"\nkind = \"null\"\n"),
              HasSubstr("line 10: gpu \"g\": the bandwidth is missing"));
  EXPECT_THAT(Refused("[[gpu]]\nname = \"g\"\nkind = \"cuda\"\nlatency_us = 3\n"),
              HasSubstr("latency_us 3 is for null"));
  EXPECT_THAT(
      Refused("[[gpu]]\nname = \"g\"\nkind = \"null\"\nbandwidth = \"1GB/s\"\nordinal = 2\n"),
      HasSubstr("ordinal 2 is for cuda"));
}

TEST(ConfigGpus, ValidateFindsWhatNoFileSays) {
  Config config = Parsed("[[gpu]]\nname = \"g\"\nkind = \"cuda\"\n");
  EXPECT_THAT(config.Validate(), IsEmpty());
  config.gpus.push_back(config.gpus.front());
  EXPECT_THAT(config.Validate(),
              ElementsAre(HasSubstr("another GPU has this name"), HasSubstr("this ordinal")));
  config.gpus.resize(1);
  config.gpus[0].numa_node = -2;
  EXPECT_THAT(config.Validate(), ElementsAre(HasSubstr("numa_node -2 is no node")));
  config.gpus[0] = {"g", GpuKind::kNull, 0, 0.5};
  EXPECT_THAT(config.Validate(), ElementsAre(HasSubstr("must be from 1")));
  config.gpus.assign(kMaxGpus + 1, GpuConfig{});
  EXPECT_THAT(config.Validate(), ElementsAre(HasSubstr("more than the limit of 16")));
}

TEST(ConfigGpus, ADaemonMayHaveSome) {
  Config config = Parsed("[[gpu]]\nname = \"g\"\nkind = \"cuda\"\n");
  config.socket = "/run/kvpool/pool.sock";
  EXPECT_THAT(config.Validate(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace kvpool
