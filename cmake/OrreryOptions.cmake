# Language level, warnings and sanitizers, the same for every target.

option(ORRERY_WERROR "treat warnings as errors" ON)
option(ORRERY_FUZZ "build the libFuzzer targets (needs clang)" OFF)
set(ORRERY_SANITIZE "" CACHE STRING "sanitizers to build with, such as address,undefined")

set(ORRERY_LIBRARIES STATIC CACHE STRING "STATIC, or SHARED: many programs with one copy of the kernels, for tools/gpu")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# a * b + c is rounded twice unless the code asks for a fused multiply-add: the same bits on every CPU
# (kernels fuse where nvcc likes: no two devices promise the same bits)
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
foreach(warning -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wunused)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:${warning}>)
endforeach()
# designated initialisers name what differs from the defaults
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-missing-field-initializers>)
if(ORRERY_WERROR)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()

if(ORRERY_SANITIZE)
  add_compile_options(-fsanitize=${ORRERY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ORRERY_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # instrumented, g++ 12 takes members of the standard library's regex and string for uninitialised
    add_compile_options(-Wno-maybe-uninitialized -Wno-restrict)
  endif()
endif()
if(ORRERY_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Headers that most files of a kind include are compiled once for all of them. Not where a compiler cache is at work: it
# knows a file by its text, and it is also what shows an include that is missing.
set(precompiles OFF)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(precompiles ON)
endif()
option(ORRERY_PRECOMPILE "compile common headers of tests and of the program once" ${precompiles})

# the programs land where the README says: build/<preset>/orrery
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
