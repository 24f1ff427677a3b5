#include "kvpool/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/limits.h"
#include "config/suggest.h"

namespace kvpool {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kGood = R"([pool]
version = 1
unit = "128KiB"
placement = "equal"
catalog = "catalog.db"
deadline_ms = 500

[[device]]
name = "ram"
kind = "memory"
capacity = 4194304
read_bandwidth = "3GB/s"
write_bandwidth = 2.5e9

[[device]]
name = "ssd"
kind = "file"
path = "/data/ssd"
capacity = "4GiB"
read_bandwidth = 800_000_000
write_bandwidth = "400MB/s"
write_budget_per_day = "2TB"
accept_buffered = true
faults = "fail 3 \n"
[device.slow]
bandwidth = "100MB/s"
latency_us = 80.5
seed = 7
later = [{ after_s = 1.5, bandwidth = "50MB/s" }, { after_s = 9, bandwidth = "100MB/s" }]

[[link]]
name = "socket0"
bandwidth = "1GB/s"
devices = ["ram", "ssd"]

[[tenant]]
name = "team-a"
users = ["alice", 1001]
groups = ["staff"]
quota = "200GiB"
weight = 3
readers = ["team-b"]

[[tenant]]
name = "team-b"
users = [0]
)";

Config Good() {
  auto config = Config::Parse(kGood);
  EXPECT_TRUE(config) << config.error().message;
  return *config;
}

std::string Complaint(std::string_view toml) {
  const auto config = Config::Parse(toml);
  EXPECT_FALSE(config) << toml;
  if (config) return "";
  EXPECT_EQ(config.error().status, Status::kInvalid);
  return config.error().message;
}

// kGood with one passage replaced.
std::string With(std::string_view from, std::string_view to) {
  std::string text = kGood;
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(ConfigParse, ReadsEveryForm) {
  const Config config = Good();
  EXPECT_EQ(config.unit_bytes, 128 * kKiB);
  EXPECT_EQ(config.placement, Placement::kEqual);
  EXPECT_EQ(config.catalog, "catalog.db");
  EXPECT_EQ(config.deadline, std::chrono::milliseconds(500));
  ASSERT_EQ(config.devices.size(), 2u);
  const DeviceConfig& ram = config.devices[0];
  EXPECT_EQ(ram.kind, DeviceKind::kMemory);
  EXPECT_EQ(ram.capacity_bytes, 4 * kMiB);
  EXPECT_EQ(ram.read_bytes_per_s, 3e9);
  EXPECT_EQ(ram.write_bytes_per_s, 2.5e9);
  EXPECT_FALSE(ram.slow);
  const DeviceConfig& ssd = config.devices[1];
  EXPECT_EQ(ssd.kind, DeviceKind::kFile);
  EXPECT_EQ(ssd.path, "/data/ssd");
  EXPECT_EQ(ssd.capacity_bytes, 4 * kGiB);
  EXPECT_EQ(ssd.read_bytes_per_s, 8e8);
  EXPECT_EQ(ssd.write_budget_per_day, 2'000'000'000'000u);
  EXPECT_TRUE(ssd.accept_buffered);
  EXPECT_EQ(ssd.faults, "fail 3 \n");
  EXPECT_EQ(
      ssd.slow,
      (SlowConfig{
          .bytes_per_s = 1e8, .latency_us = 80.5, .seed = 7, .later = {{1.5, 5e7}, {9, 1e8}}}));
  ASSERT_EQ(config.links.size(), 1u);
  EXPECT_EQ(config.links[0].bytes_per_s, 1e9);
  EXPECT_THAT(config.links[0].devices, ElementsAre("ram", "ssd"));
  EXPECT_THAT(
      config.tenants,
      ElementsAre(TenantConfig{.name = "team-a",
                               .users = {"alice", "1001"},
                               .groups = {"staff"},
                               .quota_bytes = 200 * kGiB,
                               .weight = 3,
                               .readers = {"team-b"}},
                  TenantConfig{.name = "team-b", .users = {"0"}, .groups = {}, .readers = {}}));
}

TEST(ConfigParse, PathsAreRelativeToTheFile) {
  const auto config = Config::Parse(kGood, "/etc/kvpool");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->catalog, "/etc/kvpool/catalog.db");
  EXPECT_EQ(config->devices[0].path, "");
  EXPECT_EQ(config->devices[1].path, "/data/ssd");
}

