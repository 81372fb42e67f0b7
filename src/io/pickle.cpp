#include "io/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "base/error.h"

namespace orrery {
namespace {

constexpr std::size_t kMaxPickleBytes = std::size_t{16} << 20;

// opcodes of Python's pickletools, by their names there
enum Opcode : u8 {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kList = 'l',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
};

// The pickle machine: a stack of nodes, marks on it, and a memo.
class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {
    // immutable values of which there need be only one
    none_ = add({});
    PickleNode truth;
    truth.kind = PickleKind::boolean;
    false_ = add(truth);
    truth.integer = 1;
    true_ = add(truth);
    PickleNode tuple;
    tuple.kind = PickleKind::tuple;
    empty_tuple_ = add(tuple);
  }

  Pickle run() {
    while (true) {
      opcode_at_ = position_;
      const auto opcode = number<u8>();
      if (opcode == kStop) {
        pickle_.root = pop();
        return std::move(pickle_);
      }
      step(opcode);
    }
  }

 private:
  template <typename... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(name_, ": pickle byte ", opcode_at_, ": ", parts...);
  }
  template <typename... Parts>
  void need(bool holds, const Parts&... parts) const {
    if (!holds) [[unlikely]] {
      refuse(parts...);
    }
  }

  // bytes of the pickle

