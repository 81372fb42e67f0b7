#include "fiber.h"

#include <cstdint>

// Saves the registers that a call must keep on the stack we are on, then takes up the other stack.
//   void emulation_switch(void** stopped_at, void* go_on_at)
extern "C" void emulation_switch(void** stopped_at, void* go_on_at);
// where a new stack begins; it calls the entry that `prepare` put there
extern "C" void emulation_begin();

#if defined(__x86_64__)

asm(R"(
.text
.globl emulation_switch
.type emulation_switch, @function
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulation_switch, .-emulation_switch

.globl emulation_begin
.type emulation_begin, @function
emulation_begin:
  .cfi_startproc
  .cfi_undefined rip
  call *%rbx
  ud2
  .cfi_endproc
.size emulation_begin, .-emulation_begin
)");

namespace {
// as emulation_switch leaves a stack: six registers, where to return to, and two words more, so
// that the stack is 16-aligned at emulation_begin
constexpr int kSaved = 9;
constexpr int kEntryAt = 4;
constexpr int kReturnAt = 6;
}  // namespace

#elif defined(__aarch64__)

asm(R"(
.text
.globl emulation_switch
.type emulation_switch, %function
emulation_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size emulation_switch, .-emulation_switch

.globl emulation_begin
.type emulation_begin, %function
emulation_begin:
  .cfi_startproc
  .cfi_undefined x30
  blr x19
  brk #1
  .cfi_endproc
.size emulation_begin, .-emulation_begin
)");

namespace {
constexpr int kSaved = 20;
constexpr int kEntryAt = 0;    // x19
constexpr int kReturnAt = 11;  // x30
}  // namespace

#else
#error "the emulation of CUDA switches stacks on x86-64 and aarch64 only"
#endif

namespace emulation {

void prepare(Stack& stack, void (*entry)()) {
  const auto top =
      (reinterpret_cast<std::uintptr_t>(stack.low) + stack.bytes) & ~std::uintptr_t{15};
#if defined(EMULATION_ASAN)
  // whoever was here last never returned from its first few frames, which left their marks
  constexpr std::size_t kFirstFrames = 8192;
  __asan_unpoison_memory_region(reinterpret_cast<void*>(top - kFirstFrames), kFirstFrames);
#endif
  auto* words = reinterpret_cast<std::uintptr_t*>(top) - kSaved;
  for (int i = 0; i < kSaved; ++i) words[i] = 0;
  words[kEntryAt] = reinterpret_cast<std::uintptr_t>(entry);
  words[kReturnAt] = reinterpret_cast<std::uintptr_t>(&emulation_begin);
  stack.stopped_at = words;
  stack.fake_stack = nullptr;
}

void switch_stack(Stack& from, Stack& to, bool last) {
#if defined(EMULATION_ASAN)
  __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.low, to.bytes);
#else
  static_cast<void>(last);
#endif
#if defined(EMULATION_TSAN)
  __tsan_switch_to_fiber(to.identity, __tsan_switch_to_fiber_no_sync);
#endif
  emulation_switch(&from.stopped_at, to.stopped_at);
#if defined(EMULATION_ASAN)
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void arrived(Stack& here, Stack& from) {
#if defined(EMULATION_ASAN)
  const void* low = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(here.fake_stack, &low, &bytes);
  // where the caller's own stack lies is known to the sanitizer alone
  from.low = static_cast<char*>(const_cast<void*>(low));
  from.bytes = bytes;
#else
  static_cast<void>(here);
  static_cast<void>(from);
#endif
}

}  // namespace emulation
