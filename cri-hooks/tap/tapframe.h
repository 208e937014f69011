#pragma once

/*
 * Frames of a tap
 *
 * Reads HTTP/2 (RFC 9113) from a copy of what passes in one direction, and says what begins and ends. A part of the
 * tap: nobody else calls this.
 */

#include "tap.h"

/*
 * The next bytes of one side. -EPROTO: no HTTP/2, or not as it should be; -E2BIG: a limit; -ENOMEM. After an error the
 * connection can only be forwarded.
 */
int tapframe_feed(Tap *tap, TapSide side, const uint8_t *data, size_t len);