TEST(ConfigParse, ListsEveryProblemWithItsLine) {
  const std::string complaint = Complaint(R"([pool]
version = 1
unit = "3MiB"
verfy = false

[[device]]
name = "ram"
kind = "memory"
capacity = "5MB"
read_bandwidth = "fast"
write_bandwidth = 0
)");
  EXPECT_THAT(complaint, HasSubstr("5 problems"));
  EXPECT_THAT(complaint, HasSubstr("line 3: pool: unit is 3 MiB and must be a power of two"));
  EXPECT_THAT(complaint,
              HasSubstr("line 4: pool: unknown key \"verfy\": did you mean \"verify\"?"));
  EXPECT_THAT(complaint, HasSubstr("line 9: device \"ram\": capacity 5000000 is not a multiple"));
  EXPECT_THAT(complaint, HasSubstr("line 10: device \"ram\": read_bandwidth must be a rate"));
  EXPECT_THAT(complaint, HasSubstr("line 11: device \"ram\": write_bandwidth is 0 bytes/s"));
}

TEST(ConfigParse, AnotherVersionIsOneSentence) {
  const std::string complaint = Complaint("[pool]\nversion = 2\nnew_key = 5\n");
  EXPECT_THAT(complaint, HasSubstr("written for version 2 and this kvpool reads version 1"));
  EXPECT_THAT(complaint, Not(HasSubstr("\n")));
}

TEST(ConfigParse, MissingKeysSayWhatToAdd) {
  const std::string complaint = Complaint("[[device]]\n");
  for (const char* part :
       {"pool is missing", "name is missing", "kind is missing", "capacity is missing",
        "path is missing", "add read_bandwidth = ", "add write_bandwidth = "}) {
    EXPECT_THAT(complaint, HasSubstr(part));
  }
  EXPECT_THAT(Complaint("[pool]\n"), HasSubstr("version is missing: add version = 1"));
}

TEST(ConfigParse, RefusesWhatIsNoToml) {
  EXPECT_THAT(Complaint("[pool]\nversion = = 1\n"), HasSubstr("line 2: not TOML"));
  EXPECT_THAT(Complaint(""), HasSubstr("no device"));
  EXPECT_THAT(Complaint(std::string(2 * kMiB, '#')), HasSubstr("no pool file"));
}

struct Mistake {
  const char* from;
  const char* to;
  const char* complaint;
};

