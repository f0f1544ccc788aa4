/* The header is C, and a C program links with the library. */

#include "igrt/kernels.h"

#include <string.h>

int main(void) { return strcmp(igrt_status_message(IGRT_OK), "ok") == 0 ? 0 : 1; }