  std::span<const std::byte> take(u64 count) {
    need(count <= bytes_.size() - position_, "it is cut short");
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += taken.size();
    return taken;
  }
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string characters(u64 count) {
    const auto taken = take(count);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  std::string line() {
    const auto rest = bytes_.subspan(position_);
    const auto end = std::find(rest.begin(), rest.end(), std::byte{'\n'});
    need(end != rest.end(), "it is cut short");
    std::string result = characters(static_cast<u64>(end - rest.begin()));
    ++position_;
    return result;
  }

  // stack and memo

  u32 add(PickleNode node) {
    pickle_.nodes.push_back(std::move(node));
    return static_cast<u32>(pickle_.nodes.size() - 1);
  }
  void push(u32 node) { stack_.push_back(node); }
  void push_new(PickleNode node) { push(add(std::move(node))); }
  u32 pop() {
    need(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "a value is missing");
    const u32 node = stack_.back();
    stack_.pop_back();
    return node;
  }
  u32 top() {
    const u32 node = pop();
    push(node);
    return node;
  }
  std::vector<u32> pop_to_mark() {
    need(!marks_.empty(), "a mark is missing");
    const auto from = stack_.begin() + static_cast<long>(marks_.back());
    std::vector<u32> items(from, stack_.end());
    stack_.erase(from, stack_.end());
    marks_.pop_back();
    return items;
  }
  void get(u32 key) {
    const auto found = memo_.find(key);
    need(found != memo_.end(), "memo ", key, " was never put");
    push(found->second);
  }

  // values

  void push_items(PickleKind kind, std::vector<u32> items) {
    PickleNode node;
    node.kind = kind;
    node.items = std::move(items);
    push_new(std::move(node));
  }
  void push_tuple_of(std::size_t count) {
    std::vector<u32> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push_items(PickleKind::tuple, std::move(items));
  }
  void push_integer(i64 value) {
    PickleNode node;
    node.kind = PickleKind::integer;
    node.integer = value;
    push_new(std::move(node));
  }
  // two's complement, little endian, any length
  void push_long(u64 count) {
    const auto taken = take(count);
    if (count > 8) {
      PickleNode node;
      node.kind = PickleKind::unknown;
      return push_new(std::move(node));
    }
    u64 value = 0;
    for (std::size_t i = 0; i < taken.size(); ++i) value |= static_cast<u64>(taken[i]) << (8 * i);
    const bool negative = count > 0 && (taken.back() & std::byte{0x80}) != std::byte{0};
    if (negative && count < 8) value |= ~u64{0} << (8 * count);
    push_integer(static_cast<i64>(value));
  }
  void push_characters(PickleKind kind, u64 count) {
    PickleNode node;
    node.kind = kind;
    node.text = characters(count);
    push_new(std::move(node));
  }
  void push_global(const std::string& module, const std::string& name) {
    PickleNode node;
    node.kind = PickleKind::global;
    node.text = module + "." + name;
    push_new(std::move(node));
  }
  void push_call(u32 callee, u32 arguments) {
    PickleNode node;
    node.kind = PickleKind::call;
    node.callee = callee;
    node.arguments = arguments;
    push_new(std::move(node));
  }
  // adds to the container on top of the stack: one of `kind`, or an object that would take them
  void extend_top(PickleKind kind, const std::vector<u32>& items) {
    PickleNode& target = pickle_.nodes[top()];
    need(target.kind == kind || target.kind == PickleKind::call, "items go into what holds none");
    need(kind != PickleKind::dict || items.size() % 2 == 0, "a key has no value");
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  void step(u8 opcode);

  std::span<const std::byte> bytes_;
  const std::string& name_;
  std::size_t position_ = 0;
  std::size_t opcode_at_ = 0;
  Pickle pickle_;
  std::vector<u32> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<u32, u32> memo_;
  u32 none_ = 0, false_ = 0, true_ = 0, empty_tuple_ = 0;
};

void Machine::step(u8 opcode) {
  switch (opcode) {
    case kProto: {
      const auto protocol = number<u8>();
      return need(protocol >= 2 && protocol <= 5, "protocol ", int{protocol}, " is not known");
    }
    case kFrame:
      number<u64>();
      return;

    case kMark:
      return marks_.push_back(stack_.size());
    case kPop:
      if (!marks_.empty() && marks_.back() == stack_.size()) return marks_.pop_back();
      pop();
      return;
    case kPopMark:
      pop_to_mark();
      return;
    case kDup:
      return push(top());

    case kBinPut:
      memo_[number<u8>()] = top();
      return;
    case kLongBinPut:
      memo_[number<u32>()] = top();
      return;
    case kMemoize:
      memo_[static_cast<u32>(memo_.size())] = top();
      return;
    case kBinGet:
      return get(number<u8>());
    case kLongBinGet:
      return get(number<u32>());

    case kNone:
      return push(none_);
    case kNewTrue:
      return push(true_);
    case kNewFalse:
      return push(false_);
    case kBinInt:
      return push_integer(number<i32>());
    case kBinInt1:
      return push_integer(number<u8>());
    case kBinInt2:
      return push_integer(number<u16>());
    case kLong1:
      return push_long(number<u8>());
    case kLong4: {
      const auto count = number<i32>();
      need(count >= 0, "a length is negative");
      return push_long(static_cast<u64>(count));
    }
    case kBinFloat: {
      // the one big-endian value
      const u64 bits = __builtin_bswap64(number<u64>());
      PickleNode node;
      node.kind = PickleKind::real;
      node.real = std::bit_cast<double>(bits);
      return push_new(std::move(node));
    }
    case kShortBinString:
      return push_characters(PickleKind::bytes, number<u8>());
    case kBinString: {
      const auto count = number<i32>();
      need(count >= 0, "a length is negative");
      return push_characters(PickleKind::bytes, static_cast<u64>(count));
    }
    case kShortBinBytes:
      return push_characters(PickleKind::bytes, number<u8>());
    case kBinBytes:
      return push_characters(PickleKind::bytes, number<u32>());
    case kBinBytes8:
    case kByteArray8:
      return push_characters(PickleKind::bytes, number<u64>());
    case kShortBinUnicode:
      return push_characters(PickleKind::text, number<u8>());
    case kBinUnicode:
      return push_characters(PickleKind::text, number<u32>());
    case kBinUnicode8:
      return push_characters(PickleKind::text, number<u64>());

    case kEmptyTuple:
      return push(empty_tuple_);
    case kTuple1:
      return push_tuple_of(1);
    case kTuple2:
      return push_tuple_of(2);
    case kTuple3:
      return push_tuple_of(3);
    case kTuple:
      return push_items(PickleKind::tuple, pop_to_mark());
    case kEmptyList:
      return push_items(PickleKind::list, {});
    case kList:
      return push_items(PickleKind::list, pop_to_mark());
    case kAppend:
      return extend_top(PickleKind::list, {pop()});
    case kAppends:
      return extend_top(PickleKind::list, pop_to_mark());
    case kEmptySet:
      return push_items(PickleKind::set, {});
    case kFrozenSet:
      return push_items(PickleKind::set, pop_to_mark());
    case kAddItems:
      return extend_top(PickleKind::set, pop_to_mark());
    case kEmptyDict:
      return push_items(PickleKind::dict, {});
    case kDict: {
      auto items = pop_to_mark();
      need(items.size() % 2 == 0, "a key has no value");
      return push_items(PickleKind::dict, std::move(items));
    }
    case kSetItem: {
      const u32 value = pop();
      const u32 key = pop();
      return extend_top(PickleKind::dict, {key, value});
    }
    case kSetItems:
      return extend_top(PickleKind::dict, pop_to_mark());

    case kGlobal: {
      const std::string module = line();
      return push_global(module, line());
    }
    case kStackGlobal: {
      const u32 name = pop();
      const u32 module = pop();
      need(pickle_.at(name).kind == PickleKind::text && pickle_.at(module).kind == PickleKind::text,
           "the name of a global is not text");
      return push_global(pickle_.at(module).text, pickle_.at(name).text);
    }
    case kBinPersId:
      return push_items(PickleKind::persistent, {pop()});
    case kReduce:
    case kNewObj: {
      const u32 arguments = pop();
      return push_call(pop(), arguments);
    }
    case kNewObjEx: {
      pop();  // arguments by name
      const u32 arguments = pop();
      return push_call(pop(), arguments);
    }
    case kBuild: {
      const u32 state = pop();
      PickleNode& target = pickle_.nodes[top()];
      need(target.kind == PickleKind::call, "a state is given to what takes none");
      target.state = state;
      return;
    }
    default:
      refuse("opcode ", int{opcode}, " is not supported");
  }
}

}  // namespace

Pickle parse_pickle(std::span<const std::byte> bytes, const std::string& name) {
  check(bytes.size() <= kMaxPickleBytes, name, " has ", bytes.size(), " bytes of pickle, at most ",
        kMaxPickleBytes, " are read");
  return Machine(bytes, name).run();
}

}  // namespace orrery