TEST(ConfigParse, EachMistakeHasItsSentence) {
  const std::array mistakes{
      Mistake{"version = 1", "version = \"1\"", "line 2: pool: version must be a whole number"},
      Mistake{"unit = \"128KiB\"", "unit = true", "line 3: pool: unit must be a size"},
      Mistake{"placement = \"equal\"", "placement = \"even\"",
              "must be one of \"bandwidth\", \"equal\""},
      Mistake{"deadline_ms = 500", "deadline_ms = 0", "deadline_ms is 0 and must be from 1"},
      Mistake{"deadline_ms = 500", "lanes = -1", "lanes is out of range"},
      Mistake{"deadline_ms = 500", "name = \"a b\"", "pool name: \"a b\" is not a name"},
      Mistake{"name = \"ram\"", "name = 1", "line 9: device 1: name must be text"},
      Mistake{"name = \"ssd\"", "name = \"ram\"", "another device has this name"},
      Mistake{"kind = \"memory\"", "kind = \"ram\"",
              "kind must be one of \"memory\", \"file\", \"block\", \"nvme\", \"spdk\", \"drive\""},
      Mistake{"kind = \"memory\"", "kind = \"memory\"\npath = \"x\"", "memory has no path"},
      Mistake{"path = \"/data/ssd\"", "path = \"./catalog.db\"", "the catalog uses the same path"},
      Mistake{"capacity = 4194304", "capacity = -5", "capacity must be a size"},
      Mistake{"capacity = 4194304", "capacity = \"8192TiB\"", "above the limit"},
      Mistake{"kind = \"file\"", "kind = \"file\"\nnuma_node = 1", "numa_node 1 is for memory"},
      Mistake{"kind = \"file\"", "kind = \"block\"", "accept_buffered is for files"},
      Mistake{"kind = \"file\"", "kind = \"file\"\npolled = true", "polled is for nvme and drive"},
      Mistake{"accept_buffered = true", "accept_buffered = 1", "must be true or false"},
      Mistake{"kind = \"file\"", "kind = \"file\"\naddress = \"trtype:TCP traddr:1\"",
              "address is for spdk"},
      Mistake{"kind = \"file\"", "kind = \"spdk\"\naddress = \"trtype:TCP traddr:1\"",
              "spdk reaches its drive by address"},
      Mistake{"kind = \"file\"\npath = \"/data/ssd\"", "kind = \"spdk\"",
              "the address is not a transport id"},
      Mistake{"write_bandwidth = 2.5e9", "write_bandwidth = inf", "write_bandwidth is inf"},
      Mistake{"write_bandwidth = 2.5e9", "write_bandwidth = nan", "write_bandwidth is nan"},
      Mistake{"latency_us = 80.5", "latency_us = -1", "slow.latency_us is -1"},
      Mistake{"bandwidth = \"100MB/s\"", "latency = 5", "slow: bandwidth is missing"},
      Mistake{"bandwidth = \"100MB/s\"", "bandwidth = \"100MB\"", "slow: bandwidth must be a rate"},
      Mistake{"[[link]]", "[link]", "link must be written [[link]]"},
      Mistake{"[device.slow]", "[device.slwo]", "did you mean \"slow\"?"},
      Mistake{"[\"ram\", \"ssd\"]", "[\"ram\", \"hdd\"]", "no device is named \"hdd\""},
      Mistake{"[\"ram\", \"ssd\"]", "[]", "link \"socket0\": no devices"},
      Mistake{"[\"ram\", \"ssd\"]", "[\"ram\", \"ram\"]", "a device is named twice"},
      Mistake{"[\"ram\", \"ssd\"]", "[1]", "must be a list of names"},
      Mistake{"[[tenant]]\nname = \"team-b\"", "[[tenant]]\nname = \"team-a\"",
              "another tenant has this name"},
      Mistake{"[[tenant]]\nname = \"team-b\"", "[[tenant]]\nname = \"a/b\"",
              "tenant 2: \"a/b\" is not a name"},
      Mistake{"users = [\"alice\", 1001]", "user = \"alice\"", "did you mean \"users\"?"},
      Mistake{"users = [\"alice\", 1001]", "users = \"alice\"",
              "line 38: tenant \"team-a\": users must be a list of names or numbers"},
      Mistake{"users = [\"alice\", 1001]", "users = [-1]", "must be a list of names or numbers"},
      Mistake{"users = [\"alice\", 1001]", "users = [4294967295]",
              "\"4294967295\" is neither the name nor the number of a user"},
      Mistake{"users = [\"alice\", 1001]", "users = [0]",
              "tenant \"team-b\": user \"0\" is of tenant \"team-a\" already"},
      Mistake{"users = [0]", "groups = [\"staff\"]",
              "tenant \"team-b\": group \"staff\" is of tenant \"team-a\" already"},
      Mistake{"users = [0]", "", "tenant \"team-b\": it has no users and no groups"},
      Mistake{"quota = \"200GiB\"", "quota = \"1MiB\"",
              "line 40: tenant \"team-a\": a quota of 1 MiB holds no context"},
      Mistake{"quota = \"200GiB\"", "quota = 0", "a quota of 0 B holds no context"},
      Mistake{"quota = \"200GiB\"", "quota = \"much\"", "quota must be a size"},
      Mistake{"weight = 3", "weight = 0", "weight is 0 and must be from 1 to 1000"},
      Mistake{"weight = 3", "wieght = 3", "did you mean \"weight\"?"},
      Mistake{"readers = [\"team-b\"]", "readers = [\"team-c\"]", "no tenant is named \"team-c\""},
      Mistake{"readers = [\"team-b\"]", "readers = [\"team-a\"]", "reads its own spaces anyway"},
  };
  for (const Mistake& mistake : mistakes) {
    EXPECT_THAT(Complaint(With(mistake.from, mistake.to)), HasSubstr(mistake.complaint));
  }
}

