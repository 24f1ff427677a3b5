#include "device/spdk/slot.h"

namespace kvpool::device {

void SpdkSlot::Rewind(void* slot, std::uint32_t offset) {
  auto& self = *static_cast<SpdkSlot*>(slot);
  self.segment_ = 0;
  self.skipped_ = offset;
  if (self.bounce_ != nullptr) return;
  while (self.skipped_ > 0 && self.skipped_ >= self.io_->segments[self.segment_].iov_len) {
    self.skipped_ -= self.io_->segments[self.segment_++].iov_len;
  }
}

int SpdkSlot::Next(void* slot, void** address, std::uint32_t* bytes) {
  auto& self = *static_cast<SpdkSlot*>(slot);
  std::byte* base = self.bounce_;
  std::size_t length = self.io_->bytes;
  if (base == nullptr) {
    const iovec& segment = self.io_->segments[self.segment_++];
    base = static_cast<std::byte*>(segment.iov_base);
    length = segment.iov_len;
  }
  *address = base + self.skipped_;
  *bytes = static_cast<std::uint32_t>(length - self.skipped_);
  self.skipped_ = 0;
  return 0;
}

}  // namespace kvpool::device
