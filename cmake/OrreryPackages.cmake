# Everything comes from the system (Debian packages that ./run installs); configuring downloads nothing.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(GTest REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PNG REQUIRED)
find_package(JPEG REQUIRED)
find_package(HDF5 REQUIRED COMPONENTS C)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(LIBZIP REQUIRED IMPORTED_TARGET libzip)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
find_package(Snappy REQUIRED)

find_path(BLOSC_INCLUDE_DIR blosc.h REQUIRED)
find_library(BLOSC_LIBRARY blosc REQUIRED)
add_library(orrery_blosc INTERFACE)
target_include_directories(orrery_blosc SYSTEM INTERFACE ${BLOSC_INCLUDE_DIR})
target_link_libraries(orrery_blosc INTERFACE ${BLOSC_LIBRARY})

add_library(orrery_hdf5 INTERFACE)
target_include_directories(orrery_hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(orrery_hdf5 INTERFACE ${HDF5_C_LIBRARIES})

find_path(CHIPMUNK_INCLUDE_DIR chipmunk/chipmunk.h REQUIRED)
find_library(CHIPMUNK_LIBRARY chipmunk REQUIRED)
add_library(orrery_chipmunk INTERFACE)
target_include_directories(orrery_chipmunk SYSTEM INTERFACE ${CHIPMUNK_INCLUDE_DIR})
target_link_libraries(orrery_chipmunk INTERFACE ${CHIPMUNK_LIBRARY})

# films; -DORRERY_VIDEO=OFF leaves FFmpeg's many libraries out
option(ORRERY_VIDEO "read and write films, where FFmpeg is found" ON)
if(ORRERY_VIDEO)
  pkg_check_modules(FFMPEG IMPORTED_TARGET libavformat libavcodec libavutil libswscale)
endif()
