// Spaces that clients have open: what they take, and what is left of it when the clients go.
#include "server/shared_spaces.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <iterator>
#include <thread>

#include "ipc/records.h"
#include "pool/test_pool.h"
#include "server/grants.h"

namespace kvpool::server {
namespace {

using pool::Blocks;

class SharedSpacesTest : public testing::Test {
 protected:
  SharedSpacesTest() {
    Config config;
    config.devices = {pool::MemoryDevice("ram", 192 * kMiB)};
    pool_ = pool::OpenOwn(config).value();
    channel_ = pool_->OpenChannel({}).value();
  }
  static SpaceSpec SpecOf(const std::string& model) { return {.model = model}; }
  static Result<Reply> Open(Grants& client, const std::string& model) {
    return client.Answer(ipc::MessageType::kOpenSpace, *ipc::EncodeSpace(SpecOf(model)), {});
  }
  static std::size_t Descriptors() {
    const std::filesystem::directory_iterator open("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(open), end(open)));
  }
  std::size_t Seen(SharedSpaces& spaces, const Blocks& blocks) {
    const auto shared = spaces.Open(SpecOf("m")).value();
    return ipc::MatchIn(*shared->Table().value(), blocks.keys);
  }

  std::unique_ptr<pool::PoolImpl> pool_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(SharedSpacesTest, TakeNoMoreDescriptorsThanTheirPartAndGiveThemBack) {
  SharedSpaces spaces(*pool_, 1);
  Grants one(*pool_, spaces);
  Grants another(*pool_, spaces);
  EXPECT_TRUE(Open(one, "1"));
  EXPECT_EQ(Open(another, "2").error().status, Status::kNoSpace);
  EXPECT_TRUE(Open(another, "1"));
  one.TakeBack();
  EXPECT_EQ(Open(one, "2").error().status, Status::kNoSpace) << "the other has it still";
  another.TakeBack();
  EXPECT_TRUE(Open(one, "2"));
  EXPECT_GT(SharedSpaces::MostByDescriptors(), 0u);
}

TEST_F(SharedSpacesTest, OfClientsThatComeAndGoLeaveNothing) {
  SharedSpaces spaces(*pool_);
  const std::size_t before = Descriptors();
  for (int client = 0; client < 300; ++client) {
    Grants grants(*pool_, spaces);
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(Open(grants, std::to_string(client) + "/" + std::to_string(i)));
    }
    ASSERT_EQ(Descriptors(), before + 10) << "while it is there";
  }
  EXPECT_EQ(Descriptors(), before);
  FlushRequest flush;
  flush.space = pool_->OpenSpace(SpecOf("m")).value();
  pool::Complete(*channel_, flush);
  EXPECT_LE(pool_->Spaces().size(), pool::kMostIdleSpaces + 1);
}

TEST_F(SharedSpacesTest, ARefusedSpaceIsNotHeldOpen) {
  SharedSpaces spaces(*pool_);
  Grants client(*pool_, spaces);
  for (std::size_t i = 0; i < ipc::kMaxClientSpaces; ++i) {
    ASSERT_TRUE(Open(client, std::to_string(i)));
  }
  const std::size_t before = Descriptors();
  EXPECT_EQ(Open(client, "one more").error().status, Status::kNoSpace);
  EXPECT_TRUE(Open(client, "0")) << "it has that one";
  EXPECT_EQ(Descriptors(), before);
}

TEST_F(SharedSpacesTest, AnswerFromATableThatIsMadeAnew) {
  SharedSpaces spaces(*pool_);
  const Blocks blocks("c", 5000, 512);  // more than are looked at in one go
  const Space space = pool_->OpenSpace(SpecOf("m")).value();
  EXPECT_EQ(Seen(spaces, blocks), 0u);
  pool::Put(*channel_, space, blocks);
  EXPECT_EQ(Seen(spaces, blocks), 5000u);
  pool::Drop(*channel_, space, std::span(blocks.keys).subspan(4500, 1));
  EXPECT_EQ(Seen(spaces, blocks), 4500u);
}

// Blocks come and go while a table is filled.
TEST_F(SharedSpacesTest, MissNothingThatComesWhileATableIsFilled) {
  SharedSpaces spaces(*pool_);
  const Space space = pool_->OpenSpace(SpecOf("m")).value();
  const Blocks stay("stay", 5000, 512);
  const Blocks change("change", 64, 512);
  pool::Put(*channel_, space, stay);
  std::atomic<bool> stop{false};
  std::thread load([&] {
    const auto channel = pool_->OpenChannel({}).value();
    while (!stop.load()) {
      pool::Put(*channel, space, change);
      pool::Drop(*channel, space, std::span(change.keys).first(32));
    }
    pool::Put(*channel, space, change);
    pool::Drop(*channel, space, std::span(change.keys).subspan(32));
  });
  std::shared_ptr<SharedSpace> last;
  for (int i = 0; i < 50; ++i) {
    last.reset();  // the table goes with it
    last = spaces.Open(SpecOf("m")).value();
    EXPECT_EQ(ipc::MatchIn(*last->Table().value(), stay.keys), 5000u);
  }
  stop.store(true);
  load.join();
  const auto table = last->Table().value();
  for (std::size_t i = 0; i < change.keys.size(); ++i) {
    EXPECT_EQ(ipc::IsIn(*table, change.keys[i]), i < 32) << i;
  }
}

}  // namespace
}  // namespace kvpool::server
