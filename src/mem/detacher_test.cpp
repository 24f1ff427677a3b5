// Real memory, and a real late writer: the kernel, by way of pages that a ring holds.
#include "mem/detacher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/limits.h"

namespace kvpool::mem {
namespace {

constexpr std::size_t kPage = 4096;

// Memory of one sort, unmapped at the end.
class Mapped {
 public:
  Mapped(std::size_t bytes, int flags, int fd = -1)
      : at_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0)), bytes_(bytes) {
    if (at_ != MAP_FAILED && (flags & MAP_HUGETLB) == 0) Fill();
  }
  ~Mapped() {
    if (good()) ::munmap(at_, bytes_);
  }
  Mapped(const Mapped&) = delete;

  bool good() const { return at_ != MAP_FAILED; }
  std::byte* data() const { return static_cast<std::byte*>(at_); }
  void Fill() const { std::memset(at_, 'o', bytes_); }
  bool Is(char value, std::size_t begin, std::size_t end) const {
    return std::all_of(data() + begin, data() + end,
                       [value](std::byte one) { return one == static_cast<std::byte>(value); });
  }

 private:
  void* at_;
  std::size_t bytes_;
};

// Holds pages like a drive in the middle of a transfer, and writes them later.
class LateWriter {
 public:
  LateWriter(std::byte* at, std::size_t bytes) : bytes_(bytes) {
    const iovec held{at, bytes};
    good_ = ::pipe(pipe_) == 0 && ::fcntl(pipe_[1], F_SETPIPE_SZ, bytes) >= 0 &&
            io_uring_queue_init(4, &ring_, 0) == 0 &&
            io_uring_register_buffers(&ring_, &held, 1) == 0;
    at_ = at;
  }
  ~LateWriter() {
    if (good_) io_uring_queue_exit(&ring_);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }
  bool good() const { return good_; }

  void Write(char value) {
    const std::string late(bytes_, value);
    for (std::size_t done = 0; done < bytes_;) {
      const std::size_t step = std::min<std::size_t>(bytes_ - done, 16 * kPage);
      ASSERT_EQ(::write(pipe_[1], late.data(), step), static_cast<ssize_t>(step));
      for (std::size_t got = 0; got < step;) {
        io_uring_sqe* entry = io_uring_get_sqe(&ring_);
        io_uring_prep_read_fixed(entry, pipe_[0], at_ + done + got,
                                 static_cast<unsigned>(step - got), -1, 0);
        ASSERT_EQ(io_uring_submit_and_wait(&ring_, 1), 1);
        io_uring_cqe* answer = nullptr;
        ASSERT_EQ(io_uring_wait_cqe(&ring_, &answer), 0);
        ASSERT_GT(answer->res, 0);
        got += static_cast<std::size_t>(answer->res);
        io_uring_cqe_seen(&ring_, answer);
      }
      done += step;
    }
  }

 private:
  std::byte* at_ = nullptr;
  std::size_t bytes_;
  int pipe_[2]{-1, -1};
  io_uring ring_{};
  bool good_ = false;
};

class DetacherTest : public testing::Test {
 protected:
  // A transfer into [begin, begin + bytes) is given up, and lands all the same.
  void ExpectSevered(const Mapped& memory, std::size_t total, std::size_t begin,
                     std::size_t bytes) {
    ASSERT_TRUE(memory.good());
    LateWriter writer(memory.data() + begin, bytes);
    if (!writer.good())
      GTEST_SKIP()
          << "io_uring cannot hold pages here: allow it, or raise the limit on locked memory";
    const iovec part{memory.data() + begin, bytes};
    ASSERT_TRUE(detacher_.Detach({&part, 1}));
    std::memset(memory.data() + begin, 'n', bytes);
    writer.Write('l');
    EXPECT_TRUE(memory.Is('n', begin, begin + bytes));
    EXPECT_TRUE(memory.Is('o', 0, begin));
    EXPECT_TRUE(memory.Is('o', begin + bytes, total));
  }

