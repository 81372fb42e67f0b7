#include "io/thrift.h"

#include <algorithm>

#include "base/error.h"

namespace orrery {

namespace {

constexpr int kMaxDepth = 16;
constexpr i64 kMaxValues = 4'000'000;

enum Type : u8 {
  kStop = 0,
  kTrue = 1,
  kFalse = 2,
  kByte = 3,
  kShort = 4,
  kInt = 5,
  kLong = 6,
  kDouble = 7,
  kBinary = 8,
  kList = 9,
  kSet = 10,
  kMap = 11,
  kStruct = 12,
};

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& where)
      : bytes_(bytes), where_(where) {}

  ThriftValue structure(int depth) {
    ThriftValue value;
    check(depth < kMaxDepth, where_, " is nested deeper than ", kMaxDepth, " levels");
    i64 number = 0;
    for (;;) {
      const u8 head = byte();
      const u8 type = head & 15u;
      if (type == kStop) return value;
      // the difference to the number before, or the number itself behind the byte
      const int step = head >> 4;
      number = step != 0 ? number + step : zigzag();
      check(number >= 0 && number <= 32767, where_, " has a field of number ", number);
      value.numbers.push_back(static_cast<int>(number));
      value.fields.push_back(type == kTrue || type == kFalse ? boolean(type == kTrue)
                                                             : element(type, depth));
    }
  }

  std::size_t used() const { return at_; }

 private:
  u8 byte() {
    check(at_ < bytes_.size(), where_, " is cut short");
    return static_cast<u8>(bytes_[at_++]);
  }

  u64 varint() {
    u64 value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const u8 next = byte();
      value |= static_cast<u64>(next & 127u) << shift;
      if (next < 128) return value;
    }
    fail(where_, " holds a number that does not end");
  }

  i64 zigzag() {
    const u64 value = varint();
    return static_cast<i64>(value >> 1) ^ -static_cast<i64>(value & 1);
  }

  void count() { check(++values_ <= kMaxValues, where_, " has more than ", kMaxValues, " values"); }

  ThriftValue boolean(bool value) {
    count();
    ThriftValue result;
    result.integer = value ? 1 : 0;
    return result;
  }

  ThriftValue element(u8 type, int depth) {
    count();
    ThriftValue value;
    switch (type) {
      case kTrue:
      case kFalse:
        value.integer = byte() == kTrue ? 1 : 0;
        return value;
      case kByte:
        value.integer = static_cast<i8>(byte());
        return value;
      case kShort:
      case kInt:
      case kLong:
        value.integer = zigzag();
        return value;
      case kDouble:
        for (int i = 0; i < 8; ++i) byte();
        return value;
      case kBinary: {
        const u64 length = varint();
        check(length <= bytes_.size() - at_, where_, " is cut short");
        value.bytes = {reinterpret_cast<const char*>(bytes_.data() + at_),
                       static_cast<std::size_t>(length)};
        at_ += static_cast<std::size_t>(length);
        return value;
      }
      case kList:
      case kSet: {
        const u8 head = byte();
        const u64 length = head >> 4 == 15 ? varint() : head >> 4;
        check(length <= bytes_.size() - at_, where_, " is cut short");
        check(depth < kMaxDepth, where_, " is nested deeper than ", kMaxDepth, " levels");
        for (u64 i = 0; i < length; ++i) {
          value.items.push_back(element(head & 15u, depth + 1));
        }
        return value;
      }
      case kMap: {
        const u64 length = varint();
        check(length <= bytes_.size() - at_, where_, " is cut short");
        check(depth < kMaxDepth, where_, " is nested deeper than ", kMaxDepth, " levels");
        const u8 types = length > 0 ? byte() : u8{0};
        for (u64 i = 0; i < 2 * length; ++i) {
          element(i % 2 == 0 ? types >> 4 : types & 15u, depth + 1);
        }
        return value;
      }
      case kStruct:
        return structure(depth + 1);
      default:
        fail(where_, " holds a value of unknown type ", static_cast<int>(type));
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t at_ = 0;
  i64 values_ = 0;
};

}  // namespace

const ThriftValue& ThriftValue::operator[](int number) const {
  static const ThriftValue none;
  const auto found = std::find(numbers.begin(), numbers.end(), number);
  return found == numbers.end() ? none : fields[static_cast<std::size_t>(found - numbers.begin())];
}

bool ThriftValue::has(int number) const {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

ThriftValue parse_thrift(std::span<const std::byte> bytes, const std::string& where,
                         std::size_t* used) {
  Parser parser(bytes, where);
  ThriftValue value = parser.structure(0);
  if (used != nullptr) *used = parser.used();
  return value;
}

}  // namespace orrery
