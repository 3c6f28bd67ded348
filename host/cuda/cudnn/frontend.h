#pragma once

// The headers of cudnn-frontend, configured. cuDNN is loaded when it is first used (cudnn_graph.cpp), so that
// the program starts where there is none. JSON is needed by parts of cudnn-frontend that are not used here.
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>
