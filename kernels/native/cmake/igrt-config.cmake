include("${CMAKE_CURRENT_LIST_DIR}/igrt-targets.cmake")
