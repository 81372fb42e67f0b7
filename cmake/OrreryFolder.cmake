# orrery_folder(name USES other folders  [LIBRARIES third-party targets])
#
# Makes target orrery_<name> of every *.cpp in this folder and orrery_<name>_test of every *_test.cpp.
# A folder links only folders that stand above it in docs/architecture.md; tests/floors checks the includes.
include(GoogleTest)

function(orrery_folder name)
  cmake_parse_arguments(ARG "" "" "USES;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")

  set(visibility PUBLIC)
  if(sources)
    add_library(orrery_${name} STATIC ${sources})
  else()
    add_library(orrery_${name} INTERFACE)
    set(visibility INTERFACE)
  endif()
  target_include_directories(orrery_${name} ${visibility} ${PROJECT_SOURCE_DIR}/src)
  list(TRANSFORM ARG_USES PREPEND orrery_)
  target_link_libraries(orrery_${name} ${visibility} ${ARG_USES} ${ARG_LIBRARIES})

  if(tests)
    orrery_test(orrery_${name}_test SOURCES ${tests} LIBRARIES orrery_${name})
  endif()
endfunction()

# orrery_test(target SOURCES ... LIBRARIES ... [LABELS ...]): a GoogleTest program, one ctest test per case.
function(orrery_test target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${target} PRIVATE ORRERY_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  set(labels unit)
  if(ARG_LABELS)
    set(labels ${ARG_LABELS})
  endif()
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                       PROPERTIES LABELS "${labels}" TIMEOUT 600)
endfunction()
