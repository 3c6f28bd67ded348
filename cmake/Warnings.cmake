# The compile options of every target of the project; link `filterscope_options` privately.
add_library(filterscope_options INTERFACE)
target_compile_options(filterscope_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                       -Wno-sign-conversion -Wno-psabi -Werror)
# GCC 12 falsely warns of overlapping copies in std::string (GCC bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(filterscope_options INTERFACE -Wno-restrict)
endif()
if(FILTERSCOPE_SANITIZE)
  # Leaves out checks that the address sanitizer also makes or that take long to compile.
  target_compile_options(filterscope_options INTERFACE -fsanitize=address,undefined
                         -fno-sanitize=null,object-size,pointer-overflow,vptr,nonnull-attribute,returns-nonnull-attribute
                         -fno-sanitize-recover=all -fno-omit-frame-pointer)
  # The sanitizers' code makes GCC see uninitialised values where there are none.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(filterscope_options INTERFACE -Wno-maybe-uninitialized)
  endif()
  target_link_options(filterscope_options INTERFACE -fsanitize=address,undefined)
endif()
# filterscope_compile_quickly(TARGET) is for code whose run time does not matter: a Release build optimises it little, and
# compiles it in about half the time.
function(filterscope_compile_quickly target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-Og>)
endfunction()
find_program(FILTERSCOPE_CCACHE ccache)
if(FILTERSCOPE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Allows ccache to cache files that use the tests' precompiled header.
  set(ccache ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${FILTERSCOPE_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${ccache})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ccache})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${ccache})
endif()
