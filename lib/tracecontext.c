#include "tracecontext.h"
