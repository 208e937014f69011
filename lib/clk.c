#include "clk.h"
