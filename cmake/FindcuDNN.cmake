# Finds cuDNN: the target CUDNN::cudnn and cuDNN_VERSION.
# Searches cuDNN_ROOT (a variable of CMake or the environment), the CUDA toolkit's folder, the wheel that pip installs
# (site-packages/nvidia/cudnn, of the active or the first Python), and where the system keeps libraries. The wheel has no
# libcudnn.so, only a name with the major version.
set(hints ${CUDAToolkit_LIBRARY_ROOT} ${CUDAToolkit_TARGET_DIR} ${CUDAToolkit_ROOT})
if(CUDAToolkit_BIN_DIR)
  get_filename_component(hint "${CUDAToolkit_BIN_DIR}/.." ABSOLUTE)
  list(APPEND hints "${hint}")
endif()
find_program(cuDNN_PYTHON NAMES python3 python HINTS "$ENV{VIRTUAL_ENV}/bin")
mark_as_advanced(cuDNN_PYTHON)
if(cuDNN_PYTHON)
  execute_process(
    COMMAND "${cuDNN_PYTHON}" -c
            "import importlib.util as u; s = u.find_spec('nvidia.cudnn'); print(*s.submodule_search_locations, sep=';')"
    OUTPUT_VARIABLE wheel OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  list(APPEND hints ${wheel})
endif()

# An old cuDNN that is found first must not hide one that is new enough.
list(REMOVE_DUPLICATES hints)
foreach(hint IN LISTS hints ITEMS "")
  unset(cuDNN_INCLUDE_DIR CACHE)
  unset(cuDNN_LIBRARY CACHE)
  if(hint)
    set(where HINTS "${hint}" NO_CMAKE_PATH NO_CMAKE_ENVIRONMENT_PATH NO_SYSTEM_ENVIRONMENT_PATH NO_CMAKE_SYSTEM_PATH)
  else()
    set(where "")
  endif()
  find_path(cuDNN_INCLUDE_DIR cudnn_version.h ${where} PATH_SUFFIXES include)
  if(NOT cuDNN_INCLUDE_DIR)
    continue()
  endif()
  set(version "")
  file(STRINGS "${cuDNN_INCLUDE_DIR}/cudnn_version.h" lines REGEX "#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) +[0-9]+")
  foreach(part MAJOR MINOR PATCHLEVEL)
    string(REGEX MATCH "CUDNN_${part} +([0-9]+)" ignored "${lines}")
    list(APPEND version "${CMAKE_MATCH_1}")
  endforeach()
  list(GET version 0 major)
  string(REPLACE ";" "." cuDNN_VERSION "${version}")
  find_library(cuDNN_LIBRARY NAMES libcudnn.so.${major} ${where} PATH_SUFFIXES lib lib64)
  if(cuDNN_LIBRARY AND NOT (cuDNN_FIND_VERSION AND cuDNN_VERSION VERSION_LESS cuDNN_FIND_VERSION))
    break()
  endif()
endforeach()
mark_as_advanced(cuDNN_INCLUDE_DIR cuDNN_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(cuDNN REQUIRED_VARS cuDNN_LIBRARY cuDNN_INCLUDE_DIR VERSION_VAR cuDNN_VERSION)
if(cuDNN_FOUND AND NOT TARGET CUDNN::cudnn)
  add_library(CUDNN::cudnn UNKNOWN IMPORTED)
  set_target_properties(CUDNN::cudnn PROPERTIES
    IMPORTED_LOCATION "${cuDNN_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${cuDNN_INCLUDE_DIR}")
endif()