  RegisteredMemory registered_;
  PageDetacher detacher_{registered_};
};

TEST_F(DetacherTest, ControlALateWriterReachesMemoryThatWasNotDetached) {
  const Mapped memory(64 * kPage, MAP_PRIVATE | MAP_ANONYMOUS);
  LateWriter writer(memory.data(), 64 * kPage);
  if (!writer.good()) GTEST_SKIP() << "io_uring cannot hold pages here";
  writer.Write('l');
  EXPECT_TRUE(memory.Is('l', 0, 64 * kPage));
}

TEST_F(DetacherTest, PrivateMemoryIsOutOfReach) {
  const Mapped memory(64 * kPage, MAP_PRIVATE | MAP_ANONYMOUS);
  ExpectSevered(memory, 64 * kPage, 16 * kPage, 32 * kPage);
}

TEST_F(DetacherTest, MemoryOfMallocIsOutOfReach) {
  std::byte* memory = static_cast<std::byte*>(std::aligned_alloc(kPage, 16 * kPage));
  std::memset(memory, 'o', 16 * kPage);
  LateWriter writer(memory, 16 * kPage);
  if (!writer.good()) GTEST_SKIP() << "io_uring cannot hold pages here";
  const iovec part{memory, 16 * kPage};
  ASSERT_TRUE(detacher_.Detach({&part, 1}));
  std::memset(memory, 'n', 16 * kPage);
  writer.Write('l');
  EXPECT_EQ(std::count(memory, memory + 16 * kPage, static_cast<std::byte>('n')), 16 * kPage);
  std::free(memory);
}

TEST_F(DetacherTest, APartOfATransparentHugepageIsOutOfReach) {
  const Mapped memory(8 * kMiB, MAP_PRIVATE | MAP_ANONYMOUS);
  ::madvise(memory.data(), 8 * kMiB, MADV_HUGEPAGE);
  ::madvise(memory.data(), 8 * kMiB, MADV_DONTNEED);
  memory.Fill();
  ExpectSevered(memory, 8 * kMiB, 3 * kMiB, 256 * kKiB);
}

// Sanitizers have mlock() do nothing.
bool Lock(std::byte* data, std::size_t bytes) {
  return ::mlock(data, bytes) == 0 && ::madvise(data, bytes, MADV_DONTNEED) != 0;
}

TEST_F(DetacherTest, LockedMemoryIsOutOfReachAndStaysLocked) {
  const Mapped memory(64 * kPage, MAP_PRIVATE | MAP_ANONYMOUS);
  if (!Lock(memory.data(), 64 * kPage)) GTEST_SKIP() << "no memory may be locked here";
  ExpectSevered(memory, 64 * kPage, 8 * kPage, 8 * kPage);
  EXPECT_NE(::madvise(memory.data(), 64 * kPage, MADV_DONTNEED), 0);  // refused where locked
}

TEST_F(DetacherTest, SharedMemoryIsOutOfReachInEveryMapping) {
  const int fd = ::memfd_create("test", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(fd, 64 * kPage), 0);
  const Mapped memory(64 * kPage, MAP_SHARED, fd);
  const Mapped other(64 * kPage, MAP_SHARED, fd);
  ::close(fd);
  ExpectSevered(memory, 64 * kPage, 16 * kPage, 16 * kPage);
  EXPECT_EQ(std::memcmp(memory.data(), other.data(), 64 * kPage), 0);
}

TEST_F(DetacherTest, LockedSharedMemoryIsOutOfReach) {
  const Mapped memory(64 * kPage, MAP_SHARED | MAP_ANONYMOUS);
  if (!Lock(memory.data(), 64 * kPage)) GTEST_SKIP() << "no memory may be locked here";
  ExpectSevered(memory, 64 * kPage, 16 * kPage, 16 * kPage);
}

