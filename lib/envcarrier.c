#include "envcarrier.h"
