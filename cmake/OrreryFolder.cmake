# orrery_folder(name USES other folders  [LIBRARIES third-party targets])
#
# Makes target orrery_<name> of every *.cpp in this folder, and every *.cu where the build has CUDA, and
# orrery_<name>_test of every *_test.cpp and *_test.cu. Test cases whose suite begins with Cuda need a device.
# A folder links only folders that stand above it in docs/architecture.md; tests/floors checks the includes.
include(GoogleTest)

function(orrery_folder name)
  cmake_parse_arguments(ARG "" "" "USES;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  set(kernels)
  if(NOT ORRERY_CUDA_MODE STREQUAL "off")
    file(GLOB kernels CONFIGURE_DEPENDS *.cu)
  endif()
  foreach(kind sources kernels)
    set(${kind}_tests ${${kind}})
    list(FILTER ${kind} EXCLUDE REGEX "_test\\.(cpp|cu)$")
    list(FILTER ${kind}_tests INCLUDE REGEX "_test\\.(cpp|cu)$")
  endforeach()

  set(visibility PUBLIC)
  if(sources)
    add_library(orrery_${name} ${ORRERY_LIBRARIES} ${sources})
  else()
    add_library(orrery_${name} INTERFACE)
    set(visibility INTERFACE)
  endif()
  target_include_directories(orrery_${name} ${visibility} ${PROJECT_SOURCE_DIR}/src)
  list(TRANSFORM ARG_USES PREPEND orrery_)
  target_link_libraries(orrery_${name} ${visibility} ${ARG_USES} ${ARG_LIBRARIES})

  if(kernels)
    orrery_cuda_sources(orrery_${name} ${kernels})
  endif()

  if(sources_tests)
    orrery_test(orrery_${name}_test SOURCES ${sources_tests} LIBRARIES orrery_${name})
    if(kernels_tests)
      orrery_cuda_sources(orrery_${name}_test ${kernels_tests})
    endif()
  endif()
endfunction()

# orrery_test(target SOURCES ... LIBRARIES ... [LABELS ...]): a GoogleTest program, one ctest test per case.
function(orrery_test target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${target} PRIVATE ORRERY_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(ORRERY_PRECOMPILE)
    # the lowest folder's test makes it, all others take it over
    if(TARGET orrery_base_test AND NOT target STREQUAL "orrery_base_test")
      target_precompile_headers(${target} REUSE_FROM orrery_base_test)
    else()
      target_precompile_headers(${target} PRIVATE <gtest/gtest.h> <gmock/gmock.h> <algorithm> <array> <cmath> <cstring>
        <filesystem> <fstream> <functional> <map> <memory> <mutex> <numeric> <optional> <span> <thread> <vector>)
    endif()
  endif()
  set(labels unit)
  if(ARG_LABELS)
    set(labels ${ARG_LABELS})
  endif()
  set(how DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  gtest_discover_tests(${target} ${how} TEST_FILTER "-Cuda*" TEST_LIST ${target}_cpu
                       PROPERTIES LABELS "${labels}" TIMEOUT 600)
  gtest_discover_tests(${target} ${how} TEST_FILTER "Cuda*" TEST_LIST ${target}_cuda
                       PROPERTIES LABELS "cuda" TIMEOUT 600)
endfunction()