TEST_F(DetacherTest, AHugepageOfSharedMemoryIsRefusedOrOutOfReach) {
  const Mapped memory(8 * kMiB, MAP_SHARED | MAP_ANONYMOUS);
  ::madvise(memory.data(), 8 * kMiB, MADV_HUGEPAGE);
  ::madvise(memory.data(), 8 * kMiB, MADV_REMOVE);
  memory.Fill();
  LateWriter writer(memory.data() + 3 * kMiB, 256 * kKiB);
  if (!writer.good()) GTEST_SKIP() << "io_uring cannot hold pages here";
  const iovec part{memory.data() + 3 * kMiB, 256 * kKiB};
  const bool detached = detacher_.Detach({&part, 1});
  std::memset(part.iov_base, 'n', part.iov_len);
  writer.Write('l');
  EXPECT_EQ(memory.Is('n', 3 * kMiB, 3 * kMiB + 256 * kKiB), detached);
  EXPECT_TRUE(memory.Is('o', 0, 3 * kMiB));
}

TEST_F(DetacherTest, ReservedHugepagesAreRefusedAndKeepTheirNeighbours) {
  const Mapped memory(2 * kMiB, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB);
  if (!memory.good()) GTEST_SKIP() << "no hugepage is reserved: sysctl vm.nr_hugepages=1";
  memory.Fill();
  const iovec part{memory.data() + 1 * kMiB, 256 * kKiB};
  EXPECT_FALSE(detacher_.Detach({&part, 1}));
  EXPECT_TRUE(memory.Is('o', 0, 2 * kMiB));
}

TEST_F(DetacherTest, AFileOnADriveIsRefused) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(::ftruncate(fileno(file), 4 * kPage), 0);
  {
    const Mapped memory(4 * kPage, MAP_PRIVATE, fileno(file));
    const iovec part{memory.data(), kPage};
    EXPECT_FALSE(detacher_.Detach({&part, 1}));
    EXPECT_TRUE(memory.Is('o', 0, 4 * kPage));
  }
  std::fclose(file);
}

TEST_F(DetacherTest, PartsOfPagesAndNoMemoryAreRefused) {
  const Mapped memory(4 * kPage, MAP_PRIVATE | MAP_ANONYMOUS);
  for (const iovec part : {iovec{memory.data() + 512, kPage}, iovec{memory.data(), 512},
                           iovec{nullptr, kPage}, iovec{memory.data(), 0}}) {
    EXPECT_FALSE(detacher_.Detach({&part, 1}));
  }
  EXPECT_TRUE(memory.Is('o', 0, 4 * kPage));
}

TEST_F(DetacherTest, RegisteredPiecesGetNewSerialsUnlessTheirPagesHaveToStay) {
  const Mapped memory(16 * kPage, MAP_PRIVATE | MAP_ANONYMOUS);
  const Mapped other(16 * kPage, MAP_PRIVATE | MAP_ANONYMOUS);
  registered_.Add({memory.data(), 16 * kPage});
  registered_.Add({other.data(), 16 * kPage});
  const auto before = registered_.pieces();
  const auto version = registered_.version();
  const iovec part{memory.data() + kPage, kPage};
  ASSERT_TRUE(detacher_.Detach({&part, 1}));
  const auto after = registered_.pieces();
  ASSERT_EQ(after.size(), 2u);
  EXPECT_NE(registered_.version(), version);
  for (std::size_t i = 0; i < 2; ++i) {
    const bool moved = before[i].bytes.data() == memory.data();
    EXPECT_EQ(after[i].serial != before[i].serial, moved);
    EXPECT_EQ(after[i].bytes.data(), before[i].bytes.data());
  }
  registered_.FixPages();
  EXPECT_FALSE(detacher_.Detach({&part, 1}));
  const Mapped unregistered(kPage, MAP_PRIVATE | MAP_ANONYMOUS);
  const iovec free{unregistered.data(), kPage};
  EXPECT_TRUE(detacher_.Detach({&free, 1}));
}

}  // namespace
}  // namespace kvpool::mem
