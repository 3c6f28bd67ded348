# Finds the headers of cudnn-frontend: the target cudnn_frontend and cudnn_frontend_VERSION.
# Searches cudnn_frontend_ROOT (a variable of CMake or the environment), the folder of the wheel nvidia-cudnn-frontend
# (site-packages/include, of the active or the first Python), the CUDA toolkit, and where the system keeps headers. The
# package's own configuration is not used, since it searches for cuDNN differently.
set(places "")
find_program(cuDNN_PYTHON NAMES python3 python HINTS "$ENV{VIRTUAL_ENV}/bin")
mark_as_advanced(cuDNN_PYTHON)
if(cuDNN_PYTHON)
  execute_process(COMMAND "${cuDNN_PYTHON}" -c "import sysconfig; print(sysconfig.get_path('purelib'))"
                  OUTPUT_VARIABLE site_packages OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  list(APPEND places "${site_packages}/include")
endif()
list(APPEND places ${CUDAToolkit_INCLUDE_DIRS})

# An old version that is found first must not hide one that is new enough.
foreach(place IN LISTS places ITEMS "")
  unset(cudnn_frontend_INCLUDE_DIR CACHE)
  if(place)
    find_path(cudnn_frontend_INCLUDE_DIR cudnn_frontend_version.h HINTS "${place}" NO_CMAKE_PATH
              NO_CMAKE_ENVIRONMENT_PATH NO_SYSTEM_ENVIRONMENT_PATH NO_CMAKE_SYSTEM_PATH)
  else()
    find_path(cudnn_frontend_INCLUDE_DIR cudnn_frontend_version.h)
  endif()
  if(NOT cudnn_frontend_INCLUDE_DIR)
    continue()
  endif()
  file(STRINGS "${cudnn_frontend_INCLUDE_DIR}/cudnn_frontend_version.h" lines
       REGEX "#define CUDNN_FRONTEND_(MAJOR|MINOR|PATCH)_VERSION +[0-9]+")
  string(REGEX REPLACE "[^;0-9]" "" version "${lines}")
  string(REPLACE ";" "." cudnn_frontend_VERSION "${version}")
  if(NOT (cudnn_frontend_FIND_VERSION AND cudnn_frontend_VERSION VERSION_LESS cudnn_frontend_FIND_VERSION))
    break()
  endif()
endforeach()
mark_as_advanced(cudnn_frontend_INCLUDE_DIR)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(cudnn_frontend REQUIRED_VARS cudnn_frontend_INCLUDE_DIR
                                  VERSION_VAR cudnn_frontend_VERSION)
if(cudnn_frontend_FOUND AND NOT TARGET cudnn_frontend)
  add_library(cudnn_frontend INTERFACE IMPORTED)
  target_include_directories(cudnn_frontend SYSTEM INTERFACE "${cudnn_frontend_INCLUDE_DIR}")
endif()
