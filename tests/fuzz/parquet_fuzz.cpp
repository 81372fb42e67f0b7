// Parquet files, every column read.
#include "io/parquet.h"

#include "tests/fuzz/target.h"

namespace {

void read_columns(std::span<const std::byte> file) {
  const orrery::ParquetReader reader(file, "input");
  for (std::size_t c = 0; c < reader.columns().size(); ++c) {
    try {
      reader.read(static_cast<orrery::i64>(c));
    } catch (const orrery::Error&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size, read_columns);
}
