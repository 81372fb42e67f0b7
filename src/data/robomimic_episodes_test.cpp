#include "data/robomimic_episodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "io/hdf5_handle.h"

namespace orrery {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// A file as robomimic writes it: numbers count up, so that every value tells where it comes from.
class Robomimic : public testing::Test {
 protected:
  Robomimic()
      : path_(std::filesystem::temp_directory_path() /
              text("orrery-robomimic-", ::getpid(), ".hdf5")) {
    const Hdf5Lock lock;
    file_ = Hdf5Handle(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  }
  ~Robomimic() override {
    close();
    std::filesystem::remove(path_);
  }

  // chunk_rows 0: in one block, else through gzip
  void add(const std::string& name, hid_t type, std::vector<hsize_t> shape, hsize_t chunk_rows,
           int first) {
    const Hdf5Lock lock;
    const Hdf5Handle groups(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    H5Pset_create_intermediate_group(groups.id(), 1);
    const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    const int rank = static_cast<int>(shape.size());
    const Hdf5Handle space(H5Screate_simple(rank, shape.data(), nullptr), H5Sclose);
    std::size_t count = 1;
    for (const hsize_t size : shape) count *= size;
    if (chunk_rows > 0) {
      shape[0] = std::min(shape[0], chunk_rows);
      H5Pset_chunk(creation.id(), rank, shape.data());
      H5Pset_deflate(creation.id(), 4);
    }
    const Hdf5Handle data(H5Dcreate2(file_.id(), name.c_str(), type, space.id(), groups.id(),
                                     creation.id(), H5P_DEFAULT),
                          H5Dclose);
    std::vector<int> values(count);
    std::iota(values.begin(), values.end(), first);
    ASSERT_GE(H5Dwrite(data.id(), H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  }
  void demonstration(int number, hsize_t rows, int first) {
    const std::string here = text("data/demo_", number, "/");
    add(here + "actions", H5T_IEEE_F64LE, {rows, 2}, 0, first);
    add(here + "obs/eye", H5T_STD_U8LE, {rows, 2, 2, 3}, 4, first);
    add(here + "obs/joint", H5T_IEEE_F32LE, {rows, 3}, 0, first);
    add(here + "next_obs/joint", H5T_IEEE_F32LE, {rows, 3}, 0, 0);
    add(here + "dones", H5T_STD_I64LE, {rows}, 0, first);
  }
  void close() {
    const Hdf5Lock lock;
    file_.reset();
  }

  std::filesystem::path path_;
  Hdf5Handle file_;
};

std::vector<std::string> names_of(const Episodes& episodes) {
  std::vector<std::string> names;
  for (const Column& column : episodes.columns()) names.push_back(column.name);
  return names;
}

TEST_F(Robomimic, DemonstrationsAreEpisodesInTheOrderOfTheirNumbers) {
  demonstration(10, 3, 50);
  demonstration(2, 9, 0);
  close();
  const auto episodes = open_episodes(path_);
  EXPECT_EQ(episodes->count(), 2);
  EXPECT_EQ(episodes->length(0), 9);
  EXPECT_EQ(episodes->length(1), 3);
  EXPECT_THAT(names_of(*episodes), ElementsAre("action", "dones", "pixels", "joint"));
  EXPECT_TRUE(episodes->refused().empty());

  std::vector<double> action(24);
  episodes->read_f64(episodes->column_index("action"), 0, 12, 1, action.data());
  EXPECT_EQ(action[17], 17);
  EXPECT_EQ(action[18], 50);
  // with gaps, across chunks and demonstrations, twice: as read and as kept
  for (int again = 0; again < 2; ++again) {
    std::vector<u8> pixels(4 * 12);
    episodes->read(episodes->column_index("pixels"), 1, 12, 3,
                   reinterpret_cast<std::byte*>(pixels.data()));
    EXPECT_EQ(pixels[0], 12);
    EXPECT_EQ(pixels[12], 48);
    EXPECT_EQ(pixels[24 + 11], 84 + 11);
    EXPECT_EQ(pixels[36], 50 + 12);
  }
}

TEST_F(Robomimic, WhatDoesNotFitIsRefusedByName) {
  demonstration(0, 5, 0);
  demonstration(1, 4, 0);
  add("data/demo_0/obs/force", H5T_IEEE_F32LE, {5, 3}, 0, 0);
  add("data/demo_0/states", H5T_IEEE_F64LE, {5, 7}, 0, 0);
  add("data/demo_1/states", H5T_IEEE_F64LE, {4, 8}, 0, 0);
  add("data/demo_0/rewards", H5T_IEEE_F64LE, {5}, 0, 0);
  add("data/demo_1/rewards", H5T_IEEE_F64LE, {5}, 0, 0);
  add("data/demo_0/obs/agentview_image", H5T_STD_U8LE, {5, 1, 1, 3}, 0, 0);
  add("data/demo_1/obs/agentview_image", H5T_STD_U8LE, {4, 1, 1, 3}, 0, 0);
  close();
  const auto episodes = open_episodes(path_);
  // of two cameras the usual one
  EXPECT_EQ(episodes->column(episodes->column_index("pixels")).row, Shape({1, 1, 3}));
  EXPECT_GE(episodes->find_column("eye"), 0);
  ASSERT_EQ(episodes->refused().size(), 3u);
  EXPECT_THAT(episodes->refused()[0].why, HasSubstr("has none"));
  EXPECT_THAT(episodes->refused()[1].why, HasSubstr("has 5 rows, the actions have 4"));
  EXPECT_THAT(episodes->refused()[2].why, HasSubstr("data/demo_1/states is f64 (8)"));
}

TEST_F(Robomimic, ADemonstrationWithoutActionsIsAnError) {
  demonstration(0, 5, 0);
  add("data/demo_1/obs/joint", H5T_IEEE_F32LE, {5, 3}, 0, 0);
  close();
  EXPECT_THAT([&] { open_episodes(path_); },
              ThrowsMessage<Error>(HasSubstr("data/demo_1 has no actions")));
}

}  // namespace
}  // namespace orrery
