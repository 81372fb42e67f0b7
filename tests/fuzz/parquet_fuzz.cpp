// Parquet files, every column read.
#include "io/parquet.h"

#include "tests/fuzz/target.h"

namespace {

void read_columns(std::span<const std::byte> file) {
  const orrery::ParquetReader reader(file, "input");
  for (std::size_t c = 0; c < reader.columns().size(); ++c) {
    const auto column = static_cast<orrery::i64>(c);
    try {
      if (reader.columns()[c].blob) {
        std::size_t bytes = 0;
        const auto add = [&](orrery::i64, std::span<const std::byte> blob) {
          for (const std::byte b : blob) bytes += static_cast<std::size_t>(b);
        };
        // all rows, and some in their middle
        reader.read_blobs(column, 0, reader.rows(), add);
        reader.read_blobs(column, reader.rows() / 3, reader.rows() / 2, add);
      } else {
        reader.read(column);
      }
    } catch (const orrery::Error&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size, read_columns);
}
