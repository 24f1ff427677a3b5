#include "mem/lent_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "base/limits.h"

namespace kvpool::mem {
namespace {

constexpr std::uint64_t kPart = 2 * kMiB;

class Lent : public testing::Test {
 protected:
  void SetUp() override {
    auto made = LentMemory::Make({.bytes = 4 * kPart});
    ASSERT_TRUE(made) << made.error().message;
    lent_ = std::move(*made);
    auto fd = lent_->ForBorrowers();
    ASSERT_TRUE(fd) << fd.error().message;
    fd_ = std::move(*fd);
    auto borrowed = BorrowedMemory::Map(fd_, 4 * kPart);
    ASSERT_TRUE(borrowed) << borrowed.error().message;
    borrowed_ = std::move(*borrowed);
  }
  bool IsZero(std::uint64_t part) const {
    const auto bytes = borrowed_->bytes().subspan(part * kPart, kPart);
    return std::all_of(bytes.begin(), bytes.end(), [](auto b) { return b == std::byte{0}; });
  }

  std::unique_ptr<LentMemory> lent_;
  Descriptor fd_;
  std::shared_ptr<BorrowedMemory> borrowed_;
};

TEST_F(Lent, IsSeenByItsBorrowerUntilItIsDropped) {
  ASSERT_TRUE(lent_->Fill(kPart, kPart));
  std::memset(lent_->bytes().data() + kPart, 0x5a, kPart);
  EXPECT_EQ(borrowed_->bytes()[kPart + 12345], std::byte{0x5a});
  lent_->Drop(kPart, kPart);
  EXPECT_TRUE(IsZero(1));
  ASSERT_TRUE(lent_->Fill(kPart, kPart));
  EXPECT_TRUE(IsZero(1));
}

TEST_F(Lent, PagesThatABorrowerMadeAreFound) {
  EXPECT_EQ(lent_->NextFilled(0), 4 * kPart);
  ASSERT_TRUE(lent_->Fill(kPart, kPart));
  EXPECT_EQ(lent_->NextFilled(0), kPart);
  EXPECT_EQ(lent_->NextFilled(2 * kPart), 4 * kPart);
  EXPECT_TRUE(IsZero(3));  // reads where nothing is
  EXPECT_EQ(lent_->NextFilled(2 * kPart), 3 * kPart);
  lent_->Drop(3 * kPart, kPart);
  EXPECT_EQ(lent_->NextFilled(2 * kPart), 4 * kPart);
}

TEST_F(Lent, ABorrowerCannotWriteNorResizeNorPunch) {
  ASSERT_TRUE(lent_->Fill(0, kPart));
  const int fd = fd_.get();
  EXPECT_EQ(::mmap(nullptr, kPart, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  EXPECT_NE(::mprotect(borrowed_->bytes().data(), kPart, PROT_READ | PROT_WRITE), 0);
  EXPECT_NE(::pwrite(fd, "x", 1, 0), 1);
  EXPECT_NE(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPart), 0);
  EXPECT_NE(::ftruncate(fd, 0), 0);
  EXPECT_NE(::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST_F(Lent, AWriteThroughTheBorrowersMappingEndsItsProcess) {
  ASSERT_TRUE(lent_->Fill(0, kPart));
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);  // a sanitizer would report it
    borrowed_->bytes()[0] = std::byte{1};
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

TEST_F(Lent, AnotherUserCannotOpenItAgainForWriting) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  const Descriptor usual(::memfd_create("control", MFD_CLOEXEC));
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    // Or nothing of its own in /proc would be its to open.
    if (::setuid(kNobody) != 0 || ::prctl(PR_SET_DUMPABLE, 1) != 0) ::_exit(2);
    const auto opens = [](int fd) {
      return ::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_RDWR) >= 0;
    };
    if (!opens(usual.get())) ::_exit(3);
    ::_exit(opens(fd_.get()) || ::fchmod(fd_.get(), 0777) == 0 ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(Lent, IsNotMappedAtAnotherSize) {
  const auto larger = BorrowedMemory::Map(fd_, 6 * kPart);
  ASSERT_FALSE(larger);
  EXPECT_EQ(larger.error().status, Status::kInvalid);
}

}  // namespace
}  // namespace kvpool::mem
