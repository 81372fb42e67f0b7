# ORRERY_CUDA: how *.cu files are built.
#
#   auto      by nvcc where one is found, else not at all
#   on        by nvcc; an error when there is none
#   off       not at all: the library knows the CPU only
#   emulate   as C++, against the host emulation of tests/emulation: for tests, on machines without a device
set(ORRERY_CUDA auto CACHE STRING "auto, on, off or emulate")
set_property(CACHE ORRERY_CUDA PROPERTY STRINGS auto on off emulate)
# what kernels are compiled for: machine code for A100 and H100/H200, and a form that later drivers compile themselves
set(ORRERY_CUDA_TARGETS "sm_80;sm_90a;compute_90" CACHE STRING "sm_* for machine code, compute_* for PTX")

set(ORRERY_CUDA_MODE off)
if(ORRERY_CUDA STREQUAL "emulate")
  set(ORRERY_CUDA_MODE emulate)
elseif(ORRERY_CUDA STREQUAL "on" OR ORRERY_CUDA STREQUAL "auto")
  # the instrumented builds cannot link what nvcc makes
  if(ORRERY_CUDA STREQUAL "on" OR (NOT ORRERY_SANITIZE AND NOT ORRERY_FUZZ))
    set(CMAKE_CUDA_ARCHITECTURES OFF) # the targets are given below: older CMake does not know their names
    if(ORRERY_LIBRARIES STREQUAL "SHARED")
      set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
    else()
      set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
    endif()
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      enable_language(CUDA)
      # CMake 3.25 does not know that this compiler knows C++20
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
      find_package(CUDAToolkit REQUIRED)
      set(ORRERY_CUDA_MODE on)
    elseif(ORRERY_CUDA STREQUAL "on")
      message(FATAL_ERROR "ORRERY_CUDA is on, and no nvcc was found")
    endif()
  endif()
elseif(NOT ORRERY_CUDA STREQUAL "off")
  message(FATAL_ERROR "ORRERY_CUDA is \"${ORRERY_CUDA}\", needed auto, on, off or emulate")
endif()
message(STATUS "CUDA: ${ORRERY_CUDA_MODE}")

# orrery_cuda_sources(target files...): adds *.cu files to a target, in the mode of this build
function(orrery_cuda_sources target)
  if(ORRERY_CUDA_MODE STREQUAL "emulate")
    # an ordinary compiler does not know #pragma unroll
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++;-Wno-unknown-pragmas")
  endif()
  target_sources(${target} PRIVATE ${ARGN})
endfunction()

# what every target needs that includes device/cuda.h or asks ORRERY_CUDA: on the lowest folder that has kernels
function(orrery_cuda_target target)
  if(ORRERY_CUDA_MODE STREQUAL "off")
    return()
  endif()
  target_compile_definitions(${target} PUBLIC ORRERY_CUDA=1)
  if(ORRERY_CUDA_MODE STREQUAL "emulate")
    target_link_libraries(${target} PUBLIC orrery_cuda_emulation)
  else()
    # one runtime in a program: libraries of our own that are shared share it too
    if(ORRERY_LIBRARIES STREQUAL "SHARED")
      target_link_libraries(${target} PUBLIC CUDA::cudart)
    else()
      target_link_libraries(${target} PUBLIC CUDA::cudart_static)
    endif()
  endif()
endfunction()

if(ORRERY_CUDA_MODE STREQUAL "on")
  # constexpr functions of the lower floors are called in kernels; line numbers for the checker and the profiler
  set(flags --expt-relaxed-constexpr -lineinfo -Xcompiler=-Wall,-Wno-unused-function)
  if(ORRERY_WERROR)
    list(APPEND flags -Werror=all-warnings)
  endif()
  foreach(wanted IN LISTS ORRERY_CUDA_TARGETS)
    string(REGEX REPLACE "^(sm|compute)_" "compute_" virtual ${wanted})
    list(APPEND flags "-gencode=arch=${virtual},code=${wanted}")
  endforeach()
  add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:${flags}>")
endif()
