#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/limits.h"
#include "bench/compare/arithmetic.h"
#include "bench/compare/bench.h"
#include "bench/compare/chart.h"
#include "bench/compare/content.h"
#include "bench/compare/fio.h"
#include "bench/compare/scratch.h"
#include "bench/compare/table.h"

namespace kvpool::bench {
namespace {

using ::testing::HasSubstr;

Setting FourDevices() {
  Setting setting;
  setting.block_bytes = kMiB;
  setting.blocks = 64;
  setting.devices = {{.name = "memory 1",
                      .kind = DeviceKind::kMemory,
                      .read_bytes_per_s = 3000e6,
                      .write_bytes_per_s = 3000e6,
                      .emulated = true}};
  for (const double speed : {800e6, 400e6, 200e6}) {
    setting.devices.push_back({.name = "file",
                               .kind = DeviceKind::kFile,
                               .read_bytes_per_s = speed,
                               .write_bytes_per_s = speed,
                               .emulated = true});
  }
  return setting;
}

TEST(Arithmetic, MatchesTheFiguresOfTheBenchmarksPage) {
  Setting setting = FourDevices();
  const double pool = *ExpectedBytesPerS("pool", setting, 64);
  EXPECT_NEAR(pool, 4400e6, 1);
  EXPECT_NEAR(*ExpectedBytesPerS("equal", setting, 64), 4 * 200e6, 1);
  EXPECT_NEAR(pool / *ExpectedBytesPerS("serial", setting, 64), 4.49, 0.005);
  setting.memory_limit = 0.25;
  EXPECT_NEAR(*ExpectedBytesPerS("pool", setting, 64) / *ExpectedBytesPerS("serial", setting, 64),
              1.91, 0.005);
  EXPECT_FALSE(ExpectedBytesPerS("fio", setting, 64));
}

TEST(Arithmetic, ATighterLimitAndMissingKindsBindTheSerialCaches) {
  Setting setting = FourDevices();
  EXPECT_EQ(SerialMemoryPeriod(setting), 4u);
  EXPECT_EQ(SerialMemoryBlocks(setting, 5), 2u);
  setting.memory_limit = 0.1;
  EXPECT_EQ(SerialMemoryPeriod(setting), 10u);
  setting.memory_limit = 0;
  EXPECT_EQ(SerialMemoryBlocks(setting, 64), 0u);
  setting.memory_limit.reset();
  setting.devices.erase(setting.devices.begin());
  EXPECT_EQ(SerialMemoryBlocks(setting, 64), 0u);
  EXPECT_NEAR(*ExpectedBytesPerS("serial", setting, 64), 800e6, 1);
  setting.devices = {FourDevices().devices[0]};
  EXPECT_EQ(SerialMemoryBlocks(setting, 64), 64u);
  EXPECT_NEAR(*ExpectedBytesPerS("serial", setting, 64), 3000e6, 1);
}

TEST(Options, ReadsDevicesAndSaysWhatIsWrong) {
  const auto devices = ParseDevices("memory:3000,memory@1:1500.5,file:800,file");
  ASSERT_TRUE(devices);
  ASSERT_EQ(devices->size(), 4u);
  EXPECT_EQ((*devices)[0].bytes_per_s, 3000e6);
  EXPECT_EQ((*devices)[1].numa_node, 1);
  EXPECT_EQ((*devices)[1].bytes_per_s, 1500.5e6);
  EXPECT_EQ((*devices)[3].bytes_per_s, 0);
  for (const char* bad : {"", "disk:3", "file:", "file:x", "file:-1", "file@0:3", "memory@:3",
                          "memory@x:3", "file:800,", "file:nan", "file:inf"}) {
    const auto refused = ParseDevices(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_THAT(refused.error().message, HasSubstr("memory:3000")) << bad;
  }
}

TEST(Options, ReadsPercentsFractionsAndMethods) {
  EXPECT_EQ(*ParsePercents("5,25%,100"), (std::vector<double>{5, 25, 100}));
  for (const char* bad : {"", "0", "101", "5,,6", "x"}) EXPECT_FALSE(ParsePercents(bad)) << bad;
  EXPECT_EQ(*ParseFraction("25%"), 0.25);
  for (const char* bad : {"", "25", "%", "-1%", "101%"}) EXPECT_FALSE(ParseFraction(bad)) << bad;
  EXPECT_EQ(*ParseMethods("pool,fio,pool"), (std::vector<std::string>{"pool", "fio"}));
  EXPECT_THAT(ParseMethods("pol").error().message, HasSubstr("serial-direct"));
}

TEST(Options, EveryProblemIsTold) {
  BenchOptions options;
  options.repeat = 0;
  options.methods = {"fio"};
  options.unit_bytes = 5;
  EXPECT_EQ(Validate(options).size(), 4u);  // no devices, repeat, fio, unit
  BenchOptions small;
  small.devices = *ParseDevices("file:100");
  small.dir = "/";
  small.context_bytes = kMiB;
  ASSERT_EQ(Validate(small).size(), 1u);
  EXPECT_THAT(Validate(small).front(), HasSubstr("fewer tokens"));
}

TEST(Demo, StaysBelowWhatTheMachineGivesAndWithinItsMemory) {
  for (const double folder : {100e6, 2000e6, 20000e6}) {
    const MachineSpeed speed{.memory_bytes_per_s = 8e9, .folder_bytes_per_s = folder};
    const BenchOptions options = DemoOptions("/", speed, 4 * kGiB);
    EXPECT_TRUE(Validate(options).empty());
    double files = 0;
    double memory = 0;
    for (const BenchDevice& device : options.devices) {
      (device.kind == DeviceKind::kFile ? files : memory) += device.bytes_per_s;
    }
    EXPECT_LE(files, 0.6 * folder);
    EXPECT_LE(memory, 0.7 * speed.memory_bytes_per_s);
    EXPECT_LE(options.context_bytes, kGiB);
    EXPECT_GE(options.context_bytes / options.geometry.block_bytes(), 16u);
  }
}

TEST(Content, EveryBlockIsItsOwnAndAChangedByteIsFound) {
  std::vector<std::byte> buffer(4 * 8192);
  Content content(7, buffer, 8192);
  content.Fill();
  EXPECT_FALSE(content.FirstWrongBlock(4));
  for (int b = 1; b < 4; ++b) {
    EXPECT_FALSE(
        std::equal(content.Block(0).begin(), content.Block(0).end(), content.Block(b).begin()));
  }
  buffer[3 * 8192 - 1] ^= std::byte{1};
  EXPECT_EQ(content.FirstWrongBlock(4), 2u);
  EXPECT_FALSE(content.FirstWrongBlock(2));
  content.Fill();
  EXPECT_FALSE(content.FirstWrongBlock(4));
  Poison(content.buffer());
  EXPECT_EQ(content.FirstWrongBlock(4), 0u);
}

TEST(Fio, ReadsWhatItPrints) {
  const auto figures = ParseFio(R"(fio: a warning
{"jobs": [{"job_runtime": 2000, "usr_cpu": 0.5, "sys_cpu": 1.5,
           "read": {"io_bytes": 4294967296, "bw_bytes": 2000000000}}]})");
  ASSERT_TRUE(figures);
  EXPECT_NEAR(figures->cpu_s, 0.04, 1e-9);
  EXPECT_EQ(figures->bytes, 4294967296u);
  EXPECT_FALSE(ParseFio("no JSON"));
  EXPECT_FALSE(ParseFio(R"({"jobs": [{}]})"));
}

// A folder of the test's own.
class CompareTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "kvpool-compare-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  // 16 blocks of 256 KiB; fast enough to end in a fraction of a second.
  BenchOptions Tiny(std::string_view devices, std::string_view methods) const {
    BenchOptions options;
    options.devices = *ParseDevices(devices);
    options.dir = dir_;
    options.geometry = {.name = "tiny", .layers = 4, .block_tokens = 2};
    options.context_bytes = 16 * options.geometry.block_bytes();
    options.unit_bytes = 32 * kKiB;
    options.prefix_percent = {25, 100};
    options.methods = *ParseMethods(methods);
    options.repeat = 2;
    options.accept_buffered = true;
    return options;
  }
  std::string Read(const std::filesystem::path& path) const {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::filesystem::path dir_;
};

constexpr std::string_view kUnequal = "memory:400,file:200,file:100";

TEST_F(CompareTest, EveryMethodBringsEverythingBackAndLeavesNothingBehind) {
  const auto result = RunBench(Tiny(kUnequal, "pool,equal,serial,serial-direct"));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
  ASSERT_EQ(result->rows.size(), 2u * 4 + 2);
  std::map<std::string, double> rate;
  for (const Row& row : result->rows) {
    EXPECT_EQ(row.bytes, row.case_name == "prefix=25%" ? kMiB : 4 * kMiB) << row.method;
    EXPECT_GT(*row.cpu_s_per_gib, 0);
    // Emulated devices are never faster than they were told to be.
    EXPECT_LT(*row.fraction_of_devices, 1.01) << row.case_name << " " << row.method;
    if (row.case_name == "prefix=100%") rate[row.method] = *row.bytes_per_s;
  }
  EXPECT_EQ(result->rows.back().method, "equal-put");
  EXPECT_EQ(result->timelines.size(), 4u);
  for (const Timeline& timeline : result->timelines) {
    std::uint64_t bytes = 0;
    for (const DeviceTimeline& device : timeline.devices) bytes += device.bytes_read.back();
    EXPECT_EQ(bytes, 4 * kMiB) << timeline.method;
  }
}

TEST_F(CompareTest, SerialKeepsTheArithmeticsPace) {
  BenchOptions options = Tiny("memory:200,file:50", "serial,serial-direct");
  options.prefix_percent = {100};
  options.timelines = false;
  const auto result = RunBench(options);
  ASSERT_TRUE(result) << result.error().message;
  for (const Row& row : result->rows) {
    EXPECT_LT(*row.bytes_per_s_max, 1.01 * *row.expected_bytes_per_s) << row.method;
    EXPECT_FALSE(row.note.empty());
  }
}

TEST_F(CompareTest, AStopEndsItEarlyAndLeavesNothingBehind) {
  std::atomic<bool> stop{false};
  BenchOptions options = Tiny(kUnequal, "serial,serial-direct");
  options.stop = &stop;
  options.progress = [&](const Progress& progress) { stop = progress.fraction > 0.2; };
  const auto result = RunBench(options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().status, Status::kCancelled);
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
}

TEST_F(CompareTest, ProgressNeverFallsAndEndsAtOne) {
  BenchOptions options = Tiny(kUnequal, "serial");
  double last = 0;
  options.progress = [&](const Progress& progress) {
    EXPECT_GE(progress.fraction, last);
    last = progress.fraction;
  };
  ASSERT_TRUE(RunBench(options));
  EXPECT_EQ(last, 1);
}

TEST_F(CompareTest, TooLargeAContextIsRefusedInOneSentence) {
  BenchOptions options = Tiny("memory:400", "pool");
  options.geometry = {};
  options.context_bytes = 1ull << 48;
  options.geometry.block_tokens = 1 << 20;
  options.unit_bytes = kMaxUnitBytes;
  options.geometry.bytes_per_token = 4096;
  const auto result = RunBench(options);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("--context"));
}

TEST_F(CompareTest, AFolderThatIsNotThereIsRefused) {
  BenchOptions options = Tiny(kUnequal, "serial");
  options.dir = dir_ / "absent";
  const auto result = RunBench(options);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("no folder"));
}

TEST_F(CompareTest, LeftoversOfAKilledRunGoAndThoseOfALivingOneStay) {
  std::filesystem::create_directories(dir_ / "kvpool-bench-1-living");  // init lives
  std::filesystem::create_directories(dir_ / "kvpool-bench-999999999-gone" / "deep");
  std::filesystem::create_directories(dir_ / "kvpool-bench-mine");
  {
    ASSERT_TRUE(Scratch::Make(dir_));
  }
  EXPECT_TRUE(std::filesystem::exists(dir_ / "kvpool-bench-1-living"));
  EXPECT_FALSE(std::filesystem::exists(dir_ / "kvpool-bench-999999999-gone"));
  EXPECT_TRUE(std::filesystem::exists(dir_ / "kvpool-bench-mine"));
}

TEST_F(CompareTest, JsonIsAHeaderAndFlatRows) {
  Row row;
  row.bench = "compare";
  row.case_name = "prefix=5%";
  row.method = "pool";
  row.bytes = 7;
  row.seconds = 0.5;
  row.more = {{"latency_us_p99", 12}};
  ASSERT_TRUE(WriteJson(dir_ / "out.json", MakeHeader("settings"), std::span(&row, 1)));
  const auto json = nlohmann::json::parse(Read(dir_ / "out.json"));
  ASSERT_TRUE(json.is_array());
  ASSERT_EQ(json.size(), 2u);
  for (const char* name : {"commit", "config_hash", "machine", "date"}) {
    EXPECT_TRUE(json[0].at(name).is_string()) << name;
  }
  EXPECT_EQ(json[1].at("case"), "prefix=5%");
  EXPECT_EQ(json[1].at("seconds"), 0.5);
  EXPECT_EQ(json[1].at("latency_us_p99"), 12);
  EXPECT_FALSE(json[1].contains("blocked_s"));
  for (const auto& object : json) {
    for (const auto& [name, value] : object.items()) EXPECT_TRUE(value.is_primitive()) << name;
  }
  EXPECT_FALSE(WriteJson(dir_ / "absent" / "out.json", MakeHeader(""), {}));
}

TEST(Header, EqualSettingsHashAlike) {
  EXPECT_EQ(MakeHeader("a").config_hash, MakeHeader("a").config_hash);
  EXPECT_NE(MakeHeader("a").config_hash, MakeHeader("b").config_hash);
}

Timeline TwoDevices() {
  Timeline timeline;
  timeline.method = "pool <&>";
  timeline.bytes = 300;
  timeline.seconds = 1;
  timeline.at_s = {0, 0.5, 1};
  timeline.devices = {{"memory 1", 200, {0, 100, 200}}, {"file 1", 100, {0, 100, 100}}};
  return timeline;
}

TEST(Chart, BinsHoldEveryByte) {
  const auto rates = Bins(TwoDevices(), 4, 1.0);
  ASSERT_EQ(rates.size(), 2u);
  EXPECT_THAT(rates[0], ::testing::ElementsAre(200, 200, 200, 200));
  EXPECT_THAT(rates[1], ::testing::ElementsAre(200, 200, 0, 0));
}

TEST(Chart, TicksAreRound) {
  EXPECT_THAT(NiceTicks(4.9, 4), ::testing::ElementsAre(0, 2, 4));
  EXPECT_THAT(NiceTicks(1.0, 5), ::testing::Contains(0.2));
  EXPECT_TRUE(NiceTicks(0, 5).empty());
}

TEST_F(CompareTest, TheReportHasOnePictureAMethodAndNeedsNothingElse) {
  BenchResult result;
  result.header = MakeHeader("x");
  result.timelines = {TwoDevices(), TwoDevices(), TwoDevices()};
  result.warnings = {"a <warning>"};
  Row row{.bench = "b", .case_name = "prefix=100%", .method = "pool", .bytes = 300};
  row.seconds = 1;
  row.bytes_per_s = 300;
  result.rows = {row};
  ASSERT_TRUE(WriteReport(dir_ / "report.html", result));
  const std::string page = Read(dir_ / "report.html");
  std::size_t pictures = 0;
  for (std::size_t at = 0; (at = page.find("<svg", at)) != std::string::npos; ++at) ++pictures;
  EXPECT_EQ(pictures, 3u);
  EXPECT_THAT(page, HasSubstr("pool &lt;&amp;&gt;"));
  EXPECT_THAT(page, HasSubstr("a &lt;warning&gt;"));
  for (const char* outside : {"http://", "https://", "src=", "@import", "<link", "<script"}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
}

}  // namespace
}  // namespace kvpool::bench
