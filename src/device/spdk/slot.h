// SpdkSlot: one Io of an SPDK queue on its way, and its bytes as SPDK asks for them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "device/device.h"

namespace kvpool::device {

class SpdkSlot {
 public:
  void Begin(Io& io) {
    io_ = &io;
    tries_ = 0;
    bounce_ = nullptr;
    cancelled_.store(false, std::memory_order_relaxed);
  }

  Io& io() const { return *io_; }
  std::byte* bounce() const { return bounce_; }
  void set_bounce(std::byte* buffer) { bounce_ = buffer; }

  // True with the first call. The owner asks, whoever is inside the pair reads.
  bool Cancel() { return !cancelled_.exchange(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  bool TryAgain() { return ++tries_ <= kMaxTries; }

  // spdk_nvme_req_reset_sgl_cb and spdk_nvme_req_next_sge_cb: `slot` is a SpdkSlot.
  static void Rewind(void* slot, std::uint32_t offset);
  static int Next(void* slot, void** address, std::uint32_t* bytes);

  void* queue = nullptr;  // whose slot it is, for SPDK's callback

 private:
  static constexpr int kMaxTries = 5;

  Io* io_ = nullptr;
  std::byte* bounce_ = nullptr;
  int tries_ = 0;
  std::atomic<bool> cancelled_{false};
  std::size_t segment_ = 0;  // where Next goes on
  std::size_t skipped_ = 0;  // bytes of that segment
};

}  // namespace kvpool::device