TEST(ConfigValidate, RawDrivesNeedNoCapacityAndShareNoAddress) {
  Config config = Good();
  config.links.clear();
  config.devices.resize(1);
  for (const DeviceKind kind : {DeviceKind::kNvme, DeviceKind::kDrive, DeviceKind::kBlock}) {
    config.devices.push_back({.name = "d" + std::to_string(config.devices.size()),
                              .kind = kind,
                              .path = "/dev/" + std::to_string(config.devices.size()),
                              .read_bytes_per_s = 1e9,
                              .write_bytes_per_s = 1e9});
  }
  config.devices.push_back({.name = "far",
                            .kind = DeviceKind::kSpdk,
                            .read_bytes_per_s = 1e9,
                            .write_bytes_per_s = 1e9,
                            .address = "trtype:TCP traddr:127.0.0.1 subnqn:nqn.x ns:1"});
  EXPECT_THAT(config.Validate(), IsEmpty());
  config.devices.push_back(config.devices.back());
  config.devices.back().name = "twin";
  EXPECT_THAT(config.Validate(), ElementsAre(HasSubstr("uses the same address")));
  config.devices.back().address = "\xff";
  EXPECT_THAT(config.Validate(), ElementsAre(HasSubstr("address is not UTF-8")));
}

TEST(ConfigValidate, ACatalogNeedsChecksums) {
  Config config = Config::Parse(kGood).value();
  ASSERT_FALSE(config.catalog.empty());
  config.verify = false;
  EXPECT_THAT(config.Validate(), ElementsAre(HasSubstr("leave out catalog or switch verify on")));
  config.catalog.clear();
  EXPECT_TRUE(config.Validate().empty());
}

TEST(ConfigValidate, ARateIsOneThatADeviceCanHave) {
  for (const double rate : {std::numeric_limits<double>::infinity(),
                            std::numeric_limits<double>::quiet_NaN(), 1e308, 1.1e15, 0.9, -1.0}) {
    Config config = Good();
    config.devices[0].read_bytes_per_s = rate;
    config.links[0].bytes_per_s = rate;
    EXPECT_THAT(config.Validate(), ElementsAre(HasSubstr("bytes/s and must be from 1 to 1e+15"),
                                               HasSubstr("bytes/s and must be from 1 to 1e+15")));
  }
  for (const double rate : {1.0, 1e15}) {
    Config config = Good();
    config.devices[0].read_bytes_per_s = rate;
    EXPECT_THAT(config.Validate(), IsEmpty());
  }
}

TEST(ConfigValidate, LinksNestOrAreDisjoint) {
  Config config = Good();
  for (const char* name : {"c", "d"}) {
    config.devices.push_back(config.devices[0]);
    config.devices.back().name = name;
  }
  const auto links = [&](std::vector<std::string> a, std::vector<std::string> b) {
    config.links = {{"a", 1e9, std::move(a)}, {"b", 1e9, std::move(b)}};
    return config.Validate();
  };
  EXPECT_THAT(links({"ram", "ssd"}, {"c", "d"}), IsEmpty());
  EXPECT_THAT(links({"ram", "ssd", "c"}, {"c", "ram"}), IsEmpty());
  EXPECT_THAT(links({"c"}, {"c", "ram"}), IsEmpty());
  EXPECT_THAT(links({"ram", "c"}, {"c", "d"}), ElementsAre(HasSubstr("must nest or be disjoint")));
}

