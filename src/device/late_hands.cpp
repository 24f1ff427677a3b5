#include "device/late_hands.h"

#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

namespace kvpool::device {
namespace {

// Fixed buffers of a ring: a read into them goes to the pages and asks no address.
class RingHands final : public LateHands {
 public:
  explicit RingHands(std::span<const iovec> segments)
      : segments_(segments.begin(), segments.end()) {
    open_ = io_uring_queue_init(2, &ring_, 0) == 0;
    good_ = open_ && io_uring_register_buffers(&ring_, segments_.data(),
                                               static_cast<unsigned>(segments_.size())) == 0;
  }
  ~RingHands() override {
    if (open_) io_uring_queue_exit(&ring_);
  }
  bool good() const { return good_; }

  bool Land(std::span<const std::byte> bytes) override {
    const int source = ::memfd_create("kvpool-late", MFD_CLOEXEC);
    if (source < 0) return false;
    bool good =
        ::pwrite(source, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
    std::uint64_t offset = 0;
    for (std::size_t i = 0; good && i < segments_.size(); ++i) {
      good = ReadInto(source, offset, i);
      offset += segments_[i].iov_len;
    }
    ::close(source);
    return good;
  }

 private:
  bool ReadInto(int source, std::uint64_t offset, std::size_t place) {
    const iovec& segment = segments_[place];
    const auto bytes = static_cast<unsigned>(segment.iov_len);
    io_uring_prep_read_fixed(io_uring_get_sqe(&ring_), source, segment.iov_base, bytes, offset,
                             static_cast<int>(place));
    io_uring_cqe* answer = nullptr;
    if (io_uring_submit_and_wait(&ring_, 1) != 1 || io_uring_wait_cqe(&ring_, &answer) != 0) {
      return false;
    }
    const bool whole = answer->res == static_cast<int>(bytes);
    io_uring_cqe_seen(&ring_, answer);
    return whole;
  }

  std::vector<iovec> segments_;
  io_uring ring_{};
  bool open_ = false;
  bool good_ = false;
};

}  // namespace

std::unique_ptr<LateHands> LateHands::Hold(std::span<const iovec> segments) {
  auto hands = std::make_unique<RingHands>(segments);
  if (!hands->good()) return nullptr;
  return hands;
}

}  // namespace kvpool::device
