// What one tenant's clients can take of the daemon, and what is left for the others.
#include "server/descriptor_shares.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <iterator>
#include <optional>

#include "ipc/records.h"
#include "mem/region.h"
#include "server/grants.h"
#include "server/test_tenants.h"

namespace kvpool::server {
namespace {

using pool::All;
using ::testing::HasSubstr;

std::size_t Descriptors() {
  const std::filesystem::directory_iterator open("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(open), end(open)));
}

class DescriptorSharesTest : public testing::Test {
 protected:
  DescriptorSharesTest() {
    Config config;
    config.devices = {pool::MemoryDevice("ram", 64 * kMiB)};
    pool_ = pool::OpenOwn(config).value();
  }
  static Access Of(std::uint32_t number) {
    return {.tenants = true, .tenant = {.number = number, .name = number == 1 ? "a" : "b"}};
  }
  Grants ClientOf(std::uint32_t tenant, SharedSpaces& spaces, DescriptorShares* shares) {
    return {*pool_, spaces, Of(tenant), 0, nullptr, shares};
  }
  static Result<Reply> OpenSpace(Grants& client, const std::string& model) {
    return client.Answer(ipc::MessageType::kOpenSpace, *ipc::EncodeSpace({.model = model}), {});
  }
  static Result<Reply> OpenChannel(Grants& client) {
    const ipc::ChannelQuestion question{.depth = 8};
    return client.Answer(ipc::MessageType::kOpenChannel, ipc::BytesOf(question), {});
  }
  static Result<Reply> AddRegion(Grants& client) {
    const auto memory = mem::Region::Make({.bytes = 2 * kMiB, .shareable = true, .lock = false});
    const ipc::RegionQuestion question{.bytes = 2 * kMiB};
    Descriptor given(::dup((*memory)->fd()));
    return client.Answer(ipc::MessageType::kAddRegion, ipc::BytesOf(question), {&given, 1});
  }

  std::unique_ptr<pool::PoolImpl> pool_;
};

TEST_F(DescriptorSharesTest, NothingTakesMoreThanIsCountedForIt) {
  SharedSpaces spaces(*pool_);
  Grants client = ClientOf(1, spaces, nullptr);
  const std::size_t before = Descriptors();
  ASSERT_TRUE(OpenSpace(client, "m"));
  EXPECT_LE(Descriptors(), before + DescriptorShares::kOfSpace);
  const std::size_t with_space = Descriptors();
  ASSERT_TRUE(OpenChannel(client));
  EXPECT_LE(Descriptors(), with_space + DescriptorShares::kOfChannel);
  const std::size_t with_channel = Descriptors();
  ASSERT_TRUE(AddRegion(client));
  EXPECT_LE(Descriptors(), with_channel + DescriptorShares::kOfRegion);
  EXPECT_GT(Descriptors(), before);
}

TEST_F(DescriptorSharesTest, ATenantIsRefusedBeforeItTakesWhatIsAnothers) {
  DescriptorShares shares(2, 40);  // 10 for each, 20 for whoever comes first
  SharedSpaces spaces(*pool_, SharedSpaces::MostByDescriptors(), &shares);
  Grants greedy = ClientOf(1, spaces, &shares);
  Grants second = ClientOf(1, spaces, &shares);
  for (int i = 0; i < 25; ++i) ASSERT_TRUE(OpenSpace(greedy, std::to_string(i))) << i;
  EXPECT_TRUE(OpenSpace(second, "0")) << "its tenant has that one";
  ASSERT_TRUE(OpenChannel(second));
  ASSERT_TRUE(AddRegion(greedy));
  for (const auto& refused : {OpenSpace(second, "more"), OpenChannel(greedy), AddRegion(second)}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().status, Status::kNoSpace);
    EXPECT_THAT(refused.error().message, HasSubstr("clients of tenant \"a\" have as many"));
    EXPECT_THAT(refused.error().message, HasSubstr("LimitNOFILE"));
  }
  Grants other = ClientOf(2, spaces, &shares);
  EXPECT_TRUE(OpenSpace(other, "0")) << "another's, of the same name or not";
  EXPECT_TRUE(OpenChannel(other));
  EXPECT_TRUE(OpenChannel(other));
  EXPECT_TRUE(AddRegion(other));
  EXPECT_FALSE(AddRegion(other));
  greedy.TakeBack();
  EXPECT_TRUE(OpenChannel(other));
  EXPECT_TRUE(OpenChannel(second));
}

TEST_F(DescriptorSharesTest, WhereNobodyCountsOneTakesAll) {  // the control
  SharedSpaces spaces(*pool_);
  Grants greedy = ClientOf(1, spaces, nullptr);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(OpenSpace(greedy, std::to_string(i))) << i;
  EXPECT_TRUE(OpenChannel(greedy));
}

// A process that may open as few, as long as it lives.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t most) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit few{most, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

using ReservesTest = TenantsServerTest;

TEST_F(ReservesTest, ATenantThatTakesAllChannelsLeavesSomeToOthers) {
  std::optional<Daemon> daemon;
  {
    const FewDescriptors few(160);  // 80 for clients of three tenants: 13 for each, and 41
    daemon.emplace(dir_, config_);
  }
  Client greedy(*daemon, 1001);
  std::vector<std::unique_ptr<Channel>> channels;
  std::optional<Error> refused;
  while (!refused && channels.size() < ipc::kMaxClientChannels) {
    auto channel = greedy.pool->OpenChannel({});
    if (!channel) refused = channel.error();
    if (channel) channels.push_back(std::move(*channel));
  }
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, Status::kNoSpace);
  EXPECT_THAT(refused->message, HasSubstr("close channels"));
  Client other(*daemon, 1002);
  ASSERT_NE(other.channel, nullptr);
  EXPECT_EQ(other.Put(other.Open(), blocks_), All(6, Status::kOk));
  channels.clear();
  EXPECT_TRUE(greedy.pool->OpenChannel({}));
}

TEST_F(ReservesTest, ATenantThatTakesAllPlacesLeavesSomeToOthersAndToOperators) {
  Daemon daemon(dir_, config_);
  std::vector<std::unique_ptr<Pool>> clients;
  std::optional<Error> refused;
  while (!refused) {
    auto client = daemon.Connect(User(1001));
    if (!client) refused = client.error();
    if (client) clients.push_back(std::move(*client));
  }
  EXPECT_EQ(clients.size(), 44u) << "10 are kept for each of three tenants";
  EXPECT_THAT(refused->message, HasSubstr("no more of tenant \"a\" now: close one"));
  const Client other(daemon, 1002);
  EXPECT_NE(other.channel, nullptr);
  // Root is of tenant "a" as well: it gets in, to ask.
  for (std::size_t i = 0; i < ipc::kMaxOperators; ++i) {
    auto operators = daemon.Connect(User(0));
    ASSERT_TRUE(operators) << operators.error().message;
    EXPECT_EQ((*operators)->info().tenants.size(), 3u);
    const auto space = (*operators)->OpenSpace(SpecOf());
    ASSERT_FALSE(space);
    EXPECT_EQ(space.error().status, Status::kNoSpace);
    EXPECT_THAT(space.error().message, HasSubstr("information only"));
    clients.push_back(std::move(*operators));
  }
  EXPECT_FALSE(daemon.Connect(User(0)));
}

}  // namespace
}  // namespace kvpool::server