TEST(ConfigValidate, RefusesTooManyDevicesInOneSentence) {
  Config config = Good();
  config.devices.resize(kMaxDevices + 1);
  config.links.clear();
  EXPECT_THAT(config.Validate(),
              ElementsAre(HasSubstr("65 devices are more than the limit of 64")));
}

TEST(ConfigValidate, RefusesTooManyTenantsInOneSentence) {
  Config config = Good();
  config.tenants.resize(kMaxTenants + 1);
  EXPECT_THAT(config.Validate(),
              ElementsAre(HasSubstr("65 tenants are more than the limit of 64")));
}

TEST(ConfigValidate, RefusesTextThatAFileCannotHold) {
  Config config = Good();
  config.devices[1].path = "/data/\xff";
  config.devices[1].faults = "\xed\xa0\x80";
  config.devices[1].slow->seed = ~std::uint64_t{0};
  EXPECT_THAT(config.Validate(),
              ElementsAre(HasSubstr("the path is not UTF-8"), HasSubstr("faults is not UTF-8"),
                          HasSubstr("slow.seed")));
}

TEST(ConfigValidate, WriteBudgetsAreForDrives) {
  Config config = Good();
  config.devices[0].write_budget_per_day = 1;
  config.devices[1].write_budget_per_day = std::uint64_t{1} << 60;
  EXPECT_THAT(config.Validate(),
              ElementsAre(HasSubstr("does not wear out"), HasSubstr("above the limit")));
}

TEST(ConfigValidate, LaterSpeedsComeInOrder) {
  Config config = Good();
  config.devices[1].slow->later = {{2, 1e8}, {1, 0}};
  EXPECT_THAT(config.Validate(),
              ElementsAre(HasSubstr("slow.later.bandwidth"), HasSubstr("slow.later.after_s is 1")));
  config.devices[1].slow->later.assign(kMaxSlowSteps + 1, {1, 1e8});
  EXPECT_THAT(config.Validate(), ElementsAre(HasSubstr("more than the limit of 16")));
}

TEST(ConfigLoad, NamesTheFileAndTheLine) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "config_load";
  std::filesystem::create_directories(folder);
  const auto path = folder / "pool.toml";
  std::ofstream(path) << kGood;
  const auto config = Config::Load(path);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->catalog, folder / "catalog.db");
  std::ofstream(path) << With("unit", "unti");
  EXPECT_THAT(Config::Load(path).error().message,
              AllOf(HasSubstr(path.string() + ": line 3: "), HasSubstr("did you mean \"unit\"?")));
  std::filesystem::remove_all(folder);
  const auto missing = Config::Load(path);
  EXPECT_EQ(missing.error().status, Status::kIoError);
  EXPECT_EQ(missing.error().system_errno, ENOENT);
  EXPECT_THAT(Config::Load(testing::TempDir()).error().message, HasSubstr("cannot be read"));
}

TEST(Suggest, NamesTheNearestOrAll) {
  const std::vector<std::string> known{"capacity", "kind", "read_bandwidth"};
  EXPECT_EQ(config::EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(config::EditDistance("", "abc"), 3u);
  EXPECT_EQ(config::Suggest("capcity", known), "did you mean \"capacity\"?");
  EXPECT_EQ(config::Suggest("bandwidth", known), "did you mean \"read_bandwidth\"?");
  EXPECT_EQ(config::Suggest("zzz", known), "known are \"capacity\", \"kind\", \"read_bandwidth\"");
}

}  // namespace
}  // namespace kvpool
